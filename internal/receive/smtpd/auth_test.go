package smtpd

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
)

// startAuth is a Dovecot authentication server in a few lines, for our server
// and for a real Postfix: it knows alice with the password apw, and answers as
// auth(8) of Dovecot 2.3 does.
func startAuth(t *testing.T, path string) {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(path, 0o666)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveAuth(c)
		}
	}()
}

func serveAuth(c net.Conn) {
	defer c.Close()
	fmt.Fprintf(c, "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t%032d\nDONE\n", 1)
	name := map[string]string{}
	mech := map[string]string{}
	s := bufio.NewScanner(c)
	for s.Scan() {
		f := strings.Split(s.Text(), "\t")
		switch f[0] {
		case "AUTH":
			f[2] = strings.ToUpper(f[2])
			mech[f[1]] = f[2]
			_, resp, has := strings.Cut(s.Text(), "\tresp=")
			switch {
			case has:
				judge(c, f[1], decode(resp))
			case f[2] == "LOGIN":
				fmt.Fprintf(c, "CONT\t%s\tVXNlcm5hbWU6\n", f[1])
			default:
				fmt.Fprintf(c, "CONT\t%s\t\n", f[1])
			}
		case "CONT":
			switch {
			case mech[f[1]] == "PLAIN":
				judge(c, f[1], decode(f[2]))
			case name[f[1]] == "":
				name[f[1]] = decode(f[2])
				fmt.Fprintf(c, "CONT\t%s\tUGFzc3dvcmQ6\n", f[1])
			default:
				judge(c, f[1], "\x00"+name[f[1]]+"\x00"+decode(f[2]))
			}
		}
	}
}

func decode(s string) string {
	b, _ := base64.StdEncoding.DecodeString(s)
	return string(b)
}

func judge(c net.Conn, id, plain string) {
	p := strings.Split(plain, "\x00")
	if len(p) == 3 && p[1] == "alice" && p[2] == "apw" {
		fmt.Fprintf(c, "OK\t%s\tuser=alice\n", id)
		return
	}
	user := ""
	if len(p) == 3 {
		user = "\tuser=" + p[1]
	}
	fmt.Fprintf(c, "FAIL\t%s%s\n", id, user)
}
