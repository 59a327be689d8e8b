package config

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Decode fills the fields of *opts, a struct, that have a tag main:"name" with
// the values of those parameters or their defaults. The types of fields are
// string, bool, int, int64, time.Duration and []string (the list split by
// Fields; for parameters of type match by Patterns, which reads /files). Struct
// fields without a tag are filled in turn. Every value that cannot be read is
// an *Error that names the parameter and its place; all are returned at once,
// joined. A tag that names no parameter of the table is a mistake of the
// program and an error too.
func (m *Main) Decode(opts any) error {
	v := reflect.ValueOf(opts)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("cannot decode main.cf into %T: it must be a pointer to a struct", opts)
	}
	return errors.Join(m.decodeStruct(v.Elem(), nil)...)
}

func (m *Main) decodeStruct(v reflect.Value, errs []error) []error {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		if !f.IsExported() {
			continue
		}
		name, tagged := f.Tag.Lookup("main")
		if !tagged {
			if f.Type.Kind() == reflect.Struct && f.Type != reflect.TypeFor[time.Time]() {
				errs = m.decodeStruct(v.Field(i), errs)
			}
			continue
		}
		if err := m.decodeField(v.Field(i), name); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// decodeField sets one field. The field's type says how the value is read, the
// table what the default is and which unit a time without one has.
func (m *Main) decodeField(v reflect.Value, name string) error {
	p, ok := LookupParam(name)
	if !ok {
		return fmt.Errorf("no parameter %q in the table", name)
	}
	value, err := m.Lookup(name)
	if err != nil {
		return err
	}
	switch v.Interface().(type) {
	case string:
		// Only a value that somebody wrote can be too short: virtual_mailbox_base
		// must not be empty, and is by default, where it is not used.
		_, set := m.Raw(name)
		if shortest, _ := strconv.Atoi(p.min); set && len(value) < shortest {
			return m.paramError(name, fmt.Sprintf("bad string length %d < %d: %s", len(value), shortest, value), "give it a value or remove the line")
		}
		v.SetString(value)
		return nil
	case bool:
		return m.decodeBool(v, name, value)
	case time.Duration:
		return m.decodeTime(v, p, value)
	case []string:
		return m.decodeList(v, p, value)
	case int, int64:
		return m.decodeInt(v, p, value)
	}
	return fmt.Errorf("parameter %s: cannot decode into a %s", name, v.Type())
}

// CheckValue reads the value of a parameter as its type in the table says, and
// returns the error that Decode would; a name that is not in the table has no
// type, but its references must be understood too.
func (m *Main) CheckValue(name string) error {
	p, ok := LookupParam(name)
	if !ok {
		_, err := m.Lookup(name)
		return err
	}
	var v any
	switch p.Type {
	case TypeBool:
		v = new(bool)
	case TypeInt:
		v = new(int)
	case TypeLong:
		v = new(int64)
	case TypeTime:
		v = new(time.Duration)
	case TypeMatch:
		v = new([]string)
	default:
		v = new(string)
	}
	return m.decodeField(reflect.ValueOf(v).Elem(), name)
}

func (m *Main) decodeBool(v reflect.Value, name, value string) error {
	yes := strings.EqualFold(value, "yes")
	if !yes && !strings.EqualFold(value, "no") {
		return m.paramError(name, fmt.Sprintf("%q is neither yes nor no", value), "write yes or no")
	}
	v.SetBool(yes)
	return nil
}

func (m *Main) decodeInt(v reflect.Value, p Param, value string) error {
	// The originals read with strtol(3) and sscanf(3): leading space and a
	// plus sign are allowed, nothing after the digits is.
	n, err := strconv.ParseInt(trimSpace(value), 10, 64)
	if p.Type == TypeInt && (n > math.MaxInt32 || n < math.MinInt32) {
		err = strconv.ErrRange
	}
	if err != nil {
		return m.paramError(p.Name, fmt.Sprintf("bad numerical configuration: %q", value), "write a whole number, in digits, without a unit")
	}
	if err := m.inRange(p, n); err != nil {
		return err
	}
	v.SetInt(n)
	return nil
}

// inRange checks a number against the table's bounds, where 0 is none.
func (m *Main) inRange(p Param, n int64) error {
	low, _ := strconv.ParseInt(p.min, 10, 64)
	high, _ := strconv.ParseInt(p.max, 10, 64)
	if low != 0 && n < low {
		return m.paramError(p.Name, fmt.Sprintf("%d is below the minimum %d", n, low), "raise the value")
	}
	if high != 0 && n > high {
		return m.paramError(p.Name, fmt.Sprintf("%d is above the maximum %d", n, high), "lower the value")
	}
	return nil
}

func (m *Main) decodeTime(v reflect.Value, p Param, value string) error {
	unit := byte('s')
	if def, err := m.Expand(p.Default); err == nil {
		unit = timeUnit(def)
	}
	d, ok := parseTime(value, unit)
	if !ok {
		return m.paramError(p.Name, fmt.Sprintf("bad time value or unit: %q", value), "write a whole number and one of s m h d w, such as 30s")
	}
	if err := m.inRange(p, int64(d/time.Second)); err != nil {
		return err
	}
	v.SetInt(int64(d))
	return nil
}

// timeUnit returns the unit of a default, which a value without one has too
// (postconf(5)).
func timeUnit(def string) byte {
	for i := 0; i < len(def); i++ {
		if c := def[i]; strings.IndexByte("smhdw", c) >= 0 {
			return c
		}
	}
	return 's'
}

// parseTime reads a Postfix time: digits and a unit. What follows the unit's
// first letter is ignored, as there ("1hour", "5min").
func parseTime(value string, unit byte) (time.Duration, bool) {
	s := skipSpace(value)
	s = strings.TrimPrefix(s, "+")
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	num, err := strconv.ParseInt(s[:n], 10, 32)
	if err != nil {
		return 0, false
	}
	if n < len(s) {
		unit = s[n]
	}
	d := time.Second
	switch unit {
	case 's':
	case 'm':
		d = time.Minute
	case 'h':
		d = time.Hour
	case 'd':
		d = 24 * time.Hour
	case 'w':
		d = 7 * 24 * time.Hour
	default:
		return 0, false
	}
	if time.Duration(num) > math.MaxInt32*time.Second/d {
		return 0, false
	}
	return time.Duration(num) * d, true
}

func (m *Main) decodeList(v reflect.Value, p Param, value string) error {
	if p.Type != TypeMatch {
		// An empty list is not nil: nil is what an Options struct has when nobody
		// decoded it, and stands for the default.
		v.Set(reflect.ValueOf(append([]string{}, Fields(value)...)))
		return nil
	}
	list, err := m.open.patterns(nil, value, false, 0)
	if err != nil {
		return m.paramError(p.Name, err.Error(), "make the file, or remove its name from the list")
	}
	v.Set(reflect.ValueOf(list))
	return nil
}
