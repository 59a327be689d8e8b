// Package mtasts finds out whether a domain wants its mail sent over TLS alone, and
// to which hosts (MTA-STS, RFC 8461). A domain says so in a file that is fetched
// over HTTPS, and in a TXT record that tells when the file is a new one; what it
// said once counts until it expires, whatever DNS says, because whoever can change
// answers on their way must not be able to take it back.
//
// send/remote asks the Cache before it connects; cmd/mtad makes it. DANE comes
// before it: that is the caller's to know.
package mtasts

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Mode is what a policy asks of senders (RFC 8461 section 5).
type Mode string

// The values of Mode.
const (
	Enforce Mode = "enforce" // deliver to no host that does not fit
	Testing Mode = "testing" // deliver as ever, but report
	None    Mode = "none"    // as if there were no policy
)

// The limits on what a domain may say.
const (
	maxPolicy = 64 << 10             // octets of the file (RFC 8461 section 3.3)
	maxAge    = 31557600             // seconds, about a year (section 3.2)
	maxHosts  = 200                  // mx lines
	maxID     = 32                   // letters and digits of a policy's id (section 3.1)
	minAge    = 10 * time.Minute     // what says less is asked again too often
	year      = maxAge * time.Second // the longest time that a policy counts
)

// Policy is what a domain asks for.
type Policy struct {
	Domain string
	ID     string        // of the TXT record that led to it
	Mode   Mode          // Enforce, Testing or None
	MX     []string      // host names, or "*.parent" for one label below
	MaxAge time.Duration // how long it counts since it was fetched
	Text   []string      // its lines, for reports (RFC 8460 section 4.4)
}

// Matches tells whether a host is one of the policy's (RFC 8461 section 4.1): the
// name itself, or with "*." one label in front of the rest.
func (p *Policy) Matches(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, m := range p.MX {
		if host == m {
			return true
		}
		parent, wild := strings.CutPrefix(m, "*.")
		if label, rest, ok := strings.Cut(host, "."); wild && ok && label != "" && rest == parent {
			return true
		}
	}
	return false
}

// ErrInvalid says that a policy or record cannot be read.
var ErrInvalid = errors.New("invalid MTA-STS policy")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// ParseRecord finds the id in the texts of _mta-sts.DOMAIN; empty when there is no
// policy: none of the texts, or more than one, is a record (RFC 8461 section 3.1).
func ParseRecord(texts []string) (id string) {
	found := 0
	for _, t := range texts {
		rest, ok := strings.CutPrefix(t, "v=STSv1")
		if rest = strings.TrimLeft(rest, " \t"); !ok || !strings.HasPrefix(rest, ";") {
			continue
		}
		found++
		for _, field := range strings.Split(rest, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
			if name == "id" && id == "" && validID(value) {
				id = value
			}
		}
	}
	if found != 1 {
		return ""
	}
	return id
}

// validID tells letters and digits, 1 to 32 of them.
func validID(s string) bool {
	return len(s) > 0 && len(s) <= maxID && strings.IndexFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) < 0
}

// ParsePolicy reads the file (RFC 8461 section 3.2). Names that are not known are
// passed over, and of those that may stand once the first counts.
func ParsePolicy(text string) (*Policy, error) {
	p := &Policy{}
	seen := map[string]string{}
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimRight(line, " \t\r")
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, invalid("no colon in a line")
		}
		p.Text = append(p.Text, printable(line))
		value = strings.Trim(value, " \t")
		if name == "mx" {
			if len(p.MX) < maxHosts {
				p.MX = append(p.MX, strings.ToLower(value))
			}
			continue
		}
		if _, twice := seen[name]; !twice {
			seen[name] = value
		}
	}
	return p, p.fill(seen)
}

// fill checks the fields that stand once.
func (p *Policy) fill(seen map[string]string) error {
	if seen["version"] != "STSv1" {
		return invalid("version is not STSv1")
	}
	switch p.Mode = Mode(seen["mode"]); p.Mode {
	case Enforce, Testing, None:
	default:
		return invalid("unknown mode")
	}
	n, err := strconv.ParseUint(seen["max_age"], 10, 40)
	if err != nil || n > maxAge {
		return invalid("max_age is no number up to %d", maxAge)
	}
	p.MaxAge = max(time.Duration(n)*time.Second, minAge)
	for _, m := range p.MX {
		if !validPattern(m) {
			return invalid("mx is no host name")
		}
	}
	if len(p.MX) == 0 && p.Mode != None {
		return invalid("no mx")
	}
	return nil
}

// validPattern tells a host name, with or without "*." in front.
func validPattern(s string) bool {
	s = strings.TrimPrefix(s, "*.")
	if s == "" || len(s) > 253 || !strings.Contains(s, ".") {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	return true
}

// printable keeps a stranger's bytes out of logs and reports.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return '?'
		}
		return r
	}, s)
}
