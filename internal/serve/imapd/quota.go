package imapd

import (
	"packetboat/internal/serve/imapd/folders"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/store/quota"
)

// Quota tells what of a user's limits is used up.
type Quota = folders.Quota

// overQuota is the answer to a command for which there is no room.
func overQuota(err error) string { return quota.Answer(err) }

// room says whether one more message of n octets fits with those that this command
// has brought already.
func (ap *appender) room(n int64) error {
	sizes := make([]int64, 0, len(ap.at)+1)
	for _, at := range ap.at {
		sizes = append(sizes, at.Size())
	}
	return quota.Room(ap.box, append(sizes, n))
}

// onQuota makes a command out of one of package folders that is there only with quotas.
func onQuota(f func(*folders.Commands, []syntax.Arg) error) func(*session, []syntax.Arg) error {
	return func(s *session, args []syntax.Arg) error {
		if s.user.Quota == nil {
			return s.refuse("BAD Error in IMAP command " + s.cmd.name + ": Unknown command")
		}
		return f(&s.folders, args)
	}
}
