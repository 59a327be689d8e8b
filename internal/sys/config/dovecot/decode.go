package dovecot

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/sys/config/base"
)

// Decode fills the fields of *opts, a struct, that have a tag dovecot:"name"
// with those settings of the root or their defaults; "plugin/name" is a setting
// of plugin { }. The types of fields are string, bool, int, int64, uint32 (modes
// are octal), time.Duration and []string (split at white space and commas). A
// setting "<file" gives the contents of the file, or its path with the tag
// dovecot:"name,path". $name and %variables in values stay: see Expand. Struct
// fields without a tag are filled in turn. All errors are returned, joined.
func (d *Config) Decode(opts any) error {
	return decodeTags(opts, func(name string) (Value, Param) {
		p, _ := Lookup("", name)
		if v := d.find(name); v != nil {
			return *v, p
		}
		return Value{Name: name, Value: p.Default, File: d.Path}, p
	})
}

// DecodeBlock fills a struct from a block, as Decode does from the root: path
// is the block's place in the table, such as "passdb" or "service/unix_listener".
func (d *Config) DecodeBlock(b *Block, path string, opts any) error {
	return decodeTags(opts, func(name string) (Value, Param) {
		p, _ := Lookup(path, name)
		v := Value{Name: name, Value: p.Default, File: b.File, Line: b.Line}
		if set := b.find(name); set != nil {
			v = *set
		}
		// Services name their users by settings of the root.
		if rest, ok := strings.CutPrefix(v.Value, "$"); ok && !strings.Contains(rest, " ") {
			v.Value = d.Get(rest)
		}
		return v, p
	})
}

func decodeTags(opts any, get func(name string) (Value, Param)) error {
	v := reflect.ValueOf(opts)
	if v.Kind() != reflect.Pointer || v.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("cannot decode dovecot.conf into %T: it must be a pointer to a struct", opts)
	}
	return errors.Join(decodeTagged(v.Elem(), get, nil)...)
}

func decodeTagged(v reflect.Value, get func(string) (Value, Param), errs []error) []error {
	t := v.Type()
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("dovecot")
		switch {
		case !f.IsExported():
		case tagged:
			name, option, _ := strings.Cut(tag, ",")
			val, p := get(name)
			if p.Name == "" && !strings.Contains(name, "/") {
				errs = append(errs, fmt.Errorf("no setting %q in the table", name))
			} else if err := decodeValue(v.Field(i), val, p, option == "path"); err != nil {
				errs = append(errs, err)
			}
		case f.Type.Kind() == reflect.Struct:
			errs = decodeTagged(v.Field(i), get, errs)
		}
	}
	return errs
}

// decodeValue sets one field.
func decodeValue(f reflect.Value, v Value, p Param, path bool) error {
	bad := func(err error) error {
		return &base.Error{File: v.File, Line: v.Line, Text: fmt.Sprintf("setting %s: %v", v.Name, err), Hint: "see doveconf -d for a value of that kind"}
	}
	text := v.Value
	if v.FromFile && !path {
		var err error
		if text, err = base.Read(v.Value); err != nil {
			return bad(err)
		}
	}
	switch f.Interface().(type) {
	case string:
		f.SetString(text)
		return nil
	case []string:
		f.Set(reflect.ValueOf(strings.FieldsFunc(text, func(c rune) bool { return c == ' ' || c == '\t' || c == ',' })))
		return nil
	case bool:
		yes, err := dovecotBool(text)
		if err != nil {
			return bad(err)
		}
		f.SetBool(yes)
		return nil
	case time.Duration:
		d, err := dovecotTime(text, p.Type == "msecs")
		if err != nil {
			return bad(err)
		}
		f.SetInt(int64(d))
		return nil
	}
	n, err := dovecotNumber(text, p)
	if err != nil {
		return bad(err)
	}
	return setNumber(f, n, bad)
}

// dovecotNumber reads a value that is a number by the table: a size, an octal
// mode, or a decimal number.
func dovecotNumber(text string, p Param) (uint64, error) {
	switch p.Type {
	case "size":
		return dovecotSize(text)
	case "octal":
		text, err := dovecotOctal(text)
		if err != nil {
			return 0, err
		}
		return strconv.ParseUint(text, 8, 32)
	}
	text, err := dovecotUint(text)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(text, 10, 32)
}

// setNumber stores n; a size without limit (18446744073709551615) is -1.
func setNumber(f reflect.Value, n uint64, bad func(error) error) error {
	switch {
	case f.CanInt() && (n < 1<<63 || n == 1<<64-1) && !f.OverflowInt(int64(n)):
		f.SetInt(int64(n))
	case f.CanUint() && !f.OverflowUint(n):
		f.SetUint(n)
	default:
		return bad(fmt.Errorf("%d does not fit a %s", n, f.Type()))
	}
	return nil
}
