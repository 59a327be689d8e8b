package message

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"packetboat/internal/mail"
)

// show writes a list in one line for comparison.
func show(list []Mailbox) string {
	var b strings.Builder
	for _, m := range list {
		switch m.Kind {
		case GroupStart:
			b.WriteString("{" + m.Name + "|")
		case GroupEnd:
			b.WriteString("}")
		default:
			b.WriteString("[" + m.Name + "|" + m.Route + "|" + m.Local + "|" + m.Domain + "]")
		}
	}
	return b.String()
}

func TestParseAddressList(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{" \r\n ", ""},
		{"root", "[||root|]"},
		{"a@b", "[||a|b]"},
		{"a@b, c@d", "[||a|b][||c|d]"},
		{"a@b,,; c@d", "[||a|b][||c|d]"},
		{"a@b c@d", "[||a|b][||c|d]"},
		{"Bob B <bob@localhost>", "[Bob B||bob|localhost]"},
		{`"C, D" <carol@localhost>`, "[C, D||carol|localhost]"},
		{"bob (the man)", "[the man||bob|]"},
		{"bob@x (a (nested) one\\) more)", "[a (nested) one) more||bob|x]"},
		{"(first) bob@x", "[first||bob|x]"},
		{"<a@b>", "[||a|b]"},
		{"<>", "[|||]"},
		{"<@r1,@r2:u@d>", "[|@r1,@r2|u|d]"},
		{"friends: bob, carol;", "{friends|[||bob|][||carol|]}"},
		{"undisclosed-recipients:;", "{undisclosed-recipients|}"},
		{"a: b@c", "{a|[||b|c]}"},
		{"a: b@c;, d@e", "{a|[||b|c]}[||d|e]"},
		{`"x y"@z`, "[||x y|z]"},
		{`"q\"x"@y`, `[||q"x|y]`},
		{"john . doe @ example . org", "[||john.doe|example.org]"},
		{"u@[1.2.3.4]", "[||u|[1.2.3.4]]"},
		{"u@[IPv6:::1]", "[||u|[IPv6:::1]]"},
		{"b@c@d", "[||b@c|d]"},
		{`x\y@z`, "[||xy|z]"},
		{"Foo\r\n\tBar <foo@\r\n bar>", "[Foo Bar||foo|bar]"},
		{"=?utf-8?q?J=C3=BC?= <j@x>", "[=?utf-8?q?J=C3=BC?=||j|x]"},
		{"Jürgen <j@x>", "[Jürgen||j|x]"},
		{"a@b> c", "[||a|b>][||c|]"},
		{"<a@b", "[||a|b]"},
		{"x <a@b> <c@d>", "[x||a|b][||c|d]"},
		{`"unclosed <a@b>`, `[||unclosed <a@b>|]`},
		{"(unclosed", ""},
		{`a@b "`, `[||a|b][|||]`},
		{"<a@b> (note)", "[note||a|b]"},
	} {
		if got := show(ParseAddressList(c.in)); got != c.want {
			t.Errorf("%q\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

func TestAddressTokenLimit(t *testing.T) {
	got := ParseAddressList(strings.Repeat("a@b,", 1<<20))
	if len(got) == 0 || len(got) > maxTokens {
		t.Errorf("%d addresses of a list over the limit", len(got))
	}
}

// What Postfix 3.7's cleanup(8) makes of these headers.
func TestRewriteAddresses(t *testing.T) {
	add := func(a mail.Address) mail.Address {
		if a != "" && a.Domain() == "" {
			return a + "@o.org"
		}
		return a
	}
	for _, c := range []struct{ in, want string }{
		{" bob@x (c),\n\tcarol@y", ""},
		{" bob ,\n   carol\n , dave@x , eve", "bob@o.org,\ncarol@o.org,\ndave@x,\neve@o.org"},
		{` "A B"@foo , a.b@c.d (hi) ,<root>`, "\"A B\"@foo,\na.b@c.d (hi),\n<root@o.org>"},
		{`  "Q" <r>;`, `"Q" <r@o.org>`},
		{"a b <x>", "a b <x@o.org>"},
		{"grp: a, b;, \"q\\\"x\"@y", "grp: a@o.org,\nb@o.org;,\n\"q\\\"x\"@y"},
		{"friends: bob, carol;", "friends: bob@o.org,\ncarol@o.org;"},
		{"bob (the man), \"C, D\" <carol@localhost>", "bob@o.org (the man),\n\"C, D\" <carol@localhost>"},
		{"undisclosed-recipients:;", ""},
		{"<@r1,@r2:rt@d>, x", "<rt@d>,\nx@o.org"},
	} {
		got, changed := RewriteAddresses(c.in, add)
		if got != c.want || changed != (c.want != "") {
			t.Errorf("%q\n got %q\nwant %q", c.in, got, c.want)
		}
	}
}

func TestQuotePhrase(t *testing.T) {
	for in, want := range map[string]string{
		"Alice":            "Alice",
		"Full N":           "Full N",
		`A "q" (B), C`:     `"A \"q\" (B), C"`,
		"Foo.Bar":          `"Foo.Bar"`,
		"x\nBcc: y":        `"x Bcc: y"`,
		"Foo B\u00e4r (x)": "\"Foo B\u00e4r (x)\"",
	} {
		if got := QuotePhrase(in); got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

// What is written in external form is read back as it was.
func TestAddressRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []mail.Address
		var text []string
		for i, n := 0, rapid.IntRange(1, 8).Draw(t, "n"); i < n; i++ {
			local := rapid.StringMatching(`[!-~ ]{1,12}`).Draw(t, "local")
			a := mail.Address(local + "@" + rapid.StringMatching(`[a-z0-9]{1,8}(\.[a-z]{2,3})?`).Draw(t, "domain"))
			want = append(want, a)
			phrase := QuotePhrase(rapid.StringMatching(`[ -~\n]{0,10}`).Draw(t, "phrase"))
			if rapid.Bool().Draw(t, "angle") {
				text = append(text, phrase+" <"+a.Quoted()+">")
			} else {
				text = append(text, a.Quoted())
			}
		}
		got := Addresses(strings.Join(text, rapid.SampledFrom([]string{",", ", ", ",\n\t", " , (x) "}).Draw(t, "sep")))
		if len(got) != len(want) {
			t.Fatalf("%q: got %q, want %q", text, got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%q: got %q, want %q", text, got[i], want[i])
			}
		}
	})
}

func FuzzAddressList(f *testing.F) {
	for _, s := range []string{"a@b, c <d@e>, g: x, y;", `"a\"b"@c (x(y))`, "<@a,@b:c@d", "\\", "\"", "[", "(((((", "a\x00b@\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		depth := 0
		for _, m := range ParseAddressList(s) {
			switch m.Kind {
			case GroupStart:
				depth++
			case GroupEnd:
				depth--
			}
			if depth < 0 || depth > 1 {
				t.Fatal("groups are not in pairs")
			}
			if strings.ContainsAny(m.Name+m.Local+m.Domain+m.Route, "\r\n") {
				t.Fatalf("a line end came through: %+v", m)
			}
		}
		out, changed := RewriteAddresses(s, func(a mail.Address) mail.Address { return a })
		if changed || out != "" {
			t.Fatal("a rewriter that changes nothing changed the text")
		}
	})
}
