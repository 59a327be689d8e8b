// Package config reads the configuration that a machine has: Postfix's main.cf
// and master.cf and Dovecot's dovecot.conf, as they stand. It holds the one
// table of parameters (names, types, defaults, and what this system does with
// them) and fills the Options structs of the other packages from it. Only cmd/
// imports it.
//
// The readers are exact: what postconf(1) and doveconf(1) say about a file is
// the measure. They never panic, and never loop, on any text.
package config

import (
	"packetboat/internal/sys/config/base"
	"packetboat/internal/sys/config/dovecot"
)

// maxNesting is the depth of $name references, as in Postfix, which counts from 0.
const maxNesting = 101

// Warning is something in a configuration file that does not stop the reader.
type Warning = base.Warning

// Error is something that a configuration must not have, with its place and a
// hint what to write instead.
type Error = base.Error

// Report formats err for people: one "error:" line for each problem, and a
// "hint:" line after it where there is one.
func Report(err error) string { return base.Report(err) }

// Flatten takes apart what errors.Join put together, in any depth.
func Flatten(err error) []error { return base.Flatten(err) }

// The types of Dovecot's configuration.
type (
	Dovecot        = dovecot.Config       // a whole dovecot.conf
	DovecotParam   = dovecot.Param        // one setting of the table
	DovecotService = dovecot.Service      // a service block
	Block          = dovecot.Block        // any block
	Value          = dovecot.Value        // a setting of a block
	Filter         = dovecot.Filter       // protocol, local, remote
	Context        = dovecot.Context      // what filters match
	Passdb         = dovecot.Passdb       // a passdb block
	Userdb         = dovecot.Userdb       // a userdb block
	Namespace      = dovecot.Namespace    // a namespace block
	Mailbox        = dovecot.Mailbox      // a mailbox of a namespace
	UnixListener   = dovecot.UnixListener // of a service
	InetListener   = dovecot.InetListener // of a service
)

// DefaultDovecot is the configuration file when -c does not name another.
const DefaultDovecot = dovecot.DefaultPath

// LoadDovecot reads path; an empty path is DefaultDovecot. All errors are
// returned at once, joined, each an *Error with its place.
func LoadDovecot(path string) (*Dovecot, error) { return dovecot.Load(path) }

// ParseDovecot reads the text of a dovecot.conf, whose name in messages and for
// relative includes is path.
func ParseDovecot(path, content string) (*Dovecot, error) { return dovecot.Parse(path, content) }
