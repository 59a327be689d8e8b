package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/sys/proc"
)

// Figures of a rejection.
const (
	sendTime  = 5 * time.Minute // for sendmail
	maxHeader = 64 << 10        // octets of the refused message's header that go back
)

// reject ends a delivery for which there is no room. With -e the exit code says so,
// for an MTA that bounces it. Without it dovecot-lda tells the sender itself and ends
// with success; a message without a sender is dropped.
func (l *lda) reject(sender mail.Address, msgid, reason string, again io.Reader) error {
	l.logger().LDARejected(l.name, os.Getpid(), l.session, msgid, reason)
	if l.exit {
		return &failure{code: exNoPerm, text: reason, bare: true}
	}
	if sender == "" {
		l.logger().LDANoSender(l.name, os.Getpid(), l.session, msgid, reason)
		return nil
	}
	var w ldaWords
	if err := l.conf.Decode(&w); err != nil {
		return err
	}
	text, err := l.rejection(&w, sender, reason, again)
	if err != nil {
		return err
	}
	return send(w.Sendmail, sender, text)
}

// send gives a mail to sendmail_path, as Dovecot does.
func send(program string, to mail.Address, text []byte) error {
	f, err := os.CreateTemp("", "deliver")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	if _, err := f.Write(text); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	words := strings.Fields(program)
	if len(words) == 0 {
		return fmt.Errorf("sendmail_path is empty")
	}
	ctx, cancel := context.WithTimeout(context.Background(), sendTime)
	defer cancel()
	code, err := proc.Run(ctx, proc.Role{Path: words[0], Args: append(words, "-i", "-f", "<>", "--", to.Quoted()), Env: proc.CleanEnv(), Stdin: f})
	if err == nil && code != 0 {
		err = fmt.Errorf("%s ended with %d", words[0], code)
	}
	return err
}

// rejection writes the mail that tells the sender (RFC 3464), with the header of what
// was refused.
func (l *lda) rejection(w *ldaWords, sender mail.Address, reason string, again io.Reader) ([]byte, error) {
	head, subject, err := header(again)
	if err != nil {
		return nil, err
	}
	host := w.Host
	if host == "" {
		host, _ = os.Hostname()
	}
	rcpt := l.final
	if rcpt == "" {
		rcpt = l.name
	}
	if !strings.Contains(rcpt, "@") {
		rcpt += "@" + host
	}
	now := time.Now()
	id := fmt.Sprintf("<dovecot-%d-%d-0@%s>", now.Unix(), now.Nanosecond()/1000, host)
	bound := fmt.Sprintf("%d/%s", os.Getpid(), host)
	from := w.Postmaster
	if strings.Contains(from, "%") || from == "" {
		from = "postmaster@" + host
	}
	words := strings.NewReplacer("%n", "\n", "%r", reason, "%s", subject, "%t", rcpt, "%%", "%")
	var b bytes.Buffer
	fmt.Fprintf(&b, "Message-ID: %s\nDate: %s\nFrom: Postmaster <%s>\nTo: <%s>\nMIME-Version: 1.0\n", id, now.Format("Mon, 02 Jan 2006 15:04:05 -0700"), from, sender.Quoted())
	fmt.Fprintf(&b, "Content-Type: multipart/report; report-type=delivery-status;\n\tboundary=\"%s\"\nSubject: %s\n", bound, words.Replace(w.Subject))
	fmt.Fprintf(&b, "Auto-Submitted: auto-replied (rejected)\nPrecedence: bulk\n\nThis is a MIME-encapsulated message\n\n")
	fmt.Fprintf(&b, "--%s\nContent-Type: text/plain; charset=utf-8\nContent-Disposition: inline\nContent-Transfer-Encoding: 8bit\n\n%s\n", bound, words.Replace(w.Reason))
	fmt.Fprintf(&b, "--%s\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; %s\n", bound, host)
	fmt.Fprintf(&b, "Final-Recipient: rfc822; %s\nAction: failed\nStatus: 5.2.2\n\n", oneLine(rcpt))
	fmt.Fprintf(&b, "--%s\nContent-Type: message/rfc822\n\n", bound)
	text := bytes.ReplaceAll(b.Bytes(), []byte("\n"), []byte("\r\n"))
	return fmt.Appendf(text, "%s\n\r\n\r\n--%s--\r\n", head, bound), nil
}

// oneLine keeps an address from being more than one header line.
func oneLine(s string) string { return strings.NewReplacer("\r", "", "\n", "").Replace(s) }

// header returns the header of a message and its subject.
func header(r io.Reader) (head, subject string, err error) {
	in := bufio.NewReader(io.LimitReader(r, maxHeader))
	var b strings.Builder
	for {
		line, err := in.ReadString('\n')
		text := strings.TrimRight(line, "\r\n")
		if text == "" || err == io.EOF {
			return b.String(), subject, nil
		}
		if err != nil {
			return "", "", err
		}
		if name, value, ok := strings.Cut(text, ":"); ok && strings.EqualFold(name, "Subject") && subject == "" {
			subject = strings.TrimSpace(value)
		}
		b.WriteString(text + "\n")
	}
}
