package show

import (
	"bytes"
	stdjson "encoding/json"
	"testing"

	"pgregory.net/rapid"
)

// TestRemote holds that what one process printed comes out of the other alike.
func TestRemote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.SliceOf(rapid.SliceOfN(rapid.String(), 2, 2)).Draw(t, "rows")
		form := rapid.SampledFrom(Forms()).Draw(t, "form")
		cols := []Column{{Key: "a"}, {Key: "b", Hide: true}}
		var direct, wire, out bytes.Buffer
		d, r := New(form, &direct), NewRemote(&wire)
		d.Columns(append([]Column{{Key: "username", Title: "Username", Hide: true}}, cols...))
		for _, row := range rows {
			d.Value("u")
			for _, s := range row {
				d.Value(s)
				r.Value(s)
			}
		}
		d.Flush()
		r.Flush()
		m := &Merged{Formatter: New(form, &out)}
		m.Begin(cols)
		if err := m.Replay(&wire, "u"); err != nil {
			t.Fatal(err)
		}
		m.Flush()
		if direct.String() != out.String() {
			t.Fatalf("%q, want %q", out.String(), direct.String())
		}
	})
}

// TestJSON holds that every text comes back out of json.
func TestJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.String().Draw(t, "s")
		var b bytes.Buffer
		f := New("json", &b)
		f.Columns([]Column{{Key: "k"}})
		f.Value(s)
		f.Flush()
		var got []map[string]string
		if err := stdjson.Unmarshal(b.Bytes(), &got); err != nil || len(got) != 1 || got[0]["k"] != s {
			t.Fatalf("%q: %s %v", s, b.String(), err)
		}
	})
}

// TestGarbage holds that a process that writes nonsense is an error, and no more.
func TestGarbage(t *testing.T) {
	for _, s := range []string{"x", "v", "v\x05ab", "v\xff\xff\xff\xff\xff\x7fx", "z\x00"} {
		var out bytes.Buffer
		m := &Merged{Formatter: New("flow", &out)}
		m.Begin([]Column{{Key: "a"}})
		if err := m.Replay(bytes.NewReader([]byte(s)), "u"); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}
