package verify

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/sys/disk"
)

// saveEvery is how often answers go to disk. What a crash loses is asked again.
const saveEvery = time.Minute

// maxLine bounds a line of the file: an address, three numbers and a text.
const maxLine = 2048

// fileOf is where the cache is kept: beside the database that Postfix would have,
// in a file of lines, since nobody but us reads it.
func fileOf(spec string) (string, error) {
	name := strings.TrimPrefix(spec, "proxy:")
	kind, path, ok := strings.Cut(name, ":")
	switch {
	case spec == "" || kind == "internal":
		return "", nil
	case !ok || !strings.HasPrefix(path, "/"):
		return "", fmt.Errorf("address_verify_map = %s: it must be a type of local database and a whole path, as btree:/var/lib/postfix/verify_cache", spec)
	}
	switch kind {
	case "btree", "hash", "lmdb", "cdb", "dbm", "sdbm":
		return path + ".answers", nil
	}
	return "", fmt.Errorf("address_verify_map = %s: tables of this type cannot be written", spec)
}

// Run writes the cache to its file now and then, and forgets what is too old,
// until ctx ends.
func (c *Cache) Run(ctx context.Context) {
	save, tidy := time.NewTicker(saveEvery), time.NewTicker(c.o.CleanupInterval)
	defer save.Stop()
	defer tidy.Stop()
	for {
		select {
		case <-save.C:
		case <-tidy.C:
			c.tidy(time.Now())
		case <-ctx.Done():
			c.Save()
			return
		}
		c.Save()
	}
}

// tidy drops what is too old.
func (c *Cache) tidy(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept, dropped := 0, 0
	for a, e := range c.entries {
		if e.known && c.expired(&e, now.Unix()) || !e.known && now.Unix()-e.probed > seconds(probeLife) {
			c.forget(a)
			dropped++
		} else {
			kept++
		}
	}
	c.log.VerifyCleanup(c.path, kept, dropped)
}

// Save writes the file, if anything is new.
func (c *Cache) Save() {
	c.saving.Lock()
	defer c.saving.Unlock()
	text := c.snapshot()
	if text == nil || c.path == "" {
		return
	}
	if err := disk.WriteFile(c.path, text, 0o600); err != nil {
		c.log.Warn("%s", err.Error())
	}
}

// snapshot returns the file's text: a line for each answer, "address TAB
// status:updated:text", the status 0 for deliverable, 1 for "try again", 2 for
// undeliverable. Probes under way are not worth a line.
func (c *Cache) snapshot() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.dirty {
		return nil
	}
	c.dirty = false
	var b bytes.Buffer
	for a, e := range c.entries {
		if e.known && !strings.ContainsAny(string(a), "\t\r\n") {
			fmt.Fprintf(&b, "%s\t%d:%d:%s\n", a, e.outcome, e.updated, e.text)
		}
	}
	return b.Bytes()
}

func (c *Cache) load(now time.Time) {
	f, err := disk.OpenFile(c.path, os.O_RDONLY, 0)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.log.Warn("%s", err.Error())
		}
		return
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(make([]byte, maxLine), maxLine)
	for lines.Scan() && len(c.entries) < maxEntries {
		a, e, ok := parseLine(lines.Text())
		switch {
		case !ok:
			c.log.Warn("bad address verify table entry: %.100s", lines.Text())
		case !c.expired(&e, now.Unix()):
			c.entries[a] = e
		}
	}
	if err := lines.Err(); err != nil {
		c.log.Warn("%s: %s", c.path, err.Error())
	}
}

// parseLine reads a line of the file.
func parseLine(line string) (a mail.Address, e entry, ok bool) {
	addr, rest, _ := strings.Cut(line, "\t")
	f := strings.SplitN(rest, ":", 3)
	if addr == "" || len(f) != 3 || len(f[0]) != 1 || f[0] < "0" || f[0] > "2" {
		return "", e, false
	}
	updated, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil || updated <= 0 {
		return "", e, false
	}
	return mail.Address(addr), entry{outcome: mail.Outcome(f[0][0] - '0'), known: true, updated: updated, text: oneLine(f[2])}, true
}
