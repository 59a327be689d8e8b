package wire

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// errLine is a line that breaks the protocol. Its text never holds the line: a
// response could be in it.
var errLine = errors.New("authentication protocol: malformed line")

// field appends "\tkey=value".
func field(b []byte, key, value string) []byte {
	b = append(append(append(b, '\t'), key...), '=')
	return escape(b, value)
}

// appendAuth writes the AUTH line of r. "resp" is the last field, always: the
// protocol demands it.
func appendAuth(b []byte, id uint32, r Request) []byte {
	b = append(b, "AUTH\t"...)
	b = strconv.AppendUint(b, uint64(id), 10)
	b = escape(append(b, '\t'), r.Mech)
	b = field(b, "service", r.Service)
	if !r.Login {
		b = append(b, "\tnologin"...)
	}
	b = appendEnds(b, r)
	if r.Secured {
		b = append(b, "\tsecured"...)
	}
	if r.Session != "" {
		b = field(b, "session", r.Session)
	}
	if r.Initial != nil {
		b = base64.StdEncoding.AppendEncode(append(b, "\tresp="...), r.Initial)
	}
	return append(b, '\n')
}

// appendEnds writes the two ends of the client's connection, where known.
func appendEnds(b []byte, r Request) []byte {
	if r.Local.IsValid() {
		b = field(b, "lip", r.Local.Addr().String())
	}
	if r.Remote.IsValid() {
		b = field(b, "rip", r.Remote.Addr().String())
	}
	if r.Local.Port() != 0 {
		b = field(b, "lport", strconv.Itoa(int(r.Local.Port())))
	}
	if r.Remote.Port() != 0 {
		b = field(b, "rport", strconv.Itoa(int(r.Remote.Port())))
	}
	return b
}

// appendCont writes a CONT line, in both directions.
func appendCont(b []byte, id uint32, data []byte) []byte {
	b = append(b, "CONT\t"...)
	b = strconv.AppendUint(b, uint64(id), 10)
	b = base64.StdEncoding.AppendEncode(append(b, '\t'), data)
	return append(b, '\n')
}

// appendAnswer writes a server's answer to request a.ID.
func appendAnswer(b []byte, a Answer) []byte {
	if a.State == Continue {
		return appendCont(b, a.ID, a.Challenge)
	}
	b = append(b, [...]string{Fail: "FAIL\t", OK: "OK\t"}[a.State]...)
	b = strconv.AppendUint(b, uint64(a.ID), 10)
	if a.User != "" {
		b = field(b, "user", a.User)
	}
	if a.Temporary {
		b = append(b, "\ttemp"...)
	}
	if a.Code != "" {
		b = field(b, "code", a.Code)
	}
	if a.Reason != "" {
		b = field(b, "reason", a.Reason)
	}
	for k, v := range a.Fields {
		if v == "" {
			b = escape(append(b, '\t'), k)
			continue
		}
		b = field(b, k, v)
	}
	return append(b, '\n')
}

// parseID reads a request number.
func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, errLine
	}
	return uint32(n), nil
}

// parseAuth reads what stands behind "AUTH\t".
func parseAuth(args []string) (id uint32, r Request, err error) {
	if len(args) < 2 {
		return 0, r, errLine
	}
	if id, err = parseID(args[0]); err != nil {
		return 0, r, err
	}
	r.Mech, r.Login = strings.ToUpper(unescape(args[1])), true
	var lip, rip netip.Addr
	var lport, rport uint16
	for _, a := range args[2:] {
		key, value, _ := strings.Cut(a, "=")
		value = unescape(value)
		switch key {
		case "service":
			r.Service = value
		case "nologin":
			r.Login = false
		case "secured":
			r.Secured = true
		case "session":
			r.Session = value
		case "lip":
			lip, _ = netip.ParseAddr(value) // a name or nothing is no reason to refuse
		case "rip":
			rip, _ = netip.ParseAddr(value)
		case "lport":
			lport = parsePort(value)
		case "rport":
			rport = parsePort(value)
		case "resp":
			// Whatever stands behind it is ignored, as the protocol demands.
			r.Initial, err = decode(value)
			r.Local, r.Remote = addrPort(lip, lport), addrPort(rip, rport)
			return id, r, err
		}
	}
	r.Local, r.Remote = addrPort(lip, lport), addrPort(rip, rport)
	return id, r, nil
}

func addrPort(a netip.Addr, port uint16) netip.AddrPort {
	if !a.IsValid() {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a, port)
}

func parsePort(s string) uint16 {
	n, _ := strconv.ParseUint(s, 10, 16)
	return uint16(n)
}

// errBase64 is a response that is no base64: it fails its own request only.
var errBase64 = errors.New("invalid base64 data")

// decode reads base64; the result is never nil.
func decode(s string) ([]byte, error) {
	b, err := base64.StdEncoding.AppendDecode([]byte{}, []byte(s))
	if err != nil {
		return nil, errBase64
	}
	return b, nil
}

// parseAnswer reads a CONT, OK or FAIL line.
func parseAnswer(line string) (Answer, error) {
	args := strings.Split(line, "\t")
	if len(args) < 2 {
		return Answer{}, errLine
	}
	id, err := parseID(args[1])
	if err != nil {
		return Answer{}, err
	}
	a := Answer{ID: id}
	switch args[0] {
	case "CONT":
		if len(args) < 3 {
			return a, errLine
		}
		a.State = Continue
		a.Challenge, err = decode(args[2])
		return a, err
	case "OK":
		a.State = OK
	case "FAIL":
		a.State = Fail
	default:
		return a, fmt.Errorf("authentication protocol: unknown answer %.20q", args[0])
	}
	a.fill(args[2:])
	return a, nil
}

// fill reads the fields of an OK or FAIL. A flag of old servers (temp, authz,
// user_disabled, pass_expired) and the code= of new ones mean the same.
func (a *Answer) fill(args []string) {
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		value = unescape(value)
		switch key {
		case "user":
			a.User = value
		case "reason":
			a.Reason = value
		case "code":
			a.Code = value
			a.Temporary = a.Temporary || value == CodeTempFail
		case "temp":
			a.Temporary = true
		default:
			if a.Fields == nil {
				a.Fields = make(map[string]string)
			}
			a.Fields[unescape(key)] = value
		}
	}
}
