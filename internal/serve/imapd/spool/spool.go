// Package spool keeps messages on their way into a store. A store holds its
// locks while it reads what is appended: a slow line must not keep deliveries
// out, and a message that comes from a mailbox must not need the lock of a
// second one.
package spool

import (
	"bytes"
	"io"
	"os"

	"packetboat/internal/store"
)

// holdSpool is how much of a spool is held in memory; the rest is in a file
// without a name.
const holdSpool = 256 << 10

// Spool is a pile of messages. The zero value is empty and ready.
type Spool struct {
	Dir  string // mail_temp_dir of Dovecot; empty = /tmp
	mem  []byte
	file *os.File
	size int64
}

// Place is where a message stands in a Spool.
type Place struct{ pos, n int64 }

// Write appends p.
func (sp *Spool) Write(p []byte) (int, error) {
	if sp.file == nil && len(sp.mem)+len(p) <= holdSpool {
		sp.mem = append(sp.mem, p...)
		sp.size += int64(len(p))
		return len(p), nil
	}
	if sp.file == nil {
		if err := sp.spill(); err != nil {
			return 0, err
		}
	}
	n, err := sp.file.Write(p)
	sp.size += int64(n)
	return n, err
}

// spill moves what is held into a file that is gone from the folder at once.
func (sp *Spool) spill() error {
	f, err := os.CreateTemp(sp.Dir, "imap-")
	if err != nil {
		return err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return err
	}
	sp.file = f
	_, err = f.Write(sp.mem)
	sp.mem = nil
	return err
}

// Take reads r to its end and returns where it stands in the spool.
func (sp *Spool) Take(r io.Reader) (Place, error) {
	start := sp.size
	_, err := io.Copy(sp, r)
	return Place{start, sp.size - start}, err
}

// Start returns where the next octet will stand.
func (sp *Spool) Start() int64 { return sp.size }

// Since returns what was written since Start was asked.
func (sp *Spool) Since(start int64) Place { return Place{start, sp.size - start} }

// Size returns the octets of a message.
func (at Place) Size() int64 { return at.n }

// reader gives a piece back.
func (sp *Spool) reader(at Place) io.Reader {
	if sp.file != nil {
		return io.NewSectionReader(sp.file, at.pos, at.n)
	}
	return bytes.NewReader(sp.mem[at.pos : at.pos+at.n])
}

// Close frees the file.
func (sp *Spool) Close() {
	if sp.file != nil {
		sp.file.Close()
	}
}

// Append appends messages whose bodies stand at places of the spool.
func (sp *Spool) Append(box store.Mailbox, msgs []store.New, at []Place) ([]uint32, error) {
	for i := range msgs {
		msgs[i].Body = sp.reader(at[i])
	}
	return box.Append(msgs)
}
