package greylist

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/sys/disk"
)

// saveEvery is how often what is new goes to disk. What a crash loses makes a few
// messages wait once more.
const saveEvery = time.Minute

// maxLine bounds a line of the file; ours have 70 octets at most.
const maxLine = 256

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// Run writes the list to its file now and then, until ctx ends, and once more then.
func (l *List) Run(ctx context.Context) {
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			l.Save(time.Now())
			return
		}
		l.Save(time.Now())
	}
}

// Flush writes what is new now.
func (l *List) Flush() { l.Save(time.Now()) }

// Save forgets what is too old and writes the rest, if anything is new.
func (l *List) Save(now time.Time) {
	l.saving.Lock()
	defer l.saving.Unlock()
	text := l.snapshot(now)
	if text == nil || l.path == "" {
		return
	}
	if err := disk.WriteFile(l.path, text, 0o600); err != nil {
		l.warn("greylist: %s", err.Error())
	}
}

// snapshot returns the file's text, nil if nothing is new. Lines are "t HASH
// first last" and "c ADDRESS count last".
func (l *List) snapshot(now time.Time) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expire(now.Unix())
	if !l.dirty {
		return nil
	}
	l.dirty = false
	b := bytes.NewBuffer(make([]byte, 0, 80*len(l.triplets)))
	for k, t := range l.triplets {
		fmt.Fprintf(b, "t %x %d %d\n", k[:], t.first, t.last)
	}
	for a, t := range l.clients {
		fmt.Fprintf(b, "c %s %d %d\n", a, t.count, t.last)
	}
	return b.Bytes()
}

// expire drops triplets that were not seen for long, or never came back, and
// clients that were not seen for long.
func (l *List) expire(now int64) {
	for k, t := range l.triplets {
		passed := t.last-t.first >= seconds(l.o.Delay)
		if now-t.last > seconds(l.o.MaxAge) || !passed && now-t.last > seconds(l.o.RetryWindow) {
			delete(l.triplets, k)
			l.dirty = true
		}
	}
	for a, t := range l.clients {
		if now-t.last > seconds(l.o.MaxAge) {
			delete(l.clients, a)
			l.dirty = true
		}
	}
}

func (l *List) load(now time.Time) {
	f, err := disk.OpenFile(l.path, os.O_RDONLY, 0)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			l.warn("greylist: %s", err.Error())
		}
		return
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, maxLine), maxLine)
	for lines.Scan() {
		if !l.read(lines.Text()) {
			l.warn("greylist: %s: a line that cannot be read is left out", l.path)
		}
		if len(l.triplets) > maxTriplets || len(l.clients) > maxClients {
			break
		}
	}
	if err := lines.Err(); err != nil {
		l.warn("greylist: %s: %s", l.path, err.Error())
	}
	l.expire(now.Unix())
	l.dirty = false
}

// read takes one line in; false if it is none of ours.
func (l *List) read(line string) bool {
	f := strings.Fields(line)
	if len(f) != 4 {
		return false
	}
	a, err1 := strconv.ParseInt(f[2], 10, 64)
	b, err2 := strconv.ParseInt(f[3], 10, 64)
	if err1 != nil || err2 != nil || a < 0 || b < 0 {
		return false
	}
	switch f[0] {
	case "t":
		var k hash
		if n, err := hex.Decode(k[:], []byte(f[1][:min(len(f[1]), 2*len(k))])); err != nil || n != len(k) {
			return false
		}
		l.triplets[k] = times{a, b}
	case "c":
		addr, err := netip.ParseAddr(f[1])
		if err != nil {
			return false
		}
		l.clients[addr] = trust{a, b}
	default:
		return false
	}
	return true
}
