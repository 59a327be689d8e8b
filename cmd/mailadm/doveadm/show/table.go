package show

import (
	"strings"
	"unicode/utf8"
)

// The measures of a table, as Dovecot's: how wide a line may be, and how many
// rows are held to find the width of each column.
const (
	lineWidth = 80
	heldRows  = 100
)

// table: columns with spaces between them.
type table struct {
	base
	held  []string // values that wait for the widths
	width []int    // nil until they are known
}

func (t *table) Value(s string) {
	if t.width != nil {
		t.print(s)
		return
	}
	t.held = append(t.held, s)
	if len(t.held) >= heldRows*len(t.cols) {
		t.release()
	}
}

func (t *table) Piece([]byte) error { return ErrMultiline }

func (t *table) Done() {}

func (t *table) Flush() error {
	if t.width == nil && len(t.cols) > 0 {
		t.release()
	}
	return t.w.Flush()
}

// release prints the names and what was held.
func (t *table) release() {
	t.measure()
	hidden := true
	for _, c := range t.cols {
		hidden = hidden && c.Hide
	}
	if !hidden {
		for _, c := range t.cols {
			t.print(c.title())
		}
	}
	for _, s := range t.held {
		t.print(s)
	}
	t.held = nil
}

// print pads one value.
func (t *table) print(s string) {
	if t.at > 0 {
		t.w.WriteByte(' ')
	}
	pad := strings.Repeat(" ", max(0, t.width[t.at]-utf8.RuneCountInString(s)))
	if t.cols[t.at].Right {
		t.w.WriteString(pad + s)
	} else {
		t.w.WriteString(s + pad)
	}
	if t.next() {
		t.w.WriteByte('\n')
	}
}

// measure finds the widths: each column as wide as its widest value; when the line
// is too long the last ones give way, down to their shortest value; when there
// is room half of it goes to the column that may expand, or to the last.
func (t *table) measure() {
	n := len(t.cols)
	t.width = make([]int, n)
	least := make([]int, n)
	total := n - 1
	for i, c := range t.cols {
		t.width[i] = utf8.RuneCountInString(c.title())
		least[i] = t.width[i]
		for k := i; k < len(t.held); k += n {
			w := utf8.RuneCountInString(t.held[k])
			t.width[i], least[i] = max(t.width[i], w), min(least[i], w)
		}
		total += t.width[i]
	}
	for i := n - 1; i >= 0 && total >= lineWidth; i-- {
		less := min(total-lineWidth+1, t.width[i]-least[i])
		t.width[i] -= less
		total -= less
	}
	if total < lineWidth {
		t.width[t.spare()] += (lineWidth - total) / 2
	}
}

// spare is the column that gets what the line has to spare.
func (t *table) spare() int {
	for i, c := range t.cols {
		if c.Expand {
			return i
		}
	}
	return len(t.cols) - 1
}
