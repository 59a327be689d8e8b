package haproxy

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// feed gives b to Read, octet by octet when slow, and returns what it left.
func feed(b []byte, slow bool) (h Header, rest string, err error) {
	near, far := net.Pipe()
	go func() {
		defer near.Close()
		for len(b) > 0 {
			n := len(b)
			if slow {
				n = 1
			}
			if _, err := near.Write(b[:n]); err != nil {
				return
			}
			b = b[n:]
		}
	}()
	h, err = Read(far, time.Second)
	if err == nil {
		left, _ := io.ReadAll(far)
		rest = string(left)
	}
	far.Close()
	return h, rest, err
}

const v2 = "\r\n\r\n\x00\r\nQUIT\n"

func TestRead(t *testing.T) {
	want := Header{Client: netip.MustParseAddrPort("192.0.2.1:51"), Server: netip.MustParseAddrPort("192.0.2.2:25")}
	six := Header{Client: netip.MustParseAddrPort("[2001:db8::1]:51"), Server: netip.MustParseAddrPort("[2001:db8::2]:25")}
	for in, h := range map[string]Header{
		"PROXY TCP4 192.0.2.1 192.0.2.2 51 25\r\n":                                       want,
		"PROXY TCP6 2001:db8::1 2001:db8::2 51 25\r\n":                                   six,
		"PROXY UNKNOWN\r\n":                                                              {Local: true},
		"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n":                                          {Local: true},
		v2 + "\x20\x00\x00\x00":                                                          {Local: true},
		v2 + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x003\x00\x19":             want,
		v2 + "\x21\x11\x00\x0f\xc0\x00\x02\x01\xc0\x00\x02\x02\x003\x00\x19\x04\x00\x00": want,
		v2 + "\x21\x21\x00\x24 \x01\r\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01 \x01\r\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x003\x00\x19": six,
	} {
		for _, slow := range []bool{false, true} {
			got, rest, err := feed([]byte(in+"EHLO x\r\n"), slow)
			if err != nil || got != h || rest != "EHLO x\r\n" {
				t.Errorf("%q: %+v %v, left %q", in, got, err, rest)
			}
		}
	}
}

func TestBad(t *testing.T) {
	for _, in := range []string{
		"", "EHLO x\r\nMAIL FROM:<a@b>\r\n", "PROXY TCP4 192.0.2.1\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 51 25\n........",
		"PROXY TCP4 ::1 ::2 51 25\r\n", "PROXY TCP6 1.2.3.4 1.2.3.5 1 2\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 70000 25\r\n",
		"PROXY TCP4 192.0.2.1 192.0.2.2 -1 25\r\n", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
		"PROXY TCP4 " + string(make([]byte, 200)) + "\r\n",
		v2 + "\x31\x11\x00\x0c123456789012", v2 + "\x22\x11\x00\x0c123456789012", v2 + "\x21\x11\x00\x04123456789012",
		v2 + "\x21\x31\x00\x0c123456789012", v2 + "\x21\x11\xff\xff", v2 + "\x21\x11\x00\x0c1234",
	} {
		if h, _, err := feed([]byte(in), false); err == nil {
			t.Errorf("%q gives %+v", in, h)
		}
	}
}

func TestTimeout(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	begun := time.Now()
	if _, err := Read(far, 50*time.Millisecond); err == nil || time.Since(begun) > 2*time.Second {
		t.Errorf("%v after %v", err, time.Since(begun))
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 51 25\r\n"))
	f.Add([]byte(v2 + "\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x003\x00\x19"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, _, err := feed(b, false)
		if err == nil && !h.Local && !h.Client.IsValid() {
			t.Fatalf("%q gives %+v", b, h)
		}
	})
}
