package config

import (
	_ "embed" // the table is a text that people read too
	"strings"

	"packetboat/internal/sys/config/base"
)

// table holds one parameter a line, sorted by name, its fields separated by
// tabs: name, type, state, minimum, maximum (0 = none; of a str the shortest
// length), default. A name that starts with * stands for the parameters that
// each delivery service of master.cf has: *_time_limit for dovecot_time_limit.
// A default that starts with @ is computed from the machine. It stays text: a
// program that asks for five parameters does not pay for 1,043.
//
//go:embed params.txt
var table string

// Type is the type of a Postfix parameter's value.
type Type string

// The types of parameters, as Postfix reads their values.
const (
	TypeString Type = "str"   // $names are expanded
	TypeRaw    Type = "raw"   // $names stay for the user of the value, who knows $user, $home
	TypeMatch  Type = "match" // a list of patterns, !patterns, /files of them, and type:tables
	TypeBool   Type = "bool"  // yes or no
	TypeInt    Type = "int"   // 32 bits
	TypeLong   Type = "long"  // 64 bits
	TypeTime   Type = "time"  // seconds, with a unit of s m h d w
)

// State says what this system does with a parameter.
type State = base.State

// The states of a parameter.
const (
	StateOpen     = base.StateOpen
	StateDone     = base.StateDone
	StateAccepted = base.StateAccepted
	StateRefused  = base.StateRefused
)

// Param is one parameter of the table.
type Param struct {
	Name    string
	Type    Type
	State   State
	Default string // unexpanded; starts with @ when computed from the machine
	Service bool   // a service's parameter: the name is a master.cf service and a known ending
	min     string
	max     string
}

// Own tells that a parameter is this system's and not Postfix's: postconf(1)
// shows it where main.cf sets it, so that its output stays what scripts know.
func (p Param) Own() bool {
	return strings.HasPrefix(p.Name, "smtpd_greylist_") || p.Name == "srs_domain" ||
		p.Name == "smtp_tls_mta_sts" || p.Name == "smtp_tlsrpt_enable"
}

// LookupParam finds a parameter of main.cf: a built-in one, or one that belongs
// to a delivery service by its ending, such as dovecot_destination_recipient_limit.
func LookupParam(name string) (Param, bool) {
	if row, ok := findRow(name); ok {
		return parseRow(row), true
	}
	if row, ok := findOwn(name); ok {
		return parseRow(row), true
	}
	// The longest ending wins: x_extra_recipient_limit is no x_extra with
	// _recipient_limit.
	for i := 0; i < len(name); i++ {
		if name[i] != '_' || i == 0 {
			continue
		}
		if row, ok := findRow("*" + name[i:]); ok {
			p := parseRow(row)
			p.Name, p.Service = name, true
			return p, true
		}
	}
	return Param{}, false
}

// Params returns the built-in parameters, sorted by name, without the patterns
// of service parameters.
func Params() []Param {
	list := make([]Param, 0, 1024)
	for row := range strings.Lines(table) {
		if row[0] != '*' {
			list = append(list, parseRow(row))
		}
	}
	return list
}

// ServiceSuffixes returns the endings of service parameters, each with its
// underscore, and their defaults.
func ServiceSuffixes() []Param {
	var list []Param
	for row := range strings.Lines(table) {
		if row[0] != '*' {
			break
		}
		p := parseRow(row)
		p.Name, p.Service = p.Name[1:], true
		list = append(list, p)
	}
	return list
}

// findRow looks a line of the table up by binary search in the text.
func findRow(name string) (string, bool) {
	lo, hi := 0, len(table)
	for lo < hi {
		mid := lo + (hi-lo)/2
		start := strings.LastIndexByte(table[lo:mid], '\n') + 1 + lo
		end := start + strings.IndexByte(table[start:], '\n')
		row := table[start:end]
		tab := strings.IndexByte(row, '\t')
		switch c := strings.Compare(name, row[:tab]); {
		case c == 0:
			return row, true
		case c < 0:
			hi = start
		default:
			lo = end + 1
		}
	}
	return "", false
}

func parseRow(row string) Param {
	row = strings.TrimSuffix(row, "\n")
	var p Param
	var f string
	p.Name, row, _ = strings.Cut(row, "\t")
	f, row, _ = strings.Cut(row, "\t")
	p.Type = Type(f)
	f, row, _ = strings.Cut(row, "\t")
	p.State = State(f)
	p.min, row, _ = strings.Cut(row, "\t")
	p.max, p.Default, _ = strings.Cut(row, "\t")
	return p
}

// Suggest returns the known parameter that is closest to a misspelt name, or "".
func Suggest(name string) string {
	switch name { // names that had to give way to others
	case "smtpd_sasl_application_name":
		return "smtpd_sasl_path"
	case "smtpd_tls_cipherlist":
		return "smtpd_tls_ciphers"
	case "smtp_tls_cipherlist":
		return "smtp_tls_ciphers"
	case "program_directory":
		return "daemon_directory"
	}
	best, distance := "", min(4, len(name)/2+1)
	for _, p := range Params() {
		if abs(len(p.Name)-len(name)) >= distance {
			continue // so many letters would have to come or go
		}
		if d := base.Distance(name, p.Name); d < distance {
			best, distance = p.Name, d
		}
	}
	return best
}

func abs(n int) int { return max(n, -n) }
