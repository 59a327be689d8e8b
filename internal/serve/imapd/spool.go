package imapd

import (
	"bytes"
	"io"
	"os"

	"packetboat/internal/store"
)

// holdSpool is how much of a spool is held in memory; the rest is in a file
// without a name.
const holdSpool = 256 << 10

// spool keeps messages on their way into a store. A store holds its locks while
// it reads what is appended: a slow line must not keep deliveries out, and a
// message that comes from a mailbox must not need the lock of a second one.
type spool struct {
	dir  string // mail_temp_dir
	mem  []byte
	file *os.File
	size int64
}

// Write appends p.
func (sp *spool) Write(p []byte) (int, error) {
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
func (sp *spool) spill() error {
	f, err := os.CreateTemp(sp.dir, "imap-")
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

// take reads r to its end and returns where it stands in the spool.
func (sp *spool) take(r io.Reader) (span, error) {
	start := sp.size
	_, err := io.Copy(sp, r)
	return span{start, sp.size - start}, err
}

// reader gives a piece back.
func (sp *spool) reader(at span) io.Reader {
	if sp.file != nil {
		return io.NewSectionReader(sp.file, at.pos, at.n)
	}
	return bytes.NewReader(sp.mem[at.pos : at.pos+at.n])
}

// close frees the file.
func (sp *spool) close() {
	if sp.file != nil {
		sp.file.Close()
	}
}

// appendAll appends messages whose bodies stand at places of the spool.
func (sp *spool) appendAll(box store.Mailbox, msgs []store.New, at []span) ([]uint32, error) {
	for i := range msgs {
		msgs[i].Body = sp.reader(at[i])
	}
	return box.Append(msgs)
}
