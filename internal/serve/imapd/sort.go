package imapd

import (
	"strconv"
	"strings"

	"packetboat/internal/serve/imapd/order"
	"packetboat/internal/serve/imapd/syntax"
)

// maxSortKeys is the number of keys of one SORT.
const maxSortKeys = 32

// sort: SORT and UID SORT, RFC 5256; with RETURN it is ESORT (RFC 5267).
func (s *session) sort(args []syntax.Arg) error {
	want, args, err := syntax.ParseResult(args)
	if err != nil {
		return err
	}
	keys, err := sortKeys(args)
	if err != nil {
		return err
	}
	list, key, answered, err := s.ordered(args[1:], &want)
	if answered || err != nil {
		return err
	}
	sr := s.searcher()
	sr.Prepare(syntax.Key{Op: syntax.KeyAll})
	list = order.Sort(list, keys, sr.Value)
	if want.Update {
		s.keepContext(key, list)
	}
	if want.Extended {
		s.writeResult(want, list)
	} else {
		s.writeNumbers("* SORT", list, want.ModSeq)
	}
	return s.done("OK Sort completed")
}

// sortKeys reads the program of SORT.
func sortKeys(args []syntax.Arg) (keys []order.Key, err error) {
	if len(args) == 0 || args[0].Kind != syntax.List {
		return nil, syntax.Error("Invalid sort argument")
	}
	reverse := false
	for _, a := range args[0].List {
		if a.Is("REVERSE") {
			reverse = !reverse
			continue
		}
		word := strings.ToUpper(string(a.Text))
		f, ok := order.ParseField(word)
		if !ok || a.Kind != syntax.Atom {
			return nil, syntax.Error("Unknown sort argument: " + word)
		}
		keys, reverse = append(keys, order.Key{Field: f, Reverse: reverse}), false
	}
	switch {
	case reverse:
		return nil, syntax.Error("Sort list ends with REVERSE")
	case len(keys) == 0:
		return nil, syntax.Error("Empty sort program")
	case len(keys) > maxSortKeys:
		return nil, syntax.Error("Too many sort arguments")
	}
	return keys, nil
}

// ordered reads a charset and search keys and returns the messages, with sizes
// and dates known.
func (s *session) ordered(args []syntax.Arg, want *syntax.Result) (list []int, key syntax.Key, answered bool, err error) {
	if len(args) == 0 || !args[0].IsString() {
		return nil, key, false, syntax.Error("Invalid charset argument")
	}
	if len(args) == 1 {
		return nil, key, false, syntax.Error("Missing search parameters")
	}
	args = append([]syntax.Arg{{Text: []byte("CHARSET")}}, args...)
	if list, key, answered, err = s.matches(args, want); answered || err != nil {
		return list, key, answered, err
	}
	if err := s.know(list); err != nil {
		return nil, key, true, s.failed(err, s.view.Name, "")
	}
	return list, key, false, nil
}

// thread: THREAD and UID THREAD, RFC 5256.
func (s *session) thread(args []syntax.Arg) error {
	if len(args) < 2 || args[0].Kind != syntax.Atom {
		return syntax.Error("Invalid arguments")
	}
	algorithm := strings.ToUpper(string(args[0].Text))
	if algorithm != "REFERENCES" && algorithm != "REFS" && algorithm != "ORDEREDSUBJECT" {
		return syntax.Error("Unknown thread algorithm")
	}
	list, _, answered, err := s.ordered(args[1:], &syntax.Result{})
	if answered || err != nil {
		return err
	}
	sr := s.searcher()
	sr.Prepare(syntax.Key{Op: syntax.KeyAll})
	msgs := make([]order.Message, len(list))
	for n, i := range list {
		msgs[n] = sr.Message(i, s.number(i))
	}
	var roots []*order.Node
	if algorithm == "ORDEREDSUBJECT" {
		roots = order.OrderedSubject(msgs)
	} else {
		roots = order.References(msgs, algorithm == "REFERENCES")
	}
	s.out.Text("* THREAD ")
	for len(roots) > 0 {
		n := min(len(roots), 100)
		s.out.Buf = order.Append(s.out.Buf, roots[:n], func(b []byte, n uint32) []byte { return strconv.AppendUint(b, uint64(n), 10) })
		roots = roots[n:]
		if err := s.out.FlushFull(); err != nil {
			return err
		}
	}
	s.out.Line()
	return s.done("OK Thread completed")
}
