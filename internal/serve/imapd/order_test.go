package imapd

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// threads returns mails that answer each other, as lists and broken programs do.
func threads(n int) (msgs [][]byte) {
	r := rand.New(rand.NewPCG(1, 2))
	subjects := []string{"boat", "Re: boat", "[list] boat", "Re: [list] re: boat", "sail", "Fwd: sail", "sail (fwd)", "[fwd: sail]",
		"=?utf-8?q?caf=C3=A9?=", "Re: =?utf-8?q?Caf=C3=A9?=", "zebra", "Re[2]: zebra", "", "_under", "Aw: boat", "[only]", "Re:", "[a] [b] Re: [c] boat"}
	for i := range n {
		h := fmt.Sprintf("Message-ID: <m%d@x>\r\n", i)
		switch r.IntN(6) {
		case 0, 1, 2:
			if i > 0 {
				a, b := r.IntN(i), r.IntN(n)
				h += fmt.Sprintf("References: <m%d@x> <m%d@x>\r\n", b, a)
			}
		case 3:
			h += fmt.Sprintf("In-Reply-To: your mail <m%d@x> of\r\n", r.IntN(n))
		case 4:
			h = fmt.Sprintf("References: <gone%d@x>\r\n <m%d@x>\r\n", r.IntN(4), r.IntN(n))
		}
		from := []string{"Zed Z <a@b>", "a@b", "\"B, b\" <z@y>", "=?utf-8?q?=C3=84rger?= <m@n>"}[r.IntN(4)]
		msgs = append(msgs, fmt.Appendf(nil, "From: %s\r\nTo: %s\r\nDate: %d Jan 2020 %02d:00:00 +0%d00\r\nSubject: %s\r\n%s\r\nbody %d\r\n",
			from, from, 1+r.IntN(20), r.IntN(24), r.IntN(9), subjects[r.IntN(len(subjects))], h, i))
	}
	return msgs
}

// TestOrderAgainstDovecot compares SORT and THREAD of generated threads.
func TestOrderAgainstDovecot(t *testing.T) {
	for _, n := range []int{8, 60} {
		msgs := threads(n)
		theirs := startDovecot(t, dovecotHome(t, msgs))
		ours := startOurs(t, memory(t, msgs), Options{})
		ours.do(t, "a SELECT INBOX")
		theirs.do(t, "a SELECT INBOX")
		for _, c := range []string{"SORT (SUBJECT)", "SORT (DATE)", "SORT (REVERSE FROM TO)", "SORT (DISPLAYFROM SIZE)", "SORT (DISPLAYTO REVERSE ARRIVAL)",
			"THREAD ORDEREDSUBJECT", "THREAD REFS", "THREAD REFERENCES"} {
			a, at := ours.do(t, "a "+c+" UTF-8 ALL")
			b, bt := theirs.do(t, "a "+c+" UTF-8 ALL")
			if fmt.Sprint(a) != fmt.Sprint(b) {
				t.Errorf("%d messages: %s\n ours %s %s\n dove %s %s", n, c, a, at, b, bt)
			}
		}
	}
}
