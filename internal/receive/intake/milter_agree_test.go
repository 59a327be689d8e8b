package intake

import (
	"context"
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"

	"packetboat/internal/mail"
	"packetboat/internal/queue"
	"packetboat/internal/receive/milter"
	"packetboat/internal/receive/milter/miltertest"
	"packetboat/internal/receive/policy"
	"packetboat/internal/receive/smtpd"
	"packetboat/internal/sys/maillog"
)

// router lets policy know that everybody is here.
type router struct{}

func (router) Class(context.Context, mail.Address) (policy.Class, error) { return policy.Local, nil }
func (router) Exists(context.Context, mail.Address) (bool, error)        { return true, nil }

// everyMacro asks for all macros at each stage.
const everyMacro = "i j _ v {auth_type} {auth_authen} {auth_author} {client_addr} {client_name} {client_ptr} {client_resolve} {daemon_name} {daemon_addr} {mail_addr} {mail_host} {mail_mailer} {rcpt_addr} {rcpt_host} {rcpt_mailer} {tls_version} {cipher} {none}"

// milterOptions are what oracleMilter says.
func milterOptions() milter.Options {
	all := strings.Fields(everyMacro)
	return milter.Options{Hostname: "mail.example.org", Version: "Postfix 3.7.11", MacroDefaults: "none=nothing",
		ConnectMacros: all, HeloMacros: all, MailMacros: all, RcptMacros: all, DataMacros: []string{"i"}, HeaderMacros: []string{"i"},
		EndMacros: []string{"i", "{none}"}, UnknownMacros: []string{"j"}}
}

// serveOurs is our smtpd in front of our intake, with milters.
func serveOurs(t *testing.T, u *ours, milters string) string {
	t.Helper()
	set, err := milter.New(milterOptions(), milters)
	if err != nil {
		t.Fatal(err)
	}
	logs := maillog.To(&u.log, maillog.Options{})
	pol, err := policy.New(policy.Options{Hostname: "mail.example.org", Relay: []string{"permit_mynetworks", "reject"}, MyNetworks: []string{"127.0.0.0/8"}}, policy.Deps{Log: logs.Program("smtpd"), Router: router{}})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := smtpd.New(smtpd.Options{Hostname: "mail.example.org", SoftErrors: 1000, HardErrors: 1000}, smtpd.Deps{
		Log: logs.Program("smtpd"), Policy: pol, Open: func() (smtpd.Message, error) { return u.in.OpenFrom(u.src) }, Resolver: loopbackNames{},
		Milters: smtpd.Milters{For: func(netipAddr) *milter.Set { return set },
			Route: func(_, to mail.Address) (string, string, mail.Address, error) {
				to = u.in.complete(to)
				if to.Domain() == "mail.example.org" {
					return "local", "mail.example.org", to, nil
				}
				return "smtp", to.Domain(), to, nil
			}}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go srv.ServeConn(c)
		}
	}()
	return l.Addr().String()
}

// packets are scripts of a milter: the command to answer, the packets.
type script struct {
	name    string
	at      byte
	packets []string
	events  uint32
}

func scripts() []script {
	edit := func(name string, p ...string) script { return script{name, 'E', append(p, "c"), 0} }
	s := []script{{"nothing", 0, nil, 0}, {"skip body", 'B', []string{"s"}, 0}, {"leading space", 0, nil, 0x100000},
		edit("add", "hX-Add\x00one\x00", "hX-Add\x00two\n folded\x00", "hX-Add\x00bad\nfold\x00"),
		edit("insert 0", "i\x00\x00\x00\x00X-Top\x00t\x00", "i\x00\x00\x00\x00X-Top2\x00t\x00"),
		edit("insert 1", "i\x00\x00\x00\x01X-Second\x00t\x00"), edit("insert 3", "i\x00\x00\x00\x03X-Fourth\x00t\x00"),
		edit("insert far", "i\x00\x00\x00\x63X-Far\x00t\x00"),
		edit("change", "m\x00\x00\x00\x01Subject\x00changed\x00", "m\x00\x00\x00\x02X-Twice\x00second\x00", "m\x00\x00\x00\x01Nowhere\x00new\x00"),
		edit("change received", "m\x00\x00\x00\x01Received\x00changed\x00"),
		edit("delete", "m\x00\x00\x00\x01X-Twice\x00\x00", "m\x00\x00\x00\x01X-Twice\x00\x00", "m\x00\x00\x00\x01X-Fold\x00\x00", "m\x00\x00\x00\x05Subject\x00\x00"),
		edit("from", "e<new@s.test>\x00"), edit("null from", "e<>\x00"), edit("from local", "ealice\x00"),
		edit("rcpt", "+<add@r.test>\x00", "+local\x00", "-<bob>\x00"), edit("rcpt none left", "-<bob>\x00", "-<carol@x.test>\x00"),
		edit("rcpt again", "-<bob>\x00", "+<bob>\x00"), edit("rcpt twice", "+<add@r.test>\x00", "+<add@r.test>\x00"),
		edit("rcpt par", "2<par@r.test>\x00NOTIFY=NEVER ORCPT=rfc822;x\x00"), edit("rcpt bad par", "2<par@r.test>\x00FOO=1\x00"),
		edit("body", "bnew body\r\nline two"), edit("body and header", "bnew body\r\n", "hX-Add\x00one\x00"), edit("empty body", "b"),
		edit("body twice", "bone\r\n", "hX\x00y\x00", "btwo\r\n"),
		{"quarantine", 'E', []string{"qwhy\x00", "c"}, 0}, {"progress", 'E', []string{"p", "p", "c"}, 0}}
	for _, at := range "CHMRTULNBE" {
		for _, a := range []string{"r", "t", "d", "a", "4", "y550 5.7.9 no %% thanks\x00", "y451-4.7.9 one\r\n451 4.7.9 two\x00"} {
			// Where we differ on purpose: Postfix 3.7 takes a message although a milter
			// wants the connection ended within it, and its smtpd dies when an unknown
			// command is "accepted".
			if a == "4" && strings.ContainsRune("CLNBE", at) || at == 'U' && (a == "a" || a == "d") {
				continue
			}
			s = append(s, script{fmt.Sprintf("%c answers %.1q", at, a), byte(at), []string{a}, 0})
		}
	}
	return s
}

var aborts = regexp.MustCompile(`(\nA )+`)

var portBytes = regexp.MustCompile(`(?s)C localhost\|4.{1,2}?127`)

// session runs one message's session and tells what the client heard, what the
// milter heard, and what is queued.
func session(t *testing.T, addr string) string {
	s := dialSMTPRaw(t, addr)
	defer s.c.Close()
	var b strings.Builder
	say := func(line string) string {
		r := s.cmd(line)
		fmt.Fprintf(&b, "%.20s: %s\n", line, r)
		return r
	}
	fmt.Fprintf(&b, "greeting: %s\n", s.reply())
	hello := say("EHLO client.test")
	text := b.String()
	b.Reset()
	b.WriteString(strings.Split(text, "\n")[0] + "\nEHLO " + hello[:4] + "\n")
	say("FOO bar")
	say("MAIL FROM:<a@b.test> BODY=8BITMIME")
	say("RCPT TO:<bob>")
	say("RCPT TO:<carol@x.test> NOTIFY=NEVER")
	if r := say("DATA"); strings.HasPrefix(r, "354") {
		body := "Subject:  two\r\nX-Twice: 1\r\nX-Fold: a\r\n\tb\r\nX-Twice: 2\r\nReceived: by other\r\n\r\nbody one\r\n..two\r\n.\r\n"
		fmt.Fprintf(s.c, "%s", body)
		fmt.Fprintf(&b, "end: %s\n", s.reply())
	}
	say("QUIT")
	s.reply() // the end: by then the milter has been told, and the log
	return b.String()
}

// TestMiltersAgree has a scripted milter behind Postfix and behind us: the client's
// replies, what the milter hears and what is queued must be the same.
func TestMiltersAgree(t *testing.T) {
	t.Parallel()
	theirs := miltertest.Start(t, &miltertest.Fake{})
	mine := miltertest.Start(t, &miltertest.Fake{})
	ms := map[string]string{"smtpd_milters": theirs.Addr, "milter_end_of_data_macros": "i {none}", "milter_header_macros": "i", "milter_macro_defaults": "none=nothing",
		"milter_data_macros": "i", "milter_unknown_command_macros": "j", "milter_macro_v": "Postfix 3.7.11"}
	for _, stage := range []string{"connect", "helo", "mail", "rcpt"} {
		ms["milter_"+stage+"_macros"] = everyMacro
	}
	delete(ms, "milter_header_macros")
	smtpdOptions := ms
	o := startOriginal(t, map[string]map[string]string{"milter": {}}, smtpdOptions)
	u := newOurs(t, Options{})
	ourAddr := serveOurs(t, u, mine.Addr)
	for _, sc := range scripts() {
		answer := func(cmd byte, _ string) []string {
			if cmd == sc.at {
				return sc.packets
			}
			return nil
		}
		theirs.Script(answer, sc.events)
		mine.Script(answer, sc.events)
		at := o.Size()
		want := session(t, o.addrs["milter"])
		u.log.Reset()
		got := session(t, ourAddr)
		wantFull := full(want, theirs, o.milterLines(at), o.stored(want))
		gotFull := full(got, mine, u.milterLines(), u.stored(t, got))
		if gotFull != wantFull {
			t.Errorf("%s: %s\n-- ours:\n%s\n-- postfix:\n%s", sc.name, difference(gotFull, wantFull), gotFull, wantFull)
		}
	}
}

// full joins all that can be seen of a session.
func full(dialogue string, f *miltertest.Fake, log []string, stored string) string {
	f.Wait()
	id := ""
	if m := regexp.MustCompile(`\nD Ri\|([0-9A-F]{8,})\|`).FindStringSubmatch("\n" + f.Told()); m != nil {
		id = m[1]
	}
	if m := queuedAs.FindStringSubmatch(dialogue); m != nil {
		id = m[1]
	}
	heard := portBytes.ReplaceAllString(f.Told(), "C localhost|4PP127")
	heard = aborts.ReplaceAllString(heard, "\nA ") // Postfix says so once more at the end
	for i := range log {
		log[i] = strings.ReplaceAll(log[i], f.Addr, "MILTER")
	}
	return plainText(dialogue+"-- milter:\n"+heard+"\n-- log:\n"+strings.Join(log, "\n")+"\n-- queue:\n"+stored, id)
}

var milterLine = regexp.MustCompile(`postfix/(?:smtpd|cleanup)\[\d+\]: (.*milter.*)`)
var lineID = regexp.MustCompile(`^[0-9A-F]{8,}:`)

func milterLines(text string) (out []string) {
	for _, m := range milterLine.FindAllStringSubmatch(text, -1) {
		out = append(out, lineID.ReplaceAllString(m[1], "ID:"))
	}
	return out
}

func (u *ours) milterLines() []string { return milterLines(u.log.String()) }

// stored is what is queued after a dialogue.
func (u *ours) stored(t *testing.T, dialogue string) string {
	m := queuedAs.FindStringSubmatch(dialogue)
	if m == nil {
		return ""
	}
	var r result
	u.read(t, &r, m[1])
	if f, ok := u.q.Find(m[1]); ok && f != queue.Hold {
		r.folder = ""
	}
	return r.String()
}

func (o *original) stored(dialogue string) string {
	m := queuedAs.FindStringSubmatch(dialogue)
	if m == nil {
		return ""
	}
	var r result
	if o.queued(m[1]) {
		o.read(&r, m[1])
	}
	return r.String()
}
