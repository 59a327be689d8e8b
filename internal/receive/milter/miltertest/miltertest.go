// Package miltertest has a milter for tests: it writes down what it is told, and
// answers as a script says.
package miltertest

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// Fake is a milter. The zero value speaks version 6, wants every event and goes on.
type Fake struct {
	Addr    string // for smtpd_milters
	mu      sync.Mutex
	heard   []string
	Version uint32
	Actions uint32
	Events  uint32         // what it wants to be spared (SMFIP)
	Symbols string         // behind the negotiation
	open    sync.WaitGroup // connections
	// Answer returns the packets for a command: code and data.
	Answer func(cmd byte, data string) []string
}

// Start lets f listen on a port of 127.0.0.1 until the test ends.
func Start(t testing.TB, f *Fake) *Fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	f.Addr = "inet:" + l.Addr().String()
	if f.Version == 0 {
		f.Version, f.Actions = 6, 0x1ff
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f.open.Go(func() { f.serve(c) })
		}
	}()
	return f
}

func (f *Fake) serve(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		var head [5]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return
		}
		data := make([]byte, binary.BigEndian.Uint32(head[:])-1)
		if _, err := io.ReadFull(r, data); err != nil {
			return
		}
		for _, p := range f.handle(head[4], string(data)) {
			if p == "CLOSE" {
				return
			}
			out := binary.BigEndian.AppendUint32(nil, uint32(len(p)))
			c.Write(append(out, p...))
		}
	}
}

func (f *Fake) handle(cmd byte, data string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if cmd == 'O' {
		b := binary.BigEndian.AppendUint32([]byte{'O'}, f.Version)
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, f.Actions), f.Events)
		return []string{string(b) + f.Symbols}
	}
	f.heard = append(f.heard, fmt.Sprintf("%c %s", cmd, strings.ReplaceAll(data, "\x00", "|")))
	if cmd == 'D' || cmd == 'A' || cmd == 'Q' {
		return nil
	}
	if f.Answer != nil {
		if a := f.Answer(cmd, data); a != nil {
			return a
		}
	}
	return []string{"c"}
}

// Script sets what f answers from now on, and forgets what it heard.
func (f *Fake) Script(answer func(cmd byte, data string) []string, events uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Answer, f.Events, f.heard = answer, events, nil
}

// Wait waits until whoever talked to f has closed all connections, and f has read
// what came by them.
func (f *Fake) Wait() { f.open.Wait() }

// Told returns what the milter heard so far.
func (f *Fake) Told() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.heard, "\n")
}
