package main

import (
	"fmt"
	"os"

	"packetboat/cmd/internal/wiring"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// layOut makes the folders of the mail system.
func (p *parent) layOut() error {
	group, err := proc.LookupGroup(p.main.Get("setgid_group"))
	if err != nil {
		return fmt.Errorf("setgid_group %q: %w", p.main.Get("setgid_group"), err)
	}
	for _, f := range wiring.Folders(p.main, os.Geteuid(), p.owner.UID, group) {
		if err := disk.MakeDir(f.Path, f.UID, f.GID, f.Mode); err != nil {
			return err
		}
	}
	return nil
}
