// Package query makes questions to databases of table keys, and table values of
// their answers: the templates %s %u %d %S %U %D %1 to %9, the parameters domain
// and expansion_limit, which mysql_table(5), pgsql_table(5), sqlite_table(5),
// ldap_table(5) and memcache_table(5) have in common.
package query

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Quote appends s to dst so that a database takes it as a value, whatever it
// holds. nil appends it as it is.
type Quote func(dst []byte, s string) []byte

// ErrLimit says that a key has more values than expansion_limit allows.
var ErrLimit = errors.New("expansion limit exceeded")

// MaxResult bounds the text of one answer, in bytes: no list of addresses that
// is meant comes near, and a database gone wrong must not fill the memory.
const MaxResult = 4 << 20

// Rules are the templates and limits of one table. Fill it with Add; it does
// not change later.
type Rules struct {
	// Domains tells whether keys of a domain are asked for; nil = all keys.
	Domains func(ctx context.Context, domain string) (bool, error)
	// Format is the template of results.
	Format string
	// Limit is the largest number of values of a key; 0 = no limit.
	Limit int

	keyUser, keyDomain, valueUser, valueDomain bool
	parts                                      int // the highest %n
}

// Add reads a template: of queries, or of results. dynamic tells that it holds a
// part of the key or the value at all. What a template of either kind needs of a
// key is asked of every key, as Postfix does.
func (r *Rules) Add(template string, result bool) (dynamic bool, err error) {
	for i := 0; i < len(template); i++ {
		if template[i] != '%' {
			continue
		}
		i++
		if i == len(template) {
			return false, invalid(template, result)
		}
		switch c := template[i]; {
		case c == '%':
			continue
		case c == 'u' && result:
			r.valueUser = true
		case c == 'd' && result:
			r.valueDomain = true
		case c == 'u' || c == 'U':
			r.keyUser = true
		case c == 'd' || c == 'D':
			r.keyDomain = true
		case c >= '1' && c <= '9':
			r.keyDomain = true
			r.parts = max(r.parts, int(c-'0'))
		case c != 's' && c != 'S':
			return false, invalid(template, result)
		}
		dynamic = true
	}
	return dynamic, nil
}

func invalid(template string, result bool) error {
	if result {
		return fmt.Errorf("invalid result template: %s", template)
	}
	return fmt.Errorf("invalid query template: %s", template)
}

// Wanted tells whether key is one that the parameter domain lets through: then
// only full addresses with a user and a listed domain are.
func (r *Rules) Wanted(ctx context.Context, key string) (bool, error) {
	if r.Domains == nil {
		return true, nil
	}
	at := strings.LastIndexByte(key, '@')
	if at < 1 {
		return false, nil
	}
	return r.Domains(ctx, key[at+1:])
}

// address is a key or value with the place of its last "@".
type address struct {
	text string
	at   int // -1 = none
}

func split(s string) address { return address{s, strings.LastIndexByte(s, '@')} }

// user is the part before the "@", or everything.
func (a address) user() string {
	if a.at < 0 {
		return a.text
	}
	return a.text[:a.at]
}

func (a address) domain() string {
	if a.at < 0 {
		return ""
	}
	return a.text[a.at+1:]
}

// lacks tells that a has not what templates need of it.
func (a address) lacks(user, domain bool) bool {
	return domain && a.domain() == "" || user && a.at == 0
}

// label returns the n-th label of the domain from its end.
func (a address) label(n int) (string, bool) {
	for rest := a.domain(); rest != ""; n-- {
		dot := strings.LastIndexByte(rest, '.')
		if n == 1 {
			return rest[dot+1:], rest[dot+1:] != ""
		}
		rest = rest[:max(dot, 0)]
	}
	return "", false
}

// Query appends the template with key in it to dst. ok is false when key has not
// the parts that the templates need: then it is not in the table.
func (r *Rules) Query(dst []byte, template, key string, quote Quote) (_ []byte, ok bool) {
	k := split(key)
	if key == "" || k.lacks(r.keyUser, r.keyDomain) || !r.enough(k) {
		return dst, false
	}
	return fill(dst, template, k, k, quote), true
}

func (r *Rules) enough(k address) bool {
	if r.parts == 0 {
		return true
	}
	_, ok := k.label(r.parts)
	return ok
}

// fill writes a template: small letters are the value's parts, capitals and
// digits the key's.
func fill(dst []byte, template string, value, key address, quote Quote) []byte {
	if quote == nil {
		quote = func(dst []byte, s string) []byte { return append(dst, s...) }
	}
	for i := 0; i < len(template); i++ {
		if template[i] != '%' || i+1 == len(template) {
			dst = append(dst, template[i])
			continue
		}
		i++
		switch c := template[i]; c {
		case '%':
			dst = append(dst, '%')
		case 's':
			dst = quote(dst, value.text)
		case 'u':
			dst = quote(dst, value.user())
		case 'd':
			dst = quote(dst, value.domain())
		case 'S':
			dst = quote(dst, key.text)
		case 'U':
			dst = quote(dst, key.user())
		case 'D':
			dst = quote(dst, key.domain())
		default:
			part, _ := key.label(int(c - '0'))
			dst = quote(dst, part)
		}
	}
	return dst
}

// Result gathers the values of one key.
type Result struct {
	rules *Rules
	key   address
	text  []byte
	count int
}

// Result begins the answer for key.
func (r *Rules) Result(key string) *Result { return &Result{rules: r, key: split(key)} }

// Add takes one value. An empty one, and one without the parts that
// result_format needs, is left out, as in Postfix.
func (x *Result) Add(value string) error {
	r, v := x.rules, split(value)
	if value == "" || v.lacks(r.valueUser, r.valueDomain) || x.key.lacks(r.keyUser, r.keyDomain) || !r.enough(x.key) {
		return nil
	}
	if len(x.text) > 0 {
		x.text = append(x.text, ',')
	}
	x.text = fill(x.text, r.Format, v, x.key, nil)
	if len(x.text) > MaxResult {
		return fmt.Errorf("result longer than %d bytes", MaxResult)
	}
	if x.count++; r.Limit > 0 && x.count > r.Limit {
		return ErrLimit
	}
	return nil
}

// Text returns the values with commas between them; an empty text is no answer.
func (x *Result) Text() (string, bool) { return string(x.text), len(x.text) > 0 }
