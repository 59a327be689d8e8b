package trace

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// JSON writes a story as one object.
func (s *Story) JSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(s)
}

// Print writes a story for people.
func (s *Story) Print(w io.Writer) {
	for i, m := range s.Messages {
		if i > 0 {
			fmt.Fprintln(w)
		}
		m.print(w)
	}
	if len(s.Refused) > 0 {
		fmt.Fprintf(w, "\nRefused at the door:\n")
	}
	for _, e := range s.Refused {
		fmt.Fprintf(w, "  %s  %s\n", e.Time, visible(e.Text))
	}
}

func (m *Message) print(w io.Writer) {
	fmt.Fprintf(w, "Message %s", m.ID)
	for _, p := range [][2]string{{" from ", m.From}, {", size ", m.Size}, {", Message-ID ", m.MessageID}} {
		if p[1] != "" {
			fmt.Fprint(w, p[0], visible(p[1]))
		}
	}
	fmt.Fprintln(w)
	if m.Client != "" {
		fmt.Fprintf(w, "  handed over by %s\n", visible(m.Client))
	}
	for _, e := range m.Events {
		fmt.Fprintf(w, "  %s  %-10s %s\n", e.Time, e.Program, visible(e.Text))
	}
	last := map[string]Delivery{}
	var order []string
	for _, d := range m.Deliveries {
		if _, seen := last[d.To]; !seen {
			order = append(order, d.To)
		}
		last[d.To] = d
	}
	for _, to := range order {
		d := last[to]
		fmt.Fprintf(w, "  -> %s: %s after %s s by %s: %s\n", visible(to), d.Status, d.Delay, visible(d.Relay), visible(d.Text))
	}
	for _, s := range m.Stored {
		rule, uid := "", ""
		if s.Rule != "" {
			rule = " by " + s.Rule
		}
		if s.UID != "" {
			uid = ", UID " + s.UID
		}
		fmt.Fprintf(w, "  == in %s of %s%s%s\n", visible(s.Folder), visible(s.User), rule, uid)
	}
	for _, id := range m.Became {
		fmt.Fprintf(w, "  => became %s\n", id)
	}
	switch {
	case m.Queue != nil:
		m.Queue.print(w)
	case m.Removed:
		fmt.Fprintln(w, "  The queue is done with it.")
	default:
		fmt.Fprintln(w, "  It is not in the queue, and the log does not tell its end.")
	}
}

func (q *Queued) print(w io.Writer) {
	fmt.Fprintf(w, "  It is in the queue: %s", q.Folder)
	if q.NextTry != "" {
		fmt.Fprintf(w, ", next try %s", q.NextTry)
	}
	fmt.Fprintln(w)
	for _, r := range q.Recipients {
		word := "waits"
		if r.Done {
			word = "done"
		}
		fmt.Fprintf(w, "     %s: %s %s\n", visible(r.To), word, visible(r.Reason))
	}
}

// visible keeps a stranger's bytes from moving the cursor of a terminal.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
