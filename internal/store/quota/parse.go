package quota

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// maxRoots bounds quota, quota2 ... and the rules and warnings of each.
const maxRoots = 1000

// Parse reads the settings of plugin { }. expand puts the user into what has
// variables; nil takes them as they stand, to check a configuration.
func Parse(s Settings, expand func(string) string) (*Config, error) {
	if expand == nil {
		expand = func(v string) string { return v }
	}
	c := &Config{Exceeded: fullText}
	if v := s["quota_exceeded_message"]; v != "" {
		c.Exceeded = expand(v)
	}
	name := "quota_max_mail_size"
	if s[name] == "" {
		name = "quota_mail_size" // of 2.4
	}
	if v := s[name]; v != "" && v != "unlimited" {
		n, err := Size(v, 1)
		if err != nil {
			return nil, bad(name, "%v", err)
		}
		c.MaxMail = n
	}
	for i := range numbered("quota", s) {
		key := numberedName("quota", i)
		r, err := parseRoot(key, s, expand)
		if err != nil {
			return nil, err
		}
		c.Roots = append(c.Roots, r)
	}
	if err := c.newer(s, expand); err != nil {
		return nil, err
	}
	return c, c.parseOver(s, expand)
}

// numbered returns how many of name, name2, name3 ... are set.
func numbered(name string, s Settings) int {
	for i := range maxRoots {
		if s[numberedName(name, i)] == "" {
			return i
		}
	}
	return maxRoots
}

func numberedName(name string, i int) string {
	if i == 0 {
		return name
	}
	return name + strconv.Itoa(i+1)
}

// parseRoot reads "driver:name:parameters" and what belongs to it.
func parseRoot(key string, s Settings, expand func(string) string) (*Root, error) {
	driver, rest, _ := strings.Cut(expand(s[key]), ":")
	name, params, _ := strings.Cut(rest, ":")
	r := &Root{Name: name, Driver: driver, Percent: 10, Virtual: yes(s["quota_vsizes"])}
	switch driver {
	case Count, Maildir, Dirsize:
		if err := r.parameters(key, params); err != nil {
			return nil, err
		}
	case Dict:
		if err := r.dict(key, params); err != nil {
			return nil, err
		}
	case "fs":
		return nil, bad(key, "the driver fs shows the kernel's quota, which is not built; the kernel holds users to it without any setting")
	default:
		return nil, bad(key, "unknown quota backend: %s", driver)
	}
	if yes(s["quota_vsizes"]) && driver == Maildir {
		return nil, bad("quota_vsizes", "is not supported with quota = maildir, whose file holds the octets on disk")
	}
	if driver == Count && !yes(s["quota_vsizes"]) {
		return nil, bad(key, "quota count backend: quota_vsizes=yes must be set")
	}
	if v := s[key+"_grace"]; v != "" {
		if err := r.parseGrace(v); err != nil {
			return nil, bad(key+"_grace", "%v", err)
		}
	}
	for i := range numbered(key+"_rule", s) {
		n := numberedName(key+"_rule", i)
		if err := r.rule(expand(s[n])); err != nil {
			return nil, bad(n, "%v", err)
		}
	}
	for i := range numbered(key+"_warning", s) {
		n := numberedName(key+"_warning", i)
		if err := r.warning(expand(s[n])); err != nil {
			return nil, bad(n, "%v", err)
		}
	}
	return r, nil
}

func yes(v string) bool { return v != "" && v != "no" && v != "0" }

// parameters reads what stands behind the name of a root.
func (r *Root) parameters(key, params string) error {
	if params == "" {
		return nil
	}
	for p := range strings.SplitSeq(params, ":") {
		if p != "" && !r.parameter(p) {
			return bad(key, "unknown parameter for backend %s: %s", r.Driver, p)
		}
	}
	return nil
}

func (r *Root) parameter(p string) bool {
	switch p {
	case "noenforcing":
		r.Lax = true
	case "hidden":
		r.Hidden = true
	case "ignoreunlimited":
		r.OnlyIf = true
	default:
		prefix, ok := strings.CutPrefix(p, "ns=")
		r.Space, r.InSpace = prefix, ok
		return ok
	}
	return true
}

// dict reads "username:parameters:file:/path".
func (r *Root) dict(key, params string) error {
	_, rest, _ := strings.Cut(params, ":") // whose keys they are: a file holds those of one user
	for {
		p, more, _ := strings.Cut(rest, ":")
		if p != "no-unset" && !r.parameter(p) {
			break
		}
		rest = more
	}
	driver, path, _ := strings.Cut(rest, ":")
	if driver != "file" || path == "" {
		return bad(key, "a dict of driver %q is not supported: only dict:NAME:USER:file:PATH is", driver)
	}
	r.File = path
	return nil
}

func (r *Root) parseGrace(v string) (err error) {
	r.Percent = 0
	if p, ok := strings.CutSuffix(v, "%"); ok {
		r.Percent, err = strconv.ParseInt(p, 10, 32)
		return err
	}
	r.Grace, err = Size(v, 1024)
	return err
}

// rule reads "mailbox:limit:limit".
func (r *Root) rule(v string) error {
	box, limits, ok := strings.Cut(v, ":")
	if !ok {
		return fmt.Errorf("invalid rule: %s", v)
	}
	all := box == "*" || box == "?"
	rule := Rule{Mailbox: box}
	if limits == "ignore" {
		if all {
			return nil // ignoring all mail limits nothing
		}
		rule.Ignore = true
	} else if err := rule.parse(limits, all); err != nil {
		return err
	}
	if !all {
		r.Rules = append(r.Rules, rule)
		return nil
	}
	if rule.Bytes < 0 || rule.Count < 0 {
		return fmt.Errorf("invalid rule %s: limits can't be negative", v)
	}
	if box == "*" || !r.Forced {
		r.Limits, r.Forced = rule.Limits, r.Forced || box == "*"
	}
	return nil
}

// parse reads "storage=1G:messages=100".
func (rule *Rule) parse(limits string, all bool) error {
	for l := range strings.SplitSeq(limits, ":") {
		name, value, _ := strings.Cut(l, "=")
		into, part, unit := &rule.Bytes, &rule.percent.Bytes, int64(1024)
		switch name {
		case "storage":
		case "bytes":
			unit = 1
		case "messages":
			into, part, unit = &rule.Count, &rule.percent.Count, 1
		case "backend", "": // of file system quotas, and nothing
			continue
		default:
			return fmt.Errorf("invalid rule %s: Unknown rule limit name: %s", limits, l)
		}
		if p, ok := strings.CutSuffix(value, "%"); ok {
			n, err := strconv.ParseInt(p, 10, 32)
			if err != nil || all {
				return fmt.Errorf("invalid rule %s: Default rule can't be a percentage", limits)
			}
			*part = n
			continue
		}
		n, err := Size(value, unit)
		if err != nil {
			return fmt.Errorf("invalid rule %s: %v", limits, err)
		}
		*into = n
	}
	return nil
}

// Size reads a number with a unit: B, k, M, G, T, or without one in units of unit.
func Size(v string, unit int64) (int64, error) {
	digits := strings.TrimRight(v, "bBkKmMgGtTiI")
	switch strings.ToLower(strings.TrimSuffix(strings.ToLower(v[len(digits):]), "ib")) {
	case "":
	case "b":
		unit = 1
	case "k", "kb":
		unit = 1 << 10
	case "m", "mb":
		unit = 1 << 20
	case "g", "gb":
		unit = 1 << 30
	case "t", "tb":
		unit = 1 << 40
	default:
		return 0, fmt.Errorf("unknown unit: %s", v[len(digits):])
	}
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || n > math.MaxInt64/unit/4 || n < -math.MaxInt64/unit/4 {
		return 0, fmt.Errorf("invalid number: %s", v)
	}
	return n * unit, nil
}

// Reads tells the names of settings that Parse reads.
func Reads(name string) bool {
	return strings.HasPrefix(name, "quota") || strings.HasPrefix(name, "namespace/") && strings.Contains(name, "/quota_")
}
