package dovecot

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"packetboat/internal/sys/config/base"
	"packetboat/internal/sys/config/dovecot/lex"
)

// Covers tells whether every connection for which g's settings hold is one of f's,
// too: the conditions of f are among those of g.
func (f Filter) Covers(g Filter) bool {
	switch {
	case f.Protocol != "" && f.Protocol != g.Protocol && !(f.Protocol[0] == '!' && g.Protocol != "" && g.Protocol[0] != '!' && f.Protocol[1:] != g.Protocol):
		return false
	case f.LocalName != "" && f.LocalName != g.LocalName:
		return false
	case f.Local.IsValid() && !(g.Local.IsValid() && f.Local.Bits() <= g.Local.Bits() && f.Local.Contains(g.Local.Addr())):
		return false
	}
	return !f.Remote.IsValid() || g.Remote.IsValid() && f.Remote.Bits() <= g.Remote.Bits() && f.Remote.Contains(g.Remote.Addr())
}

// Contradicts tells whether c names something that f excludes; what c leaves open
// does not count.
func (f Filter) Contradicts(c Context) bool {
	x := filtered{Filter: f}
	if c.Protocol == "" {
		x.Protocol = ""
	}
	if c.LocalName == "" {
		x.LocalName = ""
	}
	if !c.Local.IsValid() {
		x.Local = netip.Prefix{}
	}
	if !c.Remote.IsValid() {
		x.Remote = netip.Prefix{}
	}
	return !x.matches(c)
}

// FilterBlock returns the settings of a filter, nil for one that the configuration does
// not have.
func (d *Config) FilterBlock(f Filter) *Block {
	for _, x := range d.filters {
		if x.Filter == f {
			return x.block
		}
	}
	return nil
}

// Unreadable tells of every setting NAME = <FILE whose file cannot be opened, each a
// *base.Error.
func (d *Config) Unreadable() (errs []error) {
	var walk func(b *Block)
	walk = func(b *Block) {
		for _, v := range b.Values {
			if !v.FromFile {
				continue
			}
			f, err := os.Open(v.Value)
			if err == nil {
				f.Close()
				continue
			}
			var pe *os.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			text := fmt.Sprintf("%s: Can't open file %s: %s", v.Name, v.Value, lex.Reason(err))
			errs = append(errs, &base.Error{File: v.File, Line: v.Line, Text: text,
				Postfix: fmt.Sprintf("Error in configuration file %s line %d: %s", v.File, v.Line, text)})
		}
		for _, s := range b.Blocks {
			walk(s)
		}
	}
	walk(d.root)
	for _, f := range d.filters {
		walk(f.block)
	}
	return errs
}
