// Package origin reads what XFORWARD says of a message (XFORWARD_README): who gave
// it to the content filter that brings it. receive/smtpd calls it; the values stand
// in the log and in the envelope.
package origin

import (
	"strconv"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/receive/smtpd/syntax"
)

// Set takes one attribute, whose name is in capitals, and its decoded value. known
// tells whether there is such an attribute, ok whether it may have that value.
func Set(o *mail.Origin, name, value string) (known, ok bool) {
	gone := strings.EqualFold(value, syntax.Unavailable)
	if gone {
		value = "unknown"
	}
	switch name {
	case "NAME":
		o.Name = syntax.Neuter(value)
		return true, gone || syntax.ValidSite(value)
	case "ADDR":
		a, ok := syntax.ParseAddr(value)
		o.Addr = value
		if ok {
			o.Addr = a.String()
		}
		return true, ok || gone
	case "PORT":
		_, err := strconv.ParseUint(value, 10, 16)
		o.Port = value
		return true, err == nil || gone
	case "HELO":
		o.Helo = syntax.Neuter(value)
		return true, true
	case "PROTO":
		o.Proto = syntax.Neuter(value)
		return true, true
	case "IDENT":
		o.Ident = syntax.Neuter(value)
		if gone {
			o.Ident = ""
		}
		return true, true
	case "SOURCE":
		o.Source = strings.ToUpper(value)
		return true, gone || strings.EqualFold(value, "LOCAL") || strings.EqualFold(value, "REMOTE")
	}
	return false, false
}

// Client is the client of XFORWARD as the log has it, with its port where the log
// names ports (smtpd_client_port_logging); empty without one.
func Client(f *mail.Origin, port bool) string {
	if f.Name == "" && f.Addr == "" {
		return ""
	}
	client := orUnknown(f.Name) + "[" + orUnknown(f.Addr) + "]"
	if port {
		client += ":" + orUnknown(f.Port)
	}
	return client
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}
