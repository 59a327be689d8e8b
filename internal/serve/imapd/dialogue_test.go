package imapd

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	"packetboat/internal/store/dict"
	"packetboat/test/oracle"
)

// A dialogue file is what one or two clients say and what the server answers.
//
//	# comment
//	inbox mixed.eml plain.eml       the mails in INBOX; all of testdata/*.eml without it
//	conf dot.conf maildir:~/mail    namespaces of testdata/dot.conf over a store on disk
//	bends delay-newmail             imap_client_workarounds of both servers
//	attributes                      with METADATA
//	ours                            Dovecot 2.3 does not speak it: only ours is asked
//	c -> a SELECT INBOX             the client; c2 is a second session
//	s <- * 3 EXISTS                 the answer of both servers, or ours where
//	d <- ...                        Dovecot's is another; "why" before it says why
//	wait                            look what the sessions say by themselves
//
// Figures that are never the same twice are replaced by letters. Text after
// "c ->" may hold \r \n \xNN. With IMAPD_RECORD=1 the answers are written anew.
type dialogue struct {
	head  []string // comments and inbox line
	inbox []string
	conf  []string // configuration with namespaces, mail location
	bends []string // imap_client_workarounds
	seqs  bool     // HIGHESTMODSEQ is compared
	alone bool     // Dovecot is not asked
	meta  bool     // with mail_attribute_dict
	steps []step
}

// step is one line of a client and the answers to it.
type step struct {
	notes   []string // comments before it
	session int      // 0 or 1; -1 = wait
	text    string
	ours    []answer
	theirs  []answer // nil = as ours
}

type answer struct {
	session int
	line    string
}

func parseDialogue(t *testing.T, name string) *dialogue {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	d := &dialogue{}
	var notes []string
	for _, l := range strings.Split(strings.TrimRight(string(raw), "\n"), "\n") {
		arrow := strings.Index(l, " -> ")
		back := strings.Index(l, " <- ")
		switch {
		case strings.HasPrefix(l, "inbox "):
			d.inbox = strings.Fields(l)[1:]
			d.head = append(d.head, l)
		case l == "attributes":
			d.meta = true
			d.head = append(d.head, l)
		case l == "ours":
			d.alone = true
			d.head = append(d.head, l)
		case l == "modseqs":
			d.seqs = true
			d.head = append(d.head, l)
		case strings.HasPrefix(l, "bends "):
			d.bends = strings.Fields(l)[1:]
			d.head = append(d.head, l)
		case strings.HasPrefix(l, "conf "):
			d.conf = strings.Fields(l)[1:]
			d.head = append(d.head, l)
		case l == "wait":
			d.steps = append(d.steps, step{notes: notes, session: -1})
			notes = nil
		case arrow == 1 || arrow == 2:
			d.steps = append(d.steps, step{notes: notes, session: number(l[:arrow]), text: l[arrow+4:]})
			notes = nil
		case back == 1 || back == 2:
			s := &d.steps[len(d.steps)-1]
			a := answer{number(l[:back]), l[back+4:]}
			if l[0] == 'd' {
				s.theirs = append(s.theirs, a)
			} else {
				s.ours = append(s.ours, a)
			}
		case len(d.steps) == 0 && len(notes) == 0 && strings.HasPrefix(l, "#"):
			d.head = append(d.head, l)
		default:
			notes = append(notes, l)
		}
	}
	return d
}

func number(who string) int {
	if strings.HasSuffix(who, "2") {
		return 1
	}
	return 0
}

var variable = []struct {
	re *regexp.Regexp
	to string
}{
	{regexp.MustCompile(` \(\d+\.\d{3} \+ \d+\.\d{3}( \+ \d+\.\d{3})? secs\)`), " (T secs)"},
	{regexp.MustCompile(`(UIDVALIDITY|APPENDUID|COPYUID) \d+`), "$1 V"},
	{regexp.MustCompile(`SAVEDATE "[^"]*"`), "SAVEDATE D"},
	{regexp.MustCompile(`EMAILID \(\w{1}[^)]*\)`), "EMAILID (ID)"},
	{regexp.MustCompile(`MODSEQ (\(?)\d+`), "MODSEQ ${1}M"},
	{regexp.MustCompile(`\[MAILBOXID \([^)]*\)\] `), ""},
	{regexp.MustCompile(`CAPABILITY .*`), "CAPABILITY ..."},
	{regexp.MustCompile(`"(Dovecot|Packetboat)"`), `"NAME"`},
}

func normal(line string) string {
	for _, v := range variable {
		line = v.re.ReplaceAllString(line, v.to)
	}
	line = strings.ReplaceAll(line, "\r\n", `\r\n`)
	return line
}

// player runs a dialogue against one server.
type player struct {
	t     *testing.T
	start func() *peer
	peers [2]*peer
	lines [2]chan string

	modseqs  bool   // HIGHESTMODSEQ is compared
	modseq   uint64 // the highest that was told, "$M"
	validity string // the last UIDVALIDITY, "$V"
}

var (
	modseqIn   = regexp.MustCompile(`MODSEQ \(?(\d+)`)
	validityIn = regexp.MustCompile(`UIDVALIDITY (\d+)`)
)

// learn keeps what a later line of the client may name.
func (p *player) learn(l string) {
	for _, m := range modseqIn.FindAllStringSubmatch(l, -1) {
		if n, err := strconv.ParseUint(m[1], 10, 64); err == nil {
			p.modseq = max(p.modseq, n)
		}
	}
	if m := validityIn.FindStringSubmatch(l); m != nil {
		p.validity = m[1]
	}
}

// session starts a session when it is first spoken to.
func (p *player) session(n int) *peer {
	if p.peers[n] == nil {
		p.peers[n] = p.start()
		ch := make(chan string, 1000)
		p.lines[n] = ch
		go func(c *peer) {
			defer close(ch)
			for {
				l, err := c.tryLine()
				if err != nil {
					ch <- "(end)"
					return
				}
				ch <- l
			}
		}(p.peers[n])
	}
	return p.peers[n]
}

// collect reads what session n says until the answer to tag, or until it says
// nothing for the time of quiet.
func (p *player) collect(n int, tag string, want int, quiet time.Duration) (got []answer) {
	if p.lines[n] == nil {
		return nil
	}
	for {
		if want > 0 && len(got) == want {
			tag, quiet = "", 3*time.Millisecond
		}
		select {
		case l, ok := <-p.lines[n]:
			if !ok {
				return got
			}
			if !p.modseqs && strings.HasPrefix(l, "* OK [HIGHESTMODSEQ") {
				continue // Dovecot tells it only of mailboxes that somebody asked of before
			}
			if strings.HasPrefix(l, "* OK [MAILBOXID") {
				continue // Dovecot knows nothing of RFC 8474: TestObjectID has them
			}
			p.learn(l)
			l = normal(l)
			got = append(got, answer{n, l})
			if tag != "" && (strings.HasPrefix(l, tag+" ") || strings.HasPrefix(l, "+ ") || l == "+") {
				tag, quiet = "", 3*time.Millisecond
			}
		case <-time.After(quiet):
			return got
		}
	}
}

// play sends one step and returns the answers. A step without an expected
// answer is given a short time to show that there is none.
func (p *player) play(s *step, want int) (got []answer) {
	if s.session < 0 {
		wait := 1200 * time.Millisecond
		if want > 0 { // what must come has the time of a busy machine, what must not is not waited for so long
			wait = oracle.Patience
		}
		for end := time.Now().Add(wait); time.Now().Before(end) && len(got) != want; {
			for n := range p.peers {
				got = append(got, p.collect(n, "", 0, 10*time.Millisecond)...)
			}
		}
		return sorted(got)
	}
	c := p.session(s.session)
	text := strings.NewReplacer(`\r`, "\r", `\n`, "\n", `\x00`, "\x00", `\xe9`, "\xe9", `\\`, `\`,
		`\xc3`, "\xc3", `\xa9`, "\xa9", "$M", strconv.FormatUint(p.modseq, 10), "$V", p.validity).Replace(s.text)
	io.WriteString(c, text+"\r\n")
	tag, _, _ := strings.Cut(s.text, " ")
	quiet := oracle.Patience // a busy machine is no fault
	switch {
	case want > 0:
		tag = "" // the number of answers is known
	case want == 0:
		tag, quiet = "", 40*time.Millisecond
	case want < 0 && (tag == "a" || tag == "b"):
		quiet = 2 * time.Second
	case want < 0 && tag != "a" && tag != "b":
		quiet = 700 * time.Millisecond // recording: no tag will end the answer
	}
	return sorted(p.collect(s.session, tag, want, quiet))
}

// sorted puts neighbouring LIST answers in order: Dovecot's is the directory's.
func sorted(got []answer) []answer {
	isList := func(l string) bool { return strings.HasPrefix(l, "* LIST") || strings.HasPrefix(l, "* LSUB") }
	for i := 0; i < len(got); i++ {
		j := i
		for j < len(got) && isList(got[j].line) {
			j++
		}
		sort.Slice(got[i:j], func(a, b int) bool { return got[i+a].line < got[i+b].line })
		i = max(i, j-1)
	}
	return got
}

func show(list []answer) string {
	var b strings.Builder
	for _, a := range list {
		fmt.Fprintf(&b, "\n  %d %s", a.session+1, a.line)
	}
	return b.String()
}

func same(a, b []answer) bool { return show(a) == show(b) }

// mails returns the messages of a dialogue.
func (d *dialogue) mails(t *testing.T) (msgs [][]byte) {
	names := d.inbox
	if names == nil {
		all, _ := filepath.Glob("testdata/*.eml")
		for _, n := range all {
			names = append(names, filepath.Base(n))
		}
	}
	for _, n := range names {
		if n == "none" {
			continue
		}
		b, err := os.ReadFile(filepath.Join("testdata", n))
		if err != nil {
			t.Fatal(err)
		}
		msgs = append(msgs, b)
	}
	return msgs
}

// TestDialogues runs every dialogue against this engine and, where it is
// installed, against Dovecot.
func TestDialogues(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.dialogue")
	if len(files) < 80 {
		t.Errorf("only %d dialogues", len(files))
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".dialogue"), func(t *testing.T) {
			t.Parallel()
			d := parseDialogue(t, f)
			if os.Getenv("IMAPD_RECORD") != "" {
				record(t, f, d)
				return
			}
			t.Run("ours", func(t *testing.T) { d.check(t, d.ours(t), false) })
			if d.alone {
				return
			}
			t.Run("dovecot", func(t *testing.T) { d.check(t, d.dovecot(t), true) })
		})
	}
}

func (d *dialogue) ours(t *testing.T) *player {
	if d.conf != nil {
		u := diskUser(t, d.conf[0], d.conf[1], d.mails(t))
		return &player{t: t, modseqs: d.seqs, start: func() *peer { return startUser(t, u, Options{Workarounds: d.bends}) }}
	}
	st := memory(t, d.mails(t))
	if d.meta {
		u := User{Name: "alice", Store: st, Attributes: dict.Open(filepath.Join(t.TempDir(), "attributes"))}
		return &player{t: t, modseqs: d.seqs, start: func() *peer { return startUser(t, u, Options{Workarounds: d.bends}) }}
	}
	return &player{t: t, modseqs: d.seqs, start: func() *peer { return startOurs(t, st, Options{Workarounds: d.bends}) }}
}

func (d *dialogue) dovecot(t *testing.T) *player {
	home := dovecotHome(t, d.mails(t))
	if d.conf != nil {
		dovecotSpaces(t, home, d.conf[0], d.conf[1], d.mails(t))
	}
	if d.bends != nil {
		configure(t, home, "imap_client_workarounds = "+strings.Join(d.bends, " "))
	}
	if d.meta {
		configure(t, home, "imap_metadata = yes\nmail_attribute_dict = file:"+home+"/attributes")
	}
	return &player{t: t, modseqs: d.seqs, start: func() *peer { return startDovecot(t, home) }}
}

// configure adds lines to the configuration of a Dovecot home.
func configure(t *testing.T, home, lines string) {
	f, err := os.OpenFile(home+"/dovecot.conf", os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintln(f, lines)
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (d *dialogue) check(t *testing.T, p *player, dovecot bool) {
	for i := range d.steps {
		s := &d.steps[i]
		want := s.ours
		if dovecot && s.theirs != nil {
			want = s.theirs
			if want[0].line == "(nothing)" {
				want = nil
			}
		}
		got := p.play(s, len(want))
		if !same(got, want) {
			t.Fatalf("%s\n got%s\nwant%s", s.text, show(got), show(want))
		}
	}
}

// record writes a dialogue anew from what both servers say.
func record(t *testing.T, name string, d *dialogue) {
	a := d.ours(t)
	b := a
	if !d.alone {
		b = d.dovecot(t)
	}
	var out bytes.Buffer
	for _, l := range d.head {
		fmt.Fprintln(&out, l)
	}
	for i := range d.steps {
		s := &d.steps[i]
		for _, n := range s.notes {
			fmt.Fprintln(&out, n)
		}
		if s.session < 0 {
			fmt.Fprintln(&out, "wait")
		} else {
			fmt.Fprintf(&out, "c%s -> %s\n", suffix(s.session), s.text)
		}
		ours := a.play(s, -1)
		theirs := ours
		if !d.alone {
			theirs = b.play(s, -1)
		}
		for _, x := range ours {
			fmt.Fprintf(&out, "s%s <- %s\n", suffix(x.session), x.line)
		}
		if !same(ours, theirs) {
			for _, x := range theirs {
				fmt.Fprintf(&out, "d%s <- %s\n", suffix(x.session), x.line)
			}
			if len(theirs) == 0 {
				fmt.Fprintln(&out, "d <- (nothing)")
			}
		}
	}
	if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

func suffix(n int) string {
	if n == 1 {
		return "2"
	}
	return ""
}
