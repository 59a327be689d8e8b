package smtpd

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"packetboat/internal/auth/wire"
	"packetboat/test/oracle"
)

// goldenDir holds what a real Postfix answered and logged; it is no part of
// the project.
const goldenDir = "../../../../shared/golden/"

type goldenSession struct {
	name string
	turn []goldenTurn
}

type goldenTurn struct {
	send string // empty: only read
	want []string
}

// otherWings are sessions about header_checks and postscreen.
var otherWings = []string{"header reject", "header warn", "header hold", "header discard", "postscreen rbl", "postscreen pass", "sub noauth"}

// readGolden reads traffic.txt up to the IMAP sessions.
func readGolden(t *testing.T) []goldenSession {
	t.Helper()
	b, err := os.ReadFile(goldenDir + "traffic.txt")
	if err != nil {
		t.Skip("../shared/golden is not here")
	}
	var out []goldenSession
	quoted := regexp.MustCompile(`'([^']*)'`)
	lines := strings.Split(strings.ReplaceAll(string(b), "\r", ""), "\n")
	for i := 0; i < len(lines); i++ {
		l := lines[i]
		if name, ok := strings.CutPrefix(l, "## "); ok {
			if strings.HasPrefix(name, "login ok") {
				break
			}
			out = append(out, goldenSession{name: name})
			continue
		}
		if len(out) == 0 {
			continue
		}
		s := &out[len(out)-1]
		switch {
		case strings.HasPrefix(l, "C: "):
			text := l[3:]
			for i+1 < len(lines) && !strings.HasPrefix(lines[i+1], "S: ") && !strings.HasPrefix(lines[i+1], "EXC") && !strings.HasPrefix(lines[i+1], "## ") {
				i++
				text += "\r\n" + lines[i]
			}
			s.turn = append(s.turn, goldenTurn{send: text})
		case strings.HasPrefix(l, "S: "):
			var want []string
			for _, m := range quoted.FindAllStringSubmatch(l, -1) {
				want = append(want, m[1])
			}
			if len(s.turn) == 0 {
				s.turn = append(s.turn, goldenTurn{})
			}
			s.turn[len(s.turn)-1].want = want
		}
	}
	return out
}

func goldenWorld(t *testing.T) *world {
	w := newWorld()
	// The recorded sessions know no LIMITS (RFC 9422), no BINARYMIME and no HELP.
	w.opts.DiscardEHLO = words2("silent-discard limits binarymime help")
	w.relay = []string{"lda.test", "lmtp.test", "dead.test", "err.test", "disc.test"}
	w.pol.Helo = words2("permit_mynetworks,reject_invalid_helo_hostname,reject_non_fqdn_helo_hostname")
	w.pol.Recipient = words2("permit_mynetworks,permit_sasl_authenticated,reject_unauth_destination,reject_unknown_sender_domain,reject_rbl_client rbl.test")
	w.pol.Data = words2("reject_unauth_pipelining")
	w.opts.HeloRequired, w.opts.HardErrors, w.opts.SoftErrors = true, 5, 3
	w.opts.SASL, w.opts.TLSLevel = true, "may"
	w.deps.TLS = testTLS(t)
	sock := t.TempDir() + "/auth.sock"
	startAuth(t, sock)
	w.deps.Auth = wire.New(func(context.Context) (net.Conn, error) { return net.Dial("unix", sock) })
	return w.start(t)
}

// goldenClients returns the client addresses of the log's sessions in order.
func goldenClients(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, l := range goldenLog(t) {
		if _, addr, ok := strings.Cut(l, "connect from "); ok && strings.HasPrefix(l, "connect") {
			_, addr, _ = strings.Cut(addr, "[")
			out = append(out, strings.TrimSuffix(addr, "]"))
		}
	}
	return out
}

func goldenLog(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(goldenDir + "mail.log")
	if err != nil {
		t.Skip("../shared/golden is not here")
	}
	var out []string
	for _, m := range smtpdLine.FindAllStringSubmatch(string(b), -1) {
		out = append(out, m[1])
	}
	return out
}

var queueID = regexp.MustCompile(`\b[0-9A-F]{7,12}\b`)

// TestGoldenTraffic replays the recorded sessions: the same replies to the same
// lines, and the same lines in the log.
func TestGoldenTraffic(t *testing.T) {
	sessions, clients := readGolden(t), goldenClients(t)
	if len(sessions) < 40 {
		t.Fatalf("only %d sessions were read", len(sessions))
	}
	w := goldenWorld(t)
	ran := 0
	for i, s := range sessions {
		if slices.Contains(otherWings, s.name) || i >= len(clients) || s.name == "timeout" {
			continue
		}
		ran++
		t.Run(s.name, func(t *testing.T) { s.replay(t, w, clients[i]) })
	}
	t.Logf("%d of %d sessions", ran, len(sessions))
	checkGoldenLog(t, w)
}

func (s *goldenSession) replay(t *testing.T, w *world, from string) {
	conn := dialFrom(t, from, w.addr)
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(oracle.Patience))
	r := bufio.NewReader(conn)
	for _, turn := range s.turn {
		if turn.send != "" {
			fmt.Fprintf(conn, "%s\r\n", dataEnd(turn.send))
		}
		for _, want := range turn.want {
			line, err := r.ReadString('\n')
			got := strings.TrimSuffix(line, "\r\n")
			if queueID.ReplaceAllString(got, "ID") != queueID.ReplaceAllString(want, "ID") {
				t.Fatalf("after %q: got %q (%v), want %q", turn.send, got, err, want)
			}
		}
	}
}

// dataEnd repairs two messages whose recording is cut: one lost its final dot,
// the other most of its size.
func dataEnd(s string) string {
	if strings.HasPrefix(s, "Subject: big") {
		return "Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 98)+"\r\n", 3000) + "."
	}
	if strings.HasPrefix(s, "Subject: ") && !strings.HasSuffix(s, "\r\n.") {
		return s + "."
	}
	return s
}

// checkGoldenLog looks for each of our lines among the recorded ones.
func checkGoldenLog(t *testing.T, w *world) {
	golden := map[string]bool{}
	for _, l := range goldenLog(t) {
		golden[queueID.ReplaceAllString(l, "ID")] = true
	}
	oracle.Await(func() bool { return w.srv.Sessions() == 0 })
	lines := w.log.all()
	for _, l := range lines {
		if !golden[queueID.ReplaceAllString(l, "ID")] {
			t.Errorf("Postfix has no such line: %s", l)
		}
	}
	t.Logf("%d log lines", len(lines))
}
