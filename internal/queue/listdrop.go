package queue

import (
	"io"
	"io/fs"
	"path/filepath"

	"packetboat/internal/queue/maildrop"
	"packetboat/internal/sys/disk"
)

// ListMaildrop calls fn for every message that sendmail left in maildrop below
// dir and that has not been picked up. Files that cannot be read, or are not
// complete, are passed over: pickup will say what is wrong with them.
func ListMaildrop(dir string, fn func(*Listing) error) error {
	folder := filepath.Join(dir, "maildrop")
	return eachName(folder, func(e fs.DirEntry) error {
		if e.IsDir() {
			return nil
		}
		if l := dropped(folder, e.Name()); l != nil {
			return fn(l)
		}
		return nil
	})
}

// dropped lists one file of maildrop; nil when it is not readable.
func dropped(folder, name string) *Listing {
	m, err := maildrop.Open(folder, name)
	if err != nil {
		return nil
	}
	defer m.Close()
	if m.WriteContent(io.Discard) != nil {
		return nil
	}
	st, err := disk.StatPath(filepath.Join(folder, name))
	if err != nil {
		return nil
	}
	l := &Listing{Queue: "maildrop", ID: name, Arrived: m.Env.Arrived.Unix(), Size: st.Size, Sender: m.Env.Sender.Quoted()}
	if l.Sender == "" {
		l.Sender = nullSender
	}
	for i := range m.Env.Rcpts {
		l.Rcpts = append(l.Rcpts, ListedRcpt{Addr: m.Env.Rcpts[i].Addr.Quoted()})
	}
	return l
}
