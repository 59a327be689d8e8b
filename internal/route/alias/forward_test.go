package alias

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"packetboat/internal/mail"
	"packetboat/internal/sys/proc"
)

func TestNames(t *testing.T) {
	value := func(name string) (string, bool) {
		v, ok := map[string]string{"user": "u", "ext": "e", "empty": ""}[name]
		return v, ok
	}
	for in, want := range map[string]string{
		"": "", "a": "a", "$user": "u", "${user}x": "ux", "$(user)x": "ux", "$$user": "$user", "$user.$ext": "u.e", "$empty-": "-",
		"${user?yes}": "yes", "${empty?yes}": "", "${none?yes}": "", "${none:no}": "no", "${user:no}": "", "${empty:$ext}": "e",
		"${user?{a}:{b}}": "a", "${none?{a}:{b}}": "b", "${user?{x${ext}y}}": "xey",
		"$none": "!", "$": "!", "${none}x": "x!", "${user": "{user!", "${user!x}": "!",
	} {
		got, undefined := Names(in, value)
		if undefined {
			got += "!"
		}
		if got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
	deep := strings.Repeat("${user?", 1000) + strings.Repeat("}", 1000)
	Names(deep, value) // it ends
}

// withForward returns an expander whose users have these .forward files.
func withForward(dir string, aliases, files map[string]string) *Expander {
	x := expander(aliases)
	x.Propagate = []string{"forward"}
	x.HomeOf = func(string) (string, error) { return "/home/x", nil }
	x.Forward = func(_ context.Context, q ForwardQuery) (*ForwardFile, error) {
		text, ok := files[q.User]
		if strings.HasPrefix(q.User, "no") {
			return nil, proc.ErrNoUser
		}
		if !ok {
			return nil, fs.ErrNotExist
		}
		path := filepath.Join(dir, "forward")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return nil, err
		}
		f, err := os.Open(path)
		return &ForwardFile{File: f, Path: "/home/" + q.User + "/.forward", UID: 1000}, err
	}
	return x
}

func TestDotForward(t *testing.T) {
	x := withForward(t.TempDir(), map[string]string{"al": "one", "back": "loop"}, map[string]string{
		"one": "one, bob\n", "cmd": "\"|prog x\"\n# c\n\n/tmp/f\n~/g\n", "none": "# only words\n", "home": "~other/x", "loop": "back\n",
		"a": "b\n", "b": "a\n", "far": "x@far\n"})
	for to, want := range map[string]string{
		"one": "box one; fwd bob@here", "al": "box one; fwd bob@here", "cmd": "cmd prog x as cmd; file /tmp/f as cmd; file /home/x/g as cmd",
		"nobody": "box nobody", "plain": "box plain", "empty": "box empty", "home": "fail 5.3.5 mail system configuration error",
		"loop": "box loop", "a": "fwd b@here", "far": "fwd x@far", "far+tag": "fwd x+tag@far",
	} {
		if got := dests(x.Expand(context.Background(), mail.Address(to+"@here"), nil)); got != want {
			t.Errorf("%s: %s\nwant %s", to, got, want)
		}
	}
	if got := dests(x.Verify(context.Background(), "cmd@here", nil)); got != "fail 2.0.0 forward via file: /home/cmd/.forward" {
		t.Error(got)
	}
}

func FuzzForward(f *testing.F) {
	f.Add("one, \"|prog x\", /tmp/f, ~/g, :include:/x\n# c\n")
	f.Add("\\one\n\"|IFS=' ' && exec /usr/bin/procmail -f- || exit 75 #u\"")
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		x := withForward(dir, nil, map[string]string{"one": text})
		for _, d := range x.Expand(context.Background(), "one+x@here", nil) {
			if (d.Kind == ToCommand || d.Kind == ToFile) && (d.Account != "one" || d.Listed.User != "one") {
				t.Errorf("%q: %+v", text, d)
			}
		}
		Names(text, func(string) (string, bool) { return text, true })
	})
}
