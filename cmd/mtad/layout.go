package main

import (
	"fmt"
	"os"
	"path/filepath"

	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// layOut makes the folders of the queue with the owners and modes that Postfix
// gives them: maildrop can be written through postdrop alone, private opened by
// nobody else. Public may be entered by all (Postfix has 2710 and a set-gid
// postqueue for it): its sockets say themselves who may ask what.
func (p *parent) layOut() error {
	group, err := proc.LookupGroup(p.main.Get("setgid_group"))
	if err != nil {
		return fmt.Errorf("setgid_group %q: %w", p.main.Get("setgid_group"), err)
	}
	root, owner := os.Geteuid(), p.owner.UID
	q := p.main.Get("queue_directory")
	for _, d := range []struct {
		name     string
		uid, gid int
		mode     os.FileMode
	}{
		{"", root, -1, 0o755},
		{"pid", root, -1, 0o755},
		{"incoming", owner, -1, 0o700},
		{"active", owner, -1, 0o700},
		{"deferred", owner, -1, 0o700},
		{"defer", owner, -1, 0o700},
		{"hold", owner, -1, 0o700},
		{"corrupt", owner, -1, 0o700},
		{"bounce", owner, -1, 0o700},
		{"flush", owner, -1, 0o700},
		{"trace", owner, -1, 0o700},
		{"saved", owner, -1, 0o700},
		{"private", owner, -1, 0o700},
		{"public", owner, group, 0o711 | os.ModeSetgid},
		{"maildrop", owner, group, 0o730 | os.ModeSticky},
	} {
		if err := disk.MakeDir(filepath.Join(q, d.name), d.uid, d.gid, d.mode); err != nil {
			return err
		}
	}
	return disk.MakeDir(p.main.Get("data_directory"), owner, -1, 0o700)
}
