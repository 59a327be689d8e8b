// Package store is the contract of mail at rest: one suite (storetest) holds
// every kind of mailbox to it. The mailbox file is the truth; what is cached
// beside it can be deleted.
package store

import (
	"errors"
	"io"
	"time"
)

// Flag is the set of system flags of one message (RFC 3501 section 2.3.2).
type Flag uint8

// The members of Flag. Recent is kept by the session, not by the store.
const (
	Seen Flag = 1 << iota
	Answered
	Flagged
	Deleted
	Draft
)

// Unknown is the Size of a message that nobody has looked at: its Date means
// nothing either, until Mailbox.Look was asked for them.
const Unknown = -1

// Msg describes one message of a mailbox.
type Msg struct {
	UID      uint32
	Flags    Flag
	Keywords uint64 // bit i stands for Snapshot.Keywords[i]; at most 64 in one mailbox
	Date     int64  // INTERNALDATE, seconds since 1970
	Size     int64  // octets with CRLF line ends, without the store's own header lines; Unknown
	Header   int64  // octets of the header with CRLF line ends, empty line included; 0 = not known
	ModSeq   uint64 // RFC 7162; grows with every change of the flags
	Pos      int64  // the implementation's own: where the message stands
	Raw      int64  // the implementation's own: octets at Pos
}

// Snapshot is a mailbox at one moment. It is never changed after it is handed
// out; Msgs rises by UID.
type Snapshot struct {
	UIDValidity uint32
	UIDNext     uint32
	ModSeq      uint64 // HIGHESTMODSEQ
	Keywords    []string
	Msgs        []Msg
	FirstRecent uint32 // messages from this UID on were never seen by a session before
}

// Words returns the keywords that bits stands for (Msg.Keywords).
func (s *Snapshot) Words(bits uint64) []string {
	var words []string
	for i, w := range s.Keywords {
		if bits&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	return words
}

// Errors of a store. Callers test with errors.Is; any other error means that
// the disk or a lock failed and the call may be tried again later.
var (
	ErrNoMailbox   = errors.New("mailbox does not exist")
	ErrExists      = errors.New("mailbox exists already")
	ErrBadName     = errors.New("invalid mailbox name")
	ErrNoMessage   = errors.New("message is gone")
	ErrOverQuota   = errors.New("mailbox is full")
	ErrHasChildren = errors.New("mailbox has children")
	ErrReadOnly    = errors.New("mailbox is read-only")
)

// Folder is one line of LIST.
type Folder struct {
	Name        string // UTF-8, hierarchy separator "/"
	NoSelect    bool
	NoInferiors bool // nothing can stand below it: an mbox file
	HasChildren bool
	Subscribed  bool
}

// Store is all mail of one user. It is safe for many goroutines.
type Store interface {
	// List returns every folder, INBOX first, and every subscription (also of
	// folders that are gone, with NoSelect).
	List() ([]Folder, error)
	// Open opens a mailbox. All sessions of the process share one Mailbox a name.
	Open(name string) (Mailbox, error)
	Create(name string) error
	Delete(name string) error
	// Rename renames a folder and its children; renaming INBOX moves its
	// messages (RFC 3501 section 6.3.5).
	Rename(from, to string) error
	Subscribe(name string, on bool) error
	Close() error
}

// Op says how SetFlags changes flags.
type Op uint8

// The values of Op: FLAGS, +FLAGS, -FLAGS of STORE.
const (
	Replace Op = iota
	Add
	Remove
)

// New is one message to append. Body gives its bytes with LF or CRLF line ends.
type New struct {
	Body     io.Reader
	Flags    Flag
	Keywords []string
	Date     time.Time // zero = now
}

// Copier is a Mailbox that copies messages into another one without reading
// them.
type Copier interface {
	// CopyTo copies messages with flags, keywords and dates, all or none, and
	// returns their new UIDs, in the order of uids. ok is false, and nothing is
	// done, where the two mailboxes share no such way.
	CopyTo(dst Mailbox, uids []uint32) (copied []uint32, ok bool, err error)
}

// Mailbox is one mailbox, shared by all sessions of the process.
type Mailbox interface {
	// Sync looks for outside changes (mutt, deliver) and returns the mailbox as
	// it is now. When nothing changed it costs one stat(2) and returns the same
	// Snapshot as before.
	Sync() (*Snapshot, error)
	// Snapshot returns the mailbox as this process saw it last.
	Snapshot() *Snapshot
	// Look finds Date and Size of messages where they are Unknown, because each
	// stands in a file of its own, and returns a snapshot that has them. nil asks
	// for all. A message that is gone stays Unknown.
	Look(uids []uint32) (*Snapshot, error)
	// Read returns the message's bytes with CRLF line ends, without the store's
	// own header lines (X-UID, Status ...). off and n cut a part out, n < 0 for
	// all: what lies outside is not read from disk where it can be helped.
	Read(uid uint32, off, n int64) (io.ReadCloser, error)
	// SetFlags changes flags of messages; unknown UIDs are passed over. It is on
	// disk at the latest when the mailbox is closed or Flush returns.
	SetFlags(uids []uint32, op Op, f Flag, keywords []string) (*Snapshot, error)
	// Expunge removes messages and returns when the change is on disk.
	Expunge(uids []uint32) (*Snapshot, error)
	// Append adds messages, all or none, and returns their UIDs, when they are
	// on disk.
	Append(msgs []New) (uids []uint32, err error)
	// ClaimRecent raises FirstRecent to UIDNext, for a session that selected the mailbox for writing.
	ClaimRecent() error
	// Watch returns a channel that gets a value when the mailbox may have
	// changed, from inside or outside the process; cancel ends it.
	Watch() (changed <-chan struct{}, cancel func())
	Flush() error
	// Close gives the mailbox back; the last one to do so flushes it.
	Close() error
}
