// Package wire speaks Dovecot's authentication protocol, version 1.2 (doc/
// auth-protocol.txt of Dovecot 2.3): the language between whoever has a client
// with a password and whoever can judge it. Client is its asking half, for
// receive/smtpd and serve/login; Server is its answering half, for cmd/mrad.
// Each half works with Dovecot's or Postfix's other half.
//
// A conversation is lines of tab-separated fields. The server greets with
// VERSION, MECH lines, SPID, CUID, COOKIE and DONE; the client with VERSION and
// CPID. Then each AUTH gets CONT, OK or FAIL, many of them under way at once.
package wire

import (
	"fmt"
	"net/netip"
)

// The protocol version that both halves announce. A peer with another major
// version is refused; minor versions only add fields.
const (
	versionMajor = 1
	versionMinor = 2
)

// MaxLine is the longest line either half accepts, in bytes. Dovecot takes 8
// KiB of SASL data, which is 11 KiB as base64; the rest is room for fields.
const MaxLine = 16 << 10

// Prop is the set of properties that a MECH line tells of a mechanism.
type Prop uint8

// The members of Prop, as smtpd_sasl_security_options (postconf(5)) needs them.
const (
	Anonymous      Prop = 1 << iota // needs no account
	Plaintext                       // sends the password itself
	Dictionary                      // can be attacked with a dictionary by who listens
	Active                          // can be attacked by who changes the traffic
	ForwardSecrecy                  // a broken session does not break the next one
	MutualAuth                      // the server proves itself too
	Private                         // not to be shown to clients
)

// propNames are the words of a MECH line in the order of the bits of Prop.
var propNames = [...]string{"anonymous", "plaintext", "dictionary", "active", "forward-secrecy", "mutual-auth", "private"}

// Mech is one SASL mechanism that the server offers.
type Mech struct {
	Name string // upper case: PLAIN, LOGIN, SCRAM-SHA-256
	Prop Prop
}

// Request begins one authentication.
type Request struct {
	Service string         // smtp, imap, pop3: what PAM and the log call it
	Mech    string         // one of the server's mechanisms
	Local   netip.AddrPort // our end of the client's connection; invalid = not known
	Remote  netip.AddrPort // the client's end; invalid = not known
	Secured bool           // the client's connection is TLS, or never left this machine
	Initial []byte         // initial response (RFC 4422 section 3); nil = none, empty = an empty one
	Session string         // session id for the log; may be empty
	Login   bool           // a login process will fetch the user afterwards; else "nologin" is sent
}

// String leaves out the response: it holds the password.
func (r Request) String() string {
	return fmt.Sprintf("%s %s from %s", r.Service, r.Mech, r.Remote)
}

// State says how far an authentication has come.
type State uint8

// The values of State.
const (
	Fail     State = iota // refused: see Temporary, Code and Reason
	OK                    // User has proved who it is
	Continue              // the server has a challenge and waits for Exchange.Next
)

// Codes of a Fail, as Dovecot names them.
const (
	CodeTempFail    = "temp_fail"     // the password database is not reachable
	CodeAuthzFail   = "authz_fail"    // password right, but may not be whom it asked to be
	CodeDisabled    = "user_disabled" // the account is switched off
	CodePassExpired = "pass_expired"  // the password is too old
	CodeBase64      = "invalid_base64"
)

// Answer is what the server says to a Request or to a response.
type Answer struct {
	State     State
	Challenge []byte            // of Continue; decoded
	User      string            // of OK: the account; of Fail: the name as normalised, if known
	Reason    string            // of Fail: a text for the client; may be empty
	Code      string            // of Fail: one of the Code constants, or empty for a wrong password
	Temporary bool              // of Fail: nobody could tell; trying again later may work
	ID        uint32            // the request's number on this connection
	Fields    map[string]string // every other field of the line; a field without "=" has an empty value
	Hidden    map[string]string // on the server's side: kept for Claim, never sent
}

// Ticket lets a parent process fetch the user of an OK from the server without
// believing the login process that passes it on.
type Ticket struct {
	Client uint32 // CUID of the connection
	ID     uint32 // Answer.ID
	Cookie string // COOKIE of the connection, a secret between login and server
}
