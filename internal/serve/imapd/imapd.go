// Package imapd speaks IMAP4rev1 (RFC 3501) with one client whose name is
// known already: the login process has greeted it, switched on TLS and checked
// the password. Texts and behaviour are Dovecot 2.3's, because clients and
// scripts have learnt them.
//
// One session holds at most 8 MiB beside the mailbox's own list of messages,
// whatever the client sends and however little it reads: a command has 64 KiB
// and as much again in literals, at most 8192 arguments and 64 nested lists; of
// answers 32 KiB wait at a time; the structure of one message is kept (10,000
// parts, 1 MiB of text); COMPRESS takes 0.6 MiB of them. TestGarbage and TestDeafClient hold it to that.
//
// A capability has one file. What a client sends is read by package syntax;
// what it has been told of a mailbox is kept by view; commands stand between.
package imapd

import (
	"net"
	"time"

	"packetboat/internal/serve/imapd/tree"
	"packetboat/internal/store"
	"packetboat/internal/store/dict"
	"packetboat/internal/sys/maillog"
)

// Options is how sessions behave. The zero value is Dovecot's default.
type Options struct {
	Log          *maillog.Log  // nil = no log
	IdleNotify   time.Duration `dovecot:"imap_idle_notify_interval"` // between two "* OK Still here"; 0 = 2 minutes
	MaxLine      int           `dovecot:"imap_max_line_length"`      // octets of one command without literals, and of its literals; 0 = 64 KiB
	MaxMessage   int64         `dovecot:"quota_max_mail_size"`       // octets of one APPEND; 0 = no limit
	TempDir      string        `dovecot:"mail_temp_dir"`             // where a message of more than 256 KiB waits for the store; empty = /tmp
	IDSend       string        `dovecot:"imap_id_send"`              // what ID answers; empty = "name *"
	Capability   string        `dovecot:"imap_capability"`           // replaces what is offered, or adds words behind a "+"; empty = all there is
	Workarounds  []string      `dovecot:"imap_client_workarounds"`   // delay-newmail, tb-extra-mailbox-sep, tb-lsub-flags
	Progress     time.Duration // between two answers that tell how far a search has come; 0 = 10 seconds
	IdleTimeout  time.Duration // silence after which a session ends; 0 = 30 minutes (RFC 3501 section 5.4)
	WriteTimeout time.Duration // how long the client may refuse to read; 0 = 5 minutes
}

// User is whose mail is read.
type User struct {
	Name  string      // as Dovecot's %u, for the log
	Store store.Store // the only namespace, without prefix, separated by "/"; or else
	// Namespaces are all namespaces; sessions share their stores.
	Namespaces []tree.Namespace
	Attributes *dict.File // mail_attribute_dict, where imap_metadata is on; nil = no METADATA
	Quota      Quota      // nil = there is none, and no command for it
}

// tree returns the names of a user.
func (u User) tree() *tree.Tree {
	if len(u.Namespaces) > 0 {
		return tree.New(u.Namespaces)
	}
	return tree.New([]tree.Namespace{{Store: u.Store, Inbox: true}})
}

// Start is what the login process knows when it hands a session over.
type Start struct {
	Tag     string // of the LOGIN or AUTHENTICATE that succeeded; empty = answer with an untagged PREAUTH
	Pending []byte // read from the client after that command
	TLS     bool   // the client's connection is encrypted
	Session string // Dovecot's session id, for the log
	// Stopping tells, when a read has run into its deadline, that the caller set it to
	// end the session (the system stops, doveadm kick); nil = never.
	Stopping func() bool
}

// Serve runs one session until the client leaves, and closes conn. The error
// says why it ended otherwise than by LOGOUT; it has been logged already.
func Serve(conn net.Conn, u User, o Options, s Start) error {
	return serve(conn, u, o, s)
}
