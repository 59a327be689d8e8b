package wiring

import (
	"os"

	"packetboat/internal/sys/config"
)

// Folder is one folder of the mail system. GID -1 stands for any group.
type Folder struct {
	Path     string
	UID, GID int
	Mode     os.FileMode
}

// Folders returns the folders of the queue with the owners and modes that Postfix
// gives them, and the data directory: maildrop can be written through postdrop
// alone, private opened by nobody else. Public may be entered by all (Postfix has
// 2710 and a set-gid postqueue for it): its sockets say themselves who may ask
// what. root is whom the queue itself belongs to, owner mail_owner, group
// setgid_group.
func Folders(m *config.Main, root, owner, group int) []Folder {
	q := m.Get("queue_directory")
	out := []Folder{{q, root, -1, 0o755}, {q + "/pid", root, -1, 0o755}}
	for _, name := range [...]string{"incoming", "active", "deferred", "defer", "hold", "corrupt", "bounce", "flush",
		"trace", "saved", "private"} {
		out = append(out, Folder{q + "/" + name, owner, -1, 0o700})
	}
	return append(out,
		Folder{q + "/public", owner, group, 0o711 | os.ModeSetgid},
		Folder{q + "/maildrop", owner, group, 0o730 | os.ModeSticky},
		Folder{m.Get("data_directory"), owner, -1, 0o700})
}
