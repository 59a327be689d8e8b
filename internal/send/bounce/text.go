package bounce

import (
	"fmt"
	"strings"
	"time"

	"packetboat/internal/mail"
)

// The built-in templates of Postfix's bounce(5), as "postconf -t" prints them.
var subjects = [...]string{
	Failure: "Undelivered Mail Returned to Sender",
	Delay:   "Delayed Mail (still being retried)",
	Success: "Successful Mail Delivery Report",
	Verify:  "Mail Delivery Status Report",
}

var postmasterSubjects = [...]string{
	Failure: "Postmaster Copy: Undelivered Mail",
	Delay:   "Postmaster Warning: Delayed Mail",
	Success: "", Verify: "",
}

const (
	greeting = "This is the mail system at host %s.\n\n"
	closing  = "For further assistance, please send mail to postmaster.\n\n" +
		"If you do so, please include this problem report. You can\n" +
		"delete your own text from the attached returned message.\n\n"
	signature = "                   The mail system\n"

	failureText = "I'm sorry to have to inform you that your message could not\n" +
		"be delivered to one or more recipients. It's attached below.\n\n" + closing
	delayText = "####################################################################\n" +
		"# THIS IS A WARNING ONLY.  YOU DO NOT NEED TO RESEND YOUR MESSAGE. #\n" +
		"####################################################################\n\n" +
		"Your message could not be delivered for more than %d hour(s).\n" +
		"It will be retried until it is %d day(s) old.\n\n" + closing
	successText = "Your message was successfully delivered to the destination(s)\n" +
		"listed below. If the message was delivered to mailbox you will\n" +
		"receive no further notifications. Otherwise you may still receive\n" +
		"notifications of mail delivery errors from other systems.\n\n"
	verifyText = "Enclosed is the mail delivery report that you requested.\n\n"
)

// template returns the text for people of a kind of report.
func (b *Bouncer) template(kind Kind) string {
	text := [...]string{Failure: failureText, Success: successText, Verify: verifyText, Delay: ""}[kind]
	if kind == Delay {
		const day = 24 * time.Hour
		text = fmt.Sprintf(delayText, b.o.DelayWarning/time.Hour, b.o.MaximalLifetime/day)
	}
	return fmt.Sprintf(greeting, b.o.Hostname) + text + signature
}

// lifetime is how long a message of that sender is tried.
func (b *Bouncer) lifetime(sender mail.Address) time.Duration {
	if sender == "" {
		return b.o.BounceLifetime
	}
	return b.o.MaximalLifetime
}

const (
	wrapAt   = 79   // length of a line, as bounce(8) wraps
	indent   = 4    // spaces before a continued line
	maxValue = 4000 // bytes of a stranger's text that a report repeats
)

// wrap breaks s at spaces into lines of wrapAt bytes; words are never cut.
// Continued lines are indented, which also folds them as a header field.
func wrap(s string) string {
	var out strings.Builder
	room, first := wrapAt, true
	start := 0
	for word := 0; word >= 0; {
		end := len(s)
		if i := strings.IndexByte(s[word:], ' '); i >= 0 {
			end = word + i
		}
		if word > start && end-start > room {
			line(&out, s[start:word], first)
			for word < len(s) && s[word] == ' ' {
				word++
			}
			start, first, room = word, false, wrapAt-indent
			end = max(end, word)
		}
		if word = end + 1; end >= len(s) {
			word = -1
		}
	}
	line(&out, s[start:], first)
	return out.String()
}

// line writes one wrapped line.
func line(out *strings.Builder, s string, first bool) {
	if !first {
		out.WriteString("    ")
	}
	out.WriteString(strings.TrimRight(s, " "))
	out.WriteByte('\n')
}

// clean makes a stranger's text one line of bounded length without control
// bytes: it must not become a header line or a MIME boundary of our report.
func clean(s string) string {
	if len(s) > maxValue {
		s = s[:maxValue]
	}
	b := []byte(s)
	for i, c := range b {
		switch {
		case c == '\n' || c == '\r' || c == '\t':
			b[i] = ' '
		case c < ' ' || c == 0x7f:
			b[i] = '?'
		}
	}
	return string(b)
}

// xtext encodes s as RFC 3461 section 4 says.
func xtext(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
