// Package qshape counts queued mail by domain and age, in the table of Postfix's
// qshape(1). cmd/mailadm gives it the options and the messages.
package qshape

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Options are those of the command line. New fills in what is zero.
type Options struct {
	Senders bool // -s: the domains of senders
	Parents bool // -p: parent domains too
	MinSub  int  // -m: those with so many domains below them; 0 = 5
	Linear  bool // -l: the ages of the columns grow by Tick, and do not double
	Buckets int  // -b: columns; 0 = 10
	Tick    int  // -t: minutes of the first column; 0 = 5
	Width   int  // -w: of a line, at least 80
	Top     int  // -n: so many lines at most; 0 = all
}

// minName is how much of a domain is always shown, in octets.
const minName = 18

// total is the name of the line for all domains.
const total = "TOTAL"

// Shape counts.
type Shape struct {
	o     Options
	now   time.Time
	rows  map[string][]int // by domain: the sum, then the columns
	below map[string]int   // domains seen below a parent
}

// New returns an empty Shape; ages are counted from now.
func New(o Options, now time.Time) *Shape {
	for _, d := range [...]struct {
		v   *int
		def int
	}{{&o.MinSub, 5}, {&o.Buckets, 10}, {&o.Tick, 5}} {
		if *d.v <= 0 {
			*d.v = d.def
		}
	}
	o.Width = max(o.Width, 80)
	return &Shape{o: o, now: now, rows: map[string][]int{total: make([]int, o.Buckets+1)}, below: map[string]int{}}
}

// Add counts a message: its sender or each of its recipients.
func (s *Shape) Add(arrived time.Time, sender string, rcpts []string) {
	list := rcpts
	if s.o.Senders {
		list = []string{sender}
	}
	b := s.bucket(arrived)
	for _, a := range list {
		s.row(total, b)
		s.domain(domainOf(a), b)
	}
}

// domainOf is the domain of an address, in lower case; that of the null sender is
// MAILER-DAEMON.
func domainOf(a string) string {
	if a == "" || a == "MAILER-DAEMON" {
		return "MAILER-DAEMON"
	}
	d := strings.ToLower(a[strings.LastIndexByte(a, '@')+1:])
	d = strings.ReplaceAll(d, "..", ".")
	if len(d) > 1 {
		d = strings.TrimPrefix(d, ".")
	}
	if len(d) > 1 {
		d = strings.TrimSuffix(d, ".")
	}
	return d
}

// domain counts for a domain, and with -p for its parents but the top level.
func (s *Shape) domain(d string, b int) {
	for fresh := false; ; {
		was := fresh
		fresh = s.row(d, b)
		if was {
			s.below[d]++
		}
		up, ok := parent(d)
		if !s.o.Parents || !ok {
			return
		}
		d = up
	}
}

// parent of a.b.c is .b.c, and that has none.
func parent(d string) (string, bool) {
	_, up, _ := strings.Cut(strings.TrimPrefix(d, "."), ".")
	return "." + up, strings.Contains(up, ".")
}

// row adds one; it tells whether it is the first of the domain.
func (s *Shape) row(d string, b int) (first bool) {
	r := s.rows[d]
	if r == nil {
		r = make([]int, s.o.Buckets+1)
		s.rows[d] = r
	}
	r[0]++
	r[b]++
	return r[0] == 1
}

// bucket is the column of an age: 1 for less than a tick, then each twice as wide as
// the one before, the last one without an end.
func (s *Shape) bucket(arrived time.Time) int {
	m := math.Floor(s.now.Sub(arrived).Seconds()) / float64(60*s.o.Tick)
	switch {
	case m < 1 || s.o.Buckets == 1:
		return 1
	case s.o.Linear:
		return min(int(m+1), s.o.Buckets)
	}
	return min(2+int(math.Log(m)/math.Log(2)), s.o.Buckets)
}

// Print writes the table, the domain with the most mail first.
func (s *Shape) Print(w io.Writer) {
	heads := s.heads()
	widths := make([]int, len(heads))
	name := s.o.Width
	for i, h := range heads {
		n := max(len(h), len(strconv.Itoa(s.rows[total][i])))
		if widths[i] = 3; n > 2 {
			widths[i] = n + 1
		}
		name -= widths[i]
	}
	name = max(name, minName)
	line(w, "", name, widths, heads)
	n := 0
	for _, d := range s.order() {
		if strings.HasPrefix(d, ".") && s.below[d] < s.o.MinSub {
			continue
		}
		if n++; s.o.Top > 0 && n > s.o.Top {
			return
		}
		cells := make([]string, len(heads))
		for i, v := range s.rows[d] {
			cells[i] = strconv.Itoa(v)
		}
		line(w, d, name, widths, cells)
	}
}

// order sorts the domains: the most mail first, the shorter name, the name.
func (s *Shape) order() []string {
	list := make([]string, 0, len(s.rows))
	for d := range s.rows {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b string) int {
		return cmp.Or(cmp.Compare(s.rows[b][0], s.rows[a][0]), cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	})
	return list
}

// heads are the first line: T for the sum, then the minutes at which columns end.
func (s *Shape) heads() []string {
	out := []string{"T"}
	at := 0
	for i := 1; i <= s.o.Buckets; i++ {
		switch {
		case i == s.o.Buckets:
			out = append(out, strconv.Itoa(at)+"+")
			continue
		case at > 0 && !s.o.Linear:
			at += at
		default:
			at += s.o.Tick
		}
		out = append(out, strconv.Itoa(at))
	}
	return out
}

// line writes a name, cut at its front where it is too long, and right-aligned cells.
func line(w io.Writer, d string, name int, widths []int, cells []string) {
	if cut := len(d) - name; cut > 0 {
		if d[0] == '.' {
			d = ".+" + d[cut+2:]
		} else {
			d = "+" + d[cut+1:]
		}
	}
	fmt.Fprintf(w, "%*s", name, visible(d))
	for i, c := range cells {
		fmt.Fprintf(w, "%*s", widths[i], c)
	}
	fmt.Fprintln(w)
}

// visible keeps a stranger's bytes from moving the cursor of a terminal.
func visible(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			b[i] = '?'
		}
	}
	return string(b)
}
