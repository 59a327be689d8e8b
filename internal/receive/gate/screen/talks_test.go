package screen

import (
	"strings"
	"sync"
	"testing"
)

// moreOptions are those of services whose tests all ignore, or all end the
// session, or whose replies are not the usual ones. Each is held against a
// postscreen that moreMain sets the same way.
func moreOptions(service string, o *Options) {
	o.Greet, o.PipeOn, o.NonOn, o.BareOn = "enforce", true, true, true
	o.Pipe, o.Non, o.Bare = "ignore", "ignore", "ignore"
	switch service {
	case "dropping":
		o.Pipe, o.Non, o.Bare = "drop", "enforce", "drop"
	case "soft":
		o.Soft, o.Pipe = true, "enforce"
	case "footer":
		o.Footer, o.FooterMaps, o.Greet = `\c; see $server_name\nask $client_address$nothing`, []string{"regexp:{{/^450/ later}}"}, "drop"
	case "hiding":
		o.Discard = []string{"smtputf8", "etrn"}
		o.DiscardMaps = []string{"inline:{{127.0.0.50 = dsn, etrn, smtputf8, no-such-word}, {127.0.0.51 = silent-discard, dsn}}"}
	}
}

func moreMain(service, dir string) string {
	return " -o postscreen_greet_action=enforce -o postscreen_pipelining_enable=yes -o postscreen_non_smtp_command_enable=yes -o postscreen_bare_newline_enable=yes" +
		" -o postscreen_cache_map=btree:" + dir + "/data/" + service + map[string]string{
		"ignoring": " -o postscreen_pipelining_action=ignore -o postscreen_non_smtp_command_action=ignore -o postscreen_bare_newline_action=ignore",
		"dropping": " -o postscreen_pipelining_action=drop -o postscreen_non_smtp_command_action=enforce -o postscreen_bare_newline_action=drop",
		"soft":     " -o postscreen_pipelining_action=enforce -o postscreen_non_smtp_command_action=ignore -o postscreen_bare_newline_action=ignore -o soft_bounce=yes",
		"footer": " -o postscreen_pipelining_action=ignore -o postscreen_non_smtp_command_action=ignore -o postscreen_bare_newline_action=ignore -o postscreen_greet_action=drop" +
			` -o { postscreen_reject_footer = \c; see $server_name\nask $client_address$nothing }` + " -o { postscreen_reject_footer_maps = regexp:{{/^450/ later}} }",
		"hiding": " -o postscreen_pipelining_action=ignore -o postscreen_non_smtp_command_action=ignore -o postscreen_bare_newline_action=ignore" +
			" -o { postscreen_discard_ehlo_keywords = smtputf8, etrn }" +
			" -o { postscreen_discard_ehlo_keyword_address_maps = inline:{{127.0.0.50 = dsn, etrn, smtputf8, no-such-word}, {127.0.0.51 = silent-discard, dsn}} }",
	}[service]
}

// holdAll holds the conversations of one client one after the other, and those of
// different clients side by side: each waits for its greeting. That wait is long,
// because who is to be early must be so on a busy machine, too.
func (p *peer) holdAll(t *testing.T, list []talk) {
	clients := map[string][]talk{}
	for _, k := range list {
		clients[k.from] = append(clients[k.from], k)
	}
	var wg sync.WaitGroup // t.Parallel would hold no more at once than there are processors
	for from, list := range clients {
		wg.Go(func() {
			for _, k := range list {
				t.Run(k.name, func(t *testing.T) { p.only(from).hold(t, k) })
			}
		})
	}
	wg.Wait()
}

// only is a peer whose log speaks of one client, and warns.
func (p *peer) only(addr string) *peer {
	return &peer{addrs: p.addrs, log: func() (out []string) {
		for _, l := range p.log() {
			if strings.Contains(l, "["+addr+"]") || strings.HasPrefix(l, "warning: ") {
				out = append(out, l)
			}
		}
		return out
	}}
}

// greeted is what every client of these services hears first.
func greeted(steps ...string) []string {
	return append([]string{"< 220-patience", "< 220 mail.example.org*"}, steps...)
}

// moreTalks are conversations with all that a test can do and reply.
func moreTalks() []talk {
	return []talk{
		{"ignored tests", "ignoring", "127.0.0.30", greeted(">> HELO x\n", "< 250 mail.example.org", ">> MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nNOOP\r\n", "< 250 2.1.0 Ok",
			"< 450 4.3.2 Service currently unavailable", "< 250 2.0.0 Ok", "> CONNECT a", "< 502 5.5.2 Error: command not recognized", "> CONNECT b", "< 502 5.5.2*",
			">> NOOP\n", "< 250*", "> QUIT", "< 221 2.0.0 Bye"),
			[]string{"BARE NEWLINE from [127.0.0.30]:* after HELO x", `COMMAND PIPELINING from [127.0.0.30]:* after MAIL: RCPT TO:<a@b>\r\nNOOP\r\n`,
				"NOQUEUE: reject: RCPT from [127.0.0.30]:*: 450 4.3.2*", "NON-SMTP COMMAND from [127.0.0.30]:* after NOOP: CONNECT a", "PASS NEW*", "DISCONNECT [127.0.0.30]:*"}},
		{"QUIT alone passes no test", "ignoring", "127.0.0.31", greeted("> HELO x", "< 250*", "> QUIT", "< 221*", "< EOF"), []string{"CONNECT from*", "DISCONNECT [127.0.0.31]:*"}},
		{"odd commands", "ignoring", "127.0.0.32", greeted("> EHLO", "< 501 Syntax: EHLO hostname", "> HELO   ", "< 501 Syntax: HELO hostname", "> STARTTLS", "< 502 5.5.1 Error: command not implemented",
			"> STARTTLS x", "< 501 Syntax: EHLO hostname", "> XCLIENT a", "< 502 5.5.2 Error: command not recognized", "> AUTH PLAIN", "< 502 5.5.2*", "> HELP", "< 502 5.5.2*", "> ETRN", "< 500 Syntax: ETRN domain",
			"> ETRN a b", "< 458 Unable to queue messages", "> ", "< 502 5.5.2*", ">  NOOP", "< 250 2.0.0 Ok"), []string{"HANGUP after*from [127.0.0.32]:* in tests after SMTP handshake", "DISCONNECT*"}},
		{"addresses", "ignoring", "127.0.0.33", greeted("> MAIL FROM:<a b>", "< 250 2.1.0 Ok", `> RCPT TO:<"x\"y"@z>`, "< 450*", "> RCPT TO:", "< 450*", "> RCPT TO:<@a,@b:c@d> X=Y", "< 450*", "> RCPT TO:<a\tb@c>", "< 450*",
			"> RCPT TO:<ä@d>", "< 450*", "> RCPT TO:<\xff@d>", "< 450*", "> RCPT TO: <postmaster>", "< 450*", "> RCPT TO:<a@b", "< 450*", `> RCPT TO:<"a@b>`, "< 450*", "> RCPT TO:", "< 450*"),
			[]string{`*from=<"a b">, to=<"x\"y"@z>, proto=SMTP, helo=<>`, "*to=<>,*", "*to=<c@d>,*", `*to=<"a?b"@c>,*`, "*to=<ä@d>,*", "*to=<?@d>,*", "*to=<postmaster>,*", "*to=<a@b>,*", "*to=<>,*"}},
		{"DATA without MAIL", "ignoring", "127.0.0.34", greeted("> DATA", "< 503 5.5.1 Error: need RCPT command", "< EOF"), []string{"DATA without valid RCPT from [127.0.0.34]:*", "DISCONNECT*"}},
		{"BDAT without MAIL", "ignoring", "127.0.0.35", greeted(">> BDAT 4 LAST\r\nabcd", "< 554 5.5.1 Error: need MAIL command", "< EOF"), []string{"BDAT without valid RCPT from [127.0.0.35]:*", "DISCONNECT*"}},
		{"BDAT without a size", "ignoring", "127.0.0.36", greeted("> MAIL FROM:<>", "< 250*", "> BDAT", "< 501 5.5.4 Syntax: BDAT count [LAST]", "< EOF"), []string{"BDAT without valid RCPT*"}},
		{"DATA with a word", "ignoring", "127.0.0.37", greeted("> MAIL FROM:<>", "< 250*", "> DATA x", "< 501 5.5.4 Syntax: DATA", "< EOF"), []string{"DATA without valid RCPT*"}},

		{"foreign words are told once", "dropping", "127.0.0.38", greeted("> EHLO x", "< 250-*", "< 250-*", "< 250-*", "< 250-*", "< 250-*", "< 250-*", "< 250-*", "< 250-*", "< 250 CHUNKING",
			"> Subject: x", "< 502 5.5.2*", "> MAIL FROM:<>", "< 250*", "> RCPT TO:<a@b>", "< 550 5.5.1 Protocol error", "> CONNECT x", "< 502*", "> VRFY x", "< 550 5.5.1 Protocol error"),
			[]string{"NON-SMTP COMMAND from [127.0.0.38]:* after EHLO: Subject: x", "NOQUEUE: reject: RCPT*550 5.5.1*"}},
		{"ahead of the answer", "dropping", "127.0.0.39", greeted(">> EHLO x\r\nMAIL FROM:<>\r\n", "< 521 5.5.1 Protocol error", "< EOF"), []string{`COMMAND PIPELINING from [127.0.0.39]:* after EHLO: MAIL FROM:<>\r\n`, "DISCONNECT*"}},
		{"bare newline, sent away", "dropping", "127.0.0.40", greeted(">> EHLO x\n", "< 521 5.5.1 Protocol error", "< EOF"), []string{"BARE NEWLINE from [127.0.0.40]:* after EHLO x", "DISCONNECT*"}},

		{"soft bounces", "soft", "127.0.0.41", greeted("> FOO", "< 402 4.5.2 Error: command not recognized", ">> MAIL FROM:<>\r\nRCPT TO:<x@y>\r\n", "< 250*", "< 450 4.5.1 Protocol error"),
			[]string{"COMMAND PIPELINING*", "NOQUEUE: reject: RCPT from [127.0.0.41]:*: 450 4.5.1 Protocol error; from=<>, to=<x@y>, proto=SMTP, helo=<>"}},

		{"footers", "footer", "127.0.0.42", greeted("> HELO", "< 501-Syntax: HELO hostname; see mail.example.org", "< 501 ask 127.0.0.42", "> FOO", "< 502-5.5.2 Error: command not recognized; see mail.example.org", "< 502 5.5.2 ask 127.0.0.42",
			"> MAIL FROM:<>", "< 250 2.1.0 Ok", "> RCPT TO:<x@y>", "< 450-4.3.2 Service currently unavailable", "< 450 4.3.2 later"),
			[]string{`warning: unknown macro name "nothing" in expansion request`, "NOQUEUE: reject: RCPT from [127.0.0.42]:*: 450 4.3.2 Service currently unavailable; from=<>, to=<x@y>, proto=SMTP, helo=<>"}},
		{"a footer of the first refusal", "footer", "127.0.0.66", []string{"< 521-5.3.2 Service currently unavailable; see mail.example.org", "< 521 5.3.2 ask 127.0.0.66", "< EOF"}, []string{"DENYLISTED*", "DISCONNECT*"}},
		{"a footer of a refusal before the greeting", "footer", "127.0.0.43", []string{"> HELO x", "< 220-patience", "< 521-5.5.1 Protocol error; see mail.example.org", "< 521 5.5.1 ask 127.0.0.43", "< EOF"}, []string{"PREGREET*", "DISCONNECT*"}},

		{"hidden by the table", "hiding", "127.0.0.50", greeted("> EHLO x", "< 250-mail.example.org", "< 250-SIZE 200000", "< 250-VRFY", "< 250-ENHANCEDSTATUSCODES", "< 250-8BITMIME", "< 250 CHUNKING"),
			[]string{"[127.0.0.50]*: discarding EHLO keywords: ETRN DSN EHLO_MASK_SMTPUTF8"}},
		{"hidden in silence", "hiding", "127.0.0.51", greeted("> EHLO x", "< 250-mail.example.org", "< 250-SIZE 200000", "< 250-VRFY", "< 250-ETRN", "< 250-ENHANCEDSTATUSCODES", "< 250-8BITMIME", "< 250-SMTPUTF8", "< 250 CHUNKING"), nil},
		{"hidden from all", "hiding", "127.0.0.52", greeted("> EHLO x", "< 250-mail.example.org", "< 250-SIZE 200000", "< 250-VRFY", "< 250-ENHANCEDSTATUSCODES", "< 250-8BITMIME", "< 250-DSN", "< 250 CHUNKING"), nil},
	}
}
