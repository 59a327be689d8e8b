package dovecot

import (
	_ "embed" // the tables of Dovecot's settings
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/sys/config/base"
)

// table holds one setting a line, sorted: block ("-" for the root),
// name, type, flags (h = hidden from doveconf
// -a and -d, n = no default), state, default. An
// enum's default is followed by its other values, separated by colons; an
// alias's default is the name it stands for.
//
//go:embed settings.txt
var table string

// builtins is the configuration that Dovecot has built in.
//
//go:embed services.conf
var builtins string

// Param is one setting of the table of Dovecot 2.3's settings.
type Param struct {
	Block   string // "" = the root, else passdb, service/unix_listener ...
	Name    string
	Type    string // str vars bool uint octal port time msecs size enum map alias
	Hidden  bool   // not shown by doveconf -a and -d unless set
	Unset   bool   // has no default, not even an empty one, and is not shown unless set
	State   base.State
	Default string // as doveconf -d shows it
	Enum    []string
}

// Lookup finds a setting of a block; "" is the root.
func Lookup(block, name string) (Param, bool) {
	if block == "" {
		block = "-"
	}
	key := block + "\t" + name
	lo, hi := 0, len(table)
	for lo < hi {
		mid := lo + (hi-lo)/2
		start := strings.LastIndexByte(table[lo:mid], '\n') + 1 + lo
		end := start + strings.IndexByte(table[start:], '\n')
		p := parseRow(table[start:end])
		switch c := strings.Compare(key, rowKey(p)); {
		case c == 0:
			return p, true
		case c < 0:
			hi = start
		default:
			lo = end + 1
		}
	}
	return Param{}, false
}

// Params returns the settings of a block; "" is the root.
func Params(block string) []Param {
	var list []Param
	for row := range strings.Lines(table) {
		if p := parseRow(strings.TrimSuffix(row, "\n")); p.Block == block {
			list = append(list, p)
		}
	}
	return list
}

func rowKey(p Param) string {
	if p.Block == "" {
		return "-\t" + p.Name
	}
	return p.Block + "\t" + p.Name
}

func parseRow(row string) Param {
	f := strings.SplitN(row, "\t", 6)
	p := Param{Block: f[0], Name: f[1], Type: f[2], Hidden: strings.Contains(f[3], "h"), Unset: strings.Contains(f[3], "n"), State: base.State(f[4]), Default: f[5]}
	if p.Block == "-" {
		p.Block = ""
	}
	if p.Type == "enum" {
		p.Enum = strings.Split(p.Default, ":")
		p.Default = p.Enum[0]
	}
	return p
}

// canonical checks a value and brings it into the form that doveconf shows. The
// error's text is Dovecot's.
func (p Param) canonical(value string) (string, error) {
	switch p.Type {
	case "bool":
		yes, err := dovecotBool(value)
		if yes {
			return "yes", err
		}
		return "no", err
	case "uint":
		return dovecotUint(value)
	case "port":
		n, err := strconv.ParseUint(value, 10, 16)
		if err != nil {
			return "", base.Bad("Invalid port number %s", value)
		}
		return strconv.FormatUint(n, 10), nil
	case "octal":
		return dovecotOctal(value)
	case "time", "msecs":
		d, err := dovecotTime(value, p.Type == "msecs")
		return formatTime(d), err
	case "size":
		n, err := dovecotSize(value)
		return formatSize(n), err
	case "enum":
		for _, e := range p.Enum {
			if e == value {
				return value, nil
			}
		}
		return "", base.Bad("Invalid value: %s", value)
	}
	return value, nil
}

func dovecotBool(value string) (bool, error) {
	switch {
	case strings.EqualFold(value, "yes"), strings.EqualFold(value, "y"), value == "1":
		return true, nil
	case strings.EqualFold(value, "no"):
		return false, nil
	}
	return false, base.Bad("Invalid boolean value: %s (use yes or no)", value)
}

func dovecotUint(value string) (string, error) {
	n, err := strconv.ParseUint(value, 10, 32)
	if err == nil && value[0] != '+' {
		return strconv.FormatUint(n, 10), nil
	}
	why := "Not a valid number"
	if base.IsDigits(strings.TrimPrefix(value, "-")) {
		why = "Number too large"
		if value[0] == '-' {
			why = "Number too small"
		}
	}
	return "", base.Bad("Invalid number %s: %s", value, why)
}

func dovecotOctal(value string) (string, error) {
	if !strings.HasPrefix(value, "0") {
		s, err := dovecotUint(value)
		if err != nil {
			return "", err
		}
		n, _ := strconv.ParseUint(s, 10, 32)
		return "0" + strconv.FormatUint(n, 8), nil
	}
	n, err := strconv.ParseUint(value, 8, 32)
	if err != nil {
		return "", base.Bad("Invalid number: %s", value)
	}
	return "0" + strconv.FormatUint(n, 8), nil
}

// cutNumber takes the digits off the start of a time or size.
func cutNumber(value string) (n uint64, unit string, ok bool) {
	i := 0
	for i < len(value) && value[i] >= '0' && value[i] <= '9' {
		i++
	}
	n, err := strconv.ParseUint(value[:i], 10, 64)
	return n, strings.TrimLeft(value[i:], " "), err == nil
}

// timeWords are the units of a time, in the order in which a prefix of one is
// tried: "m" is minutes, "ms" milliseconds.
var timeWords = [...]struct {
	word string
	unit time.Duration
}{
	{"secs", time.Second}, {"seconds", time.Second}, {"mins", time.Minute}, {"minutes", time.Minute},
	{"msecs", time.Millisecond}, {"mseconds", time.Millisecond}, {"millisecs", time.Millisecond}, {"milliseconds", time.Millisecond},
	{"hours", time.Hour}, {"days", 24 * time.Hour}, {"weeks", 7 * 24 * time.Hour},
}

// dovecotTime reads a time: a number and a unit, which may be shortened. Only a
// zero needs none. msecs says that the setting counts in milliseconds.
func dovecotTime(value string, msecs bool) (time.Duration, error) {
	n, unit, ok := cutNumber(value)
	if !ok {
		return 0, base.Bad("Invalid time interval: %s", value)
	}
	if unit == "" && n != 0 {
		return 0, base.Bad("Time interval '%s' is missing units (add e.g. 's' for seconds)", value)
	}
	step := timeStep(unit)
	whole := time.Second
	if msecs {
		whole = time.Millisecond
	}
	switch {
	case step == 0:
		return 0, base.Bad("Invalid time interval: %s", value)
	case step == time.Millisecond && !msecs && n%1000 != 0:
		return 0, base.Bad("Milliseconds not supported for this setting: %s", value)
	case n > uint64(math.MaxInt64/step) || time.Duration(n)*step/whole > math.MaxUint32:
		return 0, base.Bad("Time interval is too large: %s", value)
	}
	return time.Duration(n) * step, nil
}

// timeStep returns the length of a unit, 0 for no unit of time.
func timeStep(unit string) time.Duration {
	for _, w := range timeWords {
		if len(unit) <= len(w.word) && strings.EqualFold(w.word[:len(unit)], unit) {
			return w.unit
		}
	}
	return 0
}

// formatTime writes a time as doveconf does: the largest unit that divides it.
func formatTime(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	if d%time.Second != 0 {
		return fmt.Sprintf("%d ms", d/time.Millisecond)
	}
	n, suffix := int64(d/time.Second), "secs"
	for _, step := range [...]struct {
		per  int64
		name string
	}{{60, "mins"}, {60, "hours"}, {24, "days"}, {7, "weeks"}} {
		if n%step.per != 0 {
			break
		}
		n, suffix = n/step.per, step.name
	}
	return fmt.Sprintf("%d %s", n, suffix)
}

// dovecotSize reads a size in bytes: 10, 10B, 10k, 10 kB, 10KiB, 10M, 10G, 10T.
func dovecotSize(value string) (uint64, error) {
	n, unit, ok := cutNumber(value)
	if !ok {
		return 0, base.Bad("Invalid size: %s", value)
	}
	shift := 0
	if unit != "" {
		at := strings.IndexByte("BKMGT", unit[0]&^0x20)
		if at < 0 {
			return 0, base.Bad("Invalid size: %s", value)
		}
		if shift, unit = 10*at, unit[1:]; at > 0 {
			unit = strings.TrimPrefix(strings.ToUpper(unit), "I")
			unit = strings.TrimPrefix(unit, "B")
		}
	}
	if unit != "" {
		return 0, base.Bad("Invalid size: %s", value)
	}
	if n > math.MaxUint64>>shift {
		return 0, base.Bad("Size is too large: %s", value)
	}
	return n << shift, nil
}

// formatSize writes a size as doveconf does.
func formatSize(n uint64) string {
	if n == 0 {
		return "0"
	}
	i := 0
	for n%1024 == 0 && i < 4 {
		n, i = n/1024, i+1
	}
	return fmt.Sprintf("%d %c", n, "BkMGT"[i])
}

// suggest names the setting of the block that name may have meant.
func suggest(path, name string) string {
	best, distance := "", 4
	for _, p := range Params(path) {
		if d := base.Distance(name, p.Name); d < distance {
			best, distance = p.Name, d
		}
	}
	if best == "" {
		return "doveconf -a lists the settings; those of plugins stand in plugin { }"
	}
	return "did you mean " + best + "?"
}
