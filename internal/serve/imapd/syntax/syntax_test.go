package syntax

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"pgregory.net/rapid"
)

func parser(in string) *Parser {
	return &Parser{R: bufio.NewReader(strings.NewReader(in)), Continue: func() error { return nil }}
}

// show writes arguments back in a form that a test can compare.
func show(args []Arg) string {
	var b strings.Builder
	for i, a := range args {
		if i > 0 {
			b.WriteByte(' ')
		}
		switch a.Kind {
		case Atom:
			b.Write(a.Text)
		case List:
			b.WriteString("(" + show(a.List) + ")")
		case Size:
			b.WriteString("{...}")
		default:
			b.Write(appendQuoted(nil, a.Text))
		}
	}
	return b.String()
}

func TestArgs(t *testing.T) {
	for in, want := range map[string]string{
		"x a b\r\n":                          "a b",
		"x a  b \n":                          "a b",
		"x \"a \\\"b\" {3}\r\nabc d\r\n":     `"a \"b" "abc" d`,
		"x {3+}\r\na\r\n {0}\r\n\r\n":        "\"a\r\n\" \"\"",
		"x (a (b c) ()) d\r\n":               "(a (b c) ()) d",
		"x BODY[HEADER.FIELDS (a b)]<0>\r\n": "BODY[HEADER.FIELDS (a b) ]<0>",
		"x\r\n":                              "",
	} {
		p := parser(in)
		if _, err := p.Start(); err != nil {
			t.Fatal(err)
		}
		args, err := p.Args(false)
		if got := show(args); err != nil || got != want {
			t.Errorf("%q: %q %v", in, got, err)
		}
		if p.R.Buffered() > 0 {
			t.Errorf("%q: %d octets are left", in, p.R.Buffered())
		}
	}
}

// TestSkip: after a wrong command the next one is found, whatever stood
// between.
func TestSkip(t *testing.T) {
	for _, in := range []string{
		"x (\r\nnext\r\n", "x ) {4+}\r\nAB\r\n\r\nnext\r\n", "x \"a\r\nnext\r\n", "x a{\r\nnext\r\n",
		"x {5x}\r\nnext\r\n", "x {99999999}\r\nnext\r\n", "x {70000+}\r\n" + strings.Repeat("y\r\n", 70000)[:70000] + "\r\nnext\r\n",
		"x )" + strings.Repeat("a", 100000) + "{3+}\r\nb\r\n c {2+}\r\nno\r\nnext\r\n", "x {3+}\r\n\x00ab {6+}\r\nabcdef\r\nnext\r\n",
	} {
		p := parser(in)
		p.Start()
		if _, err := p.Args(false); err == nil {
			t.Errorf("%.40q: no error", in)
		}
		if err := p.Skip(); err != nil {
			t.Errorf("%.40q: %v", in, err)
		}
		if word, _ := p.Start(); string(word) != "next" {
			t.Errorf("%.40q: then %.40q", in, word)
		}
	}
}

func TestSet(t *testing.T) {
	for in, want := range map[string]string{
		"1": "1", "1:3,2:5": "1:5", "*": "9", "5:*": "5:9", "12:*": "9:12", "*:3": "3:9", "4,2,3": "2:4", "1,3": "1,3",
	} {
		set, ok := ParseSet([]byte(in))
		if got := string(set.Resolve(9).Append(nil)); !ok || got != want {
			t.Errorf("%s: %s %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "0", "a", "1:", ":1", "1,,2", "4294967296", "1 2", "-1", "1:2:3"} {
		if _, ok := ParseSet([]byte(in)); ok {
			t.Errorf("%q is a set", in)
		}
	}
}

// TestSetProperty: a resolved set holds what its text says.
func TestSetProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nums := rapid.SliceOfN(rapid.Uint32Range(1, 50), 1, 30).Draw(t, "nums")
		var text Set
		for _, n := range nums {
			text = append(text, imap.SeqRange{Start: n, Stop: n})
		}
		set, ok := ParseSet(text.Append(nil))
		if !ok {
			t.Fatal("no set")
		}
		set = set.Resolve(50)
		for n := uint32(1); n <= 50; n++ {
			want := false
			for _, m := range nums {
				want = want || m == n
			}
			if set.Contains(n) != want {
				t.Fatalf("%d: %v", n, !want)
			}
		}
		again, _ := ParseSet(set.Append(nil))
		if !bytes.Equal(again.Append(nil), set.Append(nil)) {
			t.Fatal("written and read it is another")
		}
	})
}

func TestSearchTree(t *testing.T) {
	p := parser("x OR NOT (FROM a 1:3) SENTBEFORE 1-Feb-1994 LARGER 5\r\n")
	p.Start()
	args, _ := p.Args(false)
	k, err := ParseSearch(args)
	if err != nil || len(k.Keys) != 2 || k.Keys[0].Op != KeyOr || k.Keys[1].Num != 5 {
		t.Fatalf("%+v %v", k, err)
	}
	or := k.Keys[0]
	if !or.Keys[0].Not || len(or.Keys[0].Keys) != 2 || !or.Keys[1].Date.Equal(time.Date(1994, 2, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", or)
	}
}

// FuzzCommand: any octets are read as commands without a fault, within the
// limits, and an error is one of syntax or the end of the input.
func FuzzCommand(f *testing.F) {
	for _, s := range []string{
		"a FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (a b)]<0.10>)\r\n", "a SEARCH CHARSET UTF-8 OR NOT (SUBJECT {3+}\r\nabc) SINCE 1-Feb-2020\r\n",
		"a APPEND x (\\Seen) {3}\r\nabc\r\nb NOOP\r\n", "a {99+}\r\n", "((((\r\n", "a \"\\\r\n", "a SEARCH $ 1:* UID 2,3 HEADER a \"\"\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		p := parser(string(in))
		p.Limit = 1000
		for range len(in) + 1 {
			_, err := p.Start()
			if err == nil {
				_, err = p.Word()
			}
			var args []Arg
			if err == nil {
				args, err = p.Args(len(in)%2 == 1)
			}
			if err == nil && endsInSize(args) {
				p.Owe(args[len(args)-1])
			}
			if err == nil && len(args) > 0 {
				ParseSearch(args)
				ParseFetch(args)
				ParseSet(args[0].Text)
			}
			var bad Error
			if err != nil && !errors.As(err, &bad) {
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatal(err)
				}
				return
			}
			if p.Skip() != nil {
				return
			}
		}
		t.Fatal("the parser does not get on")
	})
}

func FuzzFetch(f *testing.F) {
	for _, s := range []string{"BODY[1.2.MIME]<3.4>", "(FLAGS BODY[HEADER.FIELDS.NOT (a \"b\")])", "FULL", "RFC822.TEXT", "BODY[", "BODY[]<"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		p := parser("x " + in + "\r\n")
		p.Start()
		args, err := p.Args(false)
		if err != nil {
			return
		}
		items, err := ParseFetch(args)
		if err == nil && (len(items) == 0 || len(items) > maxItems) {
			t.Fatalf("%d items", len(items))
		}
		for _, it := range items {
			if it.Name == "" || strings.ContainsAny(it.Name, "\r\n") && !strings.Contains(it.Name, "{") {
				t.Fatalf("name %q", it.Name)
			}
		}
	})
}

func FuzzSearch(f *testing.F) {
	for _, s := range []string{"OR ALL NOT 1", "CHARSET iso-8859-1 BODY {1+}\r\n\xe9", "(SINCE 1-Jan-2020 KEYWORD a)", "OLDER 5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		p := parser("x " + in + "\r\n")
		p.Start()
		if args, err := p.Args(false); err == nil {
			ParseSearch(args)
		}
	})
}
