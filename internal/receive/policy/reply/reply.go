// Package reply holds the refusals of receive/policy: a reply code, an enhanced
// status code (RFC 3463) that agrees with it, and a text that cannot be taken for
// more than one line.
package reply

import (
	"fmt"
	"strings"
)

// The names of the addresses that codes of RFC 3463's class X.1 speak of, as
// texts have them.
const (
	Sender    = "Sender address"
	Recipient = "Recipient address"
)

// Verdict is a refusal. A nil *Verdict lets the client go on.
type Verdict struct {
	Code int    // SMTP reply code
	DSN  string // enhanced status code (RFC 3463); its first digit agrees with Code
	Text string
}

// maxReply is the length of a reply line without CRLF (RFC 5321 section 4.5.3.1.5).
const maxReply = 510

// New makes a refusal whose code and enhanced code agree in class, whatever
// class the administrator's reply code has.
func New(code int, dsn, format string, args ...any) *Verdict {
	if dsn != "" {
		dsn = string('0'+byte(code/100)) + dsn[1:]
	}
	return &Verdict{code, dsn, fmt.Sprintf(format, args...)}
}

// Reply returns the reply line without its line end. Nothing of what a client
// said gets into it but printable text: what is not becomes a space.
func (v *Verdict) Reply() string {
	b := fmt.Appendf(nil, "%d %s %s", v.Code, v.DSN, v.Text)
	b = b[:min(len(b), maxReply)]
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}

// HangUp tells that the session ends with this reply: 421 and 521 mean that
// (RFC 5321 section 3.8, RFC 7504).
func (v *Verdict) HangUp() bool { return v.Code == 421 || v.Code == 521 }

// IsDSN tells whether s is an enhanced status code (RFC 3463 section 2).
func IsDSN(s string) bool {
	part := strings.Split(s, ".")
	if len(part) != 3 || len(part[0]) != 1 || strings.IndexByte("245", part[0][0]) < 0 {
		return false
	}
	return digits(part[1]) && digits(part[2]) && len(part[1]) <= 3 && len(part[2]) <= 3
}

// Enhanced takes an enhanced status code off the front of a text.
func Enhanced(def, text string) (dsn, rest string) {
	first, rest := text, ""
	if i := strings.IndexAny(text, " \t"); i >= 0 {
		first, rest = text[:i], strings.TrimLeft(text[i:], " \t")
	}
	if !IsDSN(first) {
		return def, text
	}
	return first, rest
}

// FixDSN makes a code that speaks of an address (X.1.x) fit what is refused: the
// same table may be asked for a sender, a recipient and a host name.
func FixDSN(dsn, class string) string {
	detail, ok := strings.CutPrefix(dsn[1:], ".1.")
	if !ok {
		return dsn
	}
	fixed := dsn[:1] + ".0.0"
	switch class {
	case Sender:
		fixed = dsn[:1] + ".1." + pick(detail, map[string]string{"1": "7", "2": "8", "3": "7", "4": "7", "5": "7", "6": "7", "7": "7", "8": "8"})
	case Recipient:
		fixed = dsn[:1] + ".1." + pick(detail, map[string]string{"1": "1", "2": "2", "3": "3", "4": "4", "5": "5", "6": "6", "7": "3", "8": "2"})
	}
	return fixed
}

func pick(key string, m map[string]string) string {
	if v := m[key]; v != "" {
		return v
	}
	return "0"
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// Soften makes a refusal for good one for now (soft_bounce of postconf(5)).
func Soften(answer string) string {
	if len(answer) <= 4 || answer[0] != '5' {
		return answer
	}
	if answer[4] == '5' && IsDSN(strings.SplitN(answer[4:], " ", 2)[0]) {
		return "4" + answer[1:4] + "4" + answer[5:]
	}
	return "4" + answer[1:]
}
