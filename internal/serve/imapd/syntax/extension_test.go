package syntax

import (
	"bufio"
	"strings"
	"testing"
)

// FuzzExtensions feeds the arguments of extended commands to all their parsers.
func FuzzExtensions(f *testing.F) {
	for _, s := range []string{
		`(SUBSCRIBED RECURSIVEMATCH) "" (INBOX a%) RETURN (CHILDREN STATUS (MESSAGES))`, `"" * RETURN (SPECIAL-USE)`, `() "" ()`, `"" * RETURN (STATUS)`,
		`RETURN (MIN MAX COUNT SAVE PARTIAL -1:-100) ALL`, `RETURN (PARTIAL 1:4294967295) $`, `RETURN () MODSEQ "/flags/\\draft" all 620162338`, `RETURN (PARTIAL`,
		`INBOX (QRESYNC (67890007 20050715194045000 41,43:211,214:541 (1:9 1:9)))`, `INBOX (CONDSTORE QRESYNC (1))`, `INBOX (QRESYNC (1 2 *))`,
		`1:* (FLAGS) (CHANGEDSINCE 12345 VANISHED PARTIAL 1:2)`, `1 FLAGS (CHANGEDSINCE)`, `1 (UNCHANGEDSINCE 18446744073709551616) +FLAGS (x)`, `1 (UNCHANGEDSINCE 1)`,
		`1 (BINARY.PEEK[1.2]<0.10> BINARY.SIZE[] PREVIEW (LAZY) MODSEQ)`, `1 BINARY[1.HEADER.FIELDS (x)]`, `1 (PREVIEW (FUZZY))`, `1 BINARY`, `x ~{3+}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		p := Parser{R: bufio.NewReader(strings.NewReader(line + "\r\n")), Continue: func() error { return nil }}
		args, err := p.Args(false)
		if err != nil || len(args) == 0 {
			return
		}
		if l, err := ParseList(args, true); err == nil {
			l.Matchers('/')("a/b")
			if len(l.Patterns) > maxPatterns {
				t.Errorf("%d patterns", len(l.Patterns))
			}
		}
		if r, _, err := ParseResult(args); err == nil && r.Partial {
			for _, n := range []int{0, 1, 5} {
				if from, to := r.Window(n); from < 0 || to > n || from > n {
					t.Errorf("%s of %d: %d to %d", r.Range, n, from, to)
				}
			}
		}
		ParseSelect(args[1:])
		if rest, _, err := ParseSince(args, true); err == nil && len(rest) > 1 {
			ParseFetch(rest[1:])
		}
		if len(args) > 1 {
			ParseUnchanged(args)
		}
		ParseSearch(args)
	})
}
