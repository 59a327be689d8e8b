package quota

import (
	"slices"
	"strconv"
	"strings"
)

// section is one section of a configuration of 2.4, out of the settings that the
// reader of dovecot.conf makes of it: "quota/User quota/quota_driver".
type section map[string]string

// sections returns the sections below a kind, by name.
func sections(s map[string]string, kind string) (list map[string]section, names []string) {
	list = map[string]section{}
	for key, value := range s {
		rest, ok := strings.CutPrefix(key, kind+"/")
		name, setting, deep := strings.Cut(rest, "/")
		if !ok || !deep {
			continue
		}
		if list[name] == nil {
			list[name] = section{}
			names = append(names, name)
		}
		list[name][setting] = value
	}
	slices.Sort(names)
	return list, names
}

// get returns a setting under its full name or the short one.
func (s section) get(name string) string {
	for _, prefix := range []string{"", "quota_", "quota_warning_", "quota_warning_quota_"} {
		if v, ok := s[prefix+name]; ok {
			return v
		}
	}
	return ""
}

// defaultGrace is quota_storage_grace's default, in octets.
const defaultGrace = 10 << 20

// newer reads the quotas of a configuration of 2.4.
func (c *Config) newer(s Settings, expand func(string) string) error {
	list, names := sections(s, "quota")
	for _, name := range names {
		r, err := list[name].root(name, expand)
		if err != nil {
			return err
		}
		c.Roots = append(c.Roots, r)
	}
	spaces, spaceNames := sections(s, "namespace")
	for _, ns := range spaceNames {
		boxes, boxNames := sections(spaces[ns], "mailbox")
		for _, box := range boxNames {
			rule := Rule{Mailbox: box, Ignore: yes(boxes[box].get("ignore"))}
			err := boxes[box].sizes(&rule.Limits, &rule.percent, "extra", "percentage")
			if err != nil {
				return err
			}
			for _, r := range c.Roots {
				r.Rules = append(r.Rules, rule)
			}
		}
	}
	return c.newerOver(s, expand)
}

// sizes reads storage_WHAT and message_WHAT, and the percentages where they are not
// 100.
func (s section) sizes(l, percent *Limits, what, part string) error {
	for name, into := range map[string]*int64{"storage_" + what: &l.Bytes, "message_" + strings.Replace(what, "size", "count", 1): &l.Count} {
		if v := s.get(name); v != "" && v != "unlimited" {
			n, err := Size(v, 1)
			if err != nil {
				return bad("quota_"+name, "%v", err)
			}
			*into = n
		}
	}
	for name, into := range map[string]*int64{"storage_" + part: &percent.Bytes, "message_" + part: &percent.Count} {
		if v := s.get(name); v != "" {
			n, err := strconv.ParseInt(strings.TrimSuffix(v, "%"), 10, 32)
			if err != nil || n < 0 {
				return bad("quota_"+name, "Invalid percentage: %s", v)
			}
			*into = n - 100
		}
	}
	return nil
}

func (s section) root(name string, expand func(string) string) (*Root, error) {
	r := &Root{Name: name, Driver: s.get("driver"), Forced: true, Virtual: true, Grace: defaultGrace, Hidden: yes(s.get("hidden")),
		Lax: s.get("enforce") == "no", OnlyIf: yes(s.get("ignore_unlimited"))}
	switch r.Driver {
	case "":
		r.Driver = Count
	case Count, Maildir:
	default:
		return nil, bad("quota "+name, "unknown quota driver: %s", r.Driver)
	}
	if v := s.get("name"); v != "" {
		r.Name = expand(v)
	}
	var percent Limits
	if err := s.sizes(&r.Limits, &percent, "size", "percentage"); err != nil {
		return nil, err
	}
	r.Limits.Bytes += r.Limits.Bytes * percent.Bytes / 100
	r.Limits.Count += r.Limits.Count * percent.Count / 100
	if v := s.get("storage_grace"); v != "" {
		n, err := Size(v, 1)
		if err != nil {
			return nil, bad("quota_storage_grace", "%v", err)
		}
		r.Grace = n
	}
	list, names := sections(s, "quota_warning")
	for _, n := range names {
		w, err := list[n].warning(expand)
		if err != nil {
			return nil, err
		}
		r.Warnings = append(r.Warnings, w)
	}
	return r, nil
}

// warning reads a warning { } section; without a percentage of its own it means
// the whole limit.
func (s section) warning(expand func(string) string) (Warning, error) {
	w := Warning{Below: s.get("threshold") == "under", Count: s.get("resource") == "message", percent: 100, Command: s.execute(expand)}
	name := "storage_percentage"
	if w.Count {
		name = "message_percentage"
	}
	if v := s.get(name); v != "" {
		n, err := strconv.ParseInt(strings.TrimSuffix(v, "%"), 10, 32)
		if err != nil || n <= 0 {
			return w, bad("quota_"+name, "Invalid percentage: %s", v)
		}
		w.percent = n
	}
	return w, nil
}

// execute reads an execute { } section: its name is the socket.
func (s section) execute(expand func(string) string) (c Command) {
	list, names := sections(s, "execute")
	if len(names) == 0 {
		return c
	}
	c.Socket = names[0]
	e := list[names[0]]
	if v := e["execute_name"]; v != "" {
		c.Socket = v
	}
	return Command{Socket: c.Socket, Args: strings.Fields(expand(e["execute_args"]))}
}

// newerOver reads quota_over_status { }.
func (c *Config) newerOver(s Settings, expand func(string) string) error {
	o := section{}
	for key, v := range s {
		if rest, ok := strings.CutPrefix(key, "quota_over_status/"); ok {
			o[strings.TrimPrefix(rest, "/")] = v
		}
	}
	if len(o) == 0 {
		return nil
	}
	c.Over = OverFlag{Value: o.get("over_status_current"), Pattern: o.get("over_status_mask"), Lazy: yes(o.get("over_status_lazy_check")), Command: o.execute(expand)}
	return nil
}
