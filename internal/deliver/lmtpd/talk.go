package lmtpd

import "packetboat/internal/sys/proc"

// Talk goes with the socket of a conversation from mtad's parent to a deliver
// that serves many accounts: whose mail it is about. What comes over the socket
// is the engine's and can change nothing of it.
type Talk struct {
	Account proc.Account `json:"account"`
	User    string       `json:"user"`              // the account's name, or its number
	Home    string       `json:"home,omitempty"`    // its home folder
	Inbox   string       `json:"inbox,omitempty"`   // a mailbox that does not follow from the account
	Virtual bool         `json:"virtual,omitempty"` // the mailbox of virtual(8): virtual_mailbox_limit counts
}
