package quota

import (
	"fmt"
	"strconv"
	"strings"
)

// Warning is a command that runs when a limit is passed, from below or, with
// Below, from above. Of several the first that was passed runs.
type Warning struct {
	Below   bool
	Count   bool  // a number of messages, not octets
	Limit   int64 // octets or messages
	percent int64 // of the root's limit instead
	Command Command
}

// Command is a service "script" of dovecot.conf: a socket below base_dir, and
// arguments.
type Command struct {
	Socket string
	Args   []string
}

// OverFlag is quota_over_flag: what the userdb says of a user against what is so.
type OverFlag struct {
	Value   string // the userdb's field quota_over_flag
	Pattern string // quota_over_flag_value
	Lazy    bool   // quota_over_flag_lazy_check
	Command Command
}

// wrong tells whether the userdb is mistaken about over.
func (o *OverFlag) wrong(over bool) bool {
	return o.Command.Socket != "" && (o.Value != "" && match(o.Pattern, o.Value)) != over
}

// warning reads "storage=80% command args", with "-" in front for Below.
func (r *Root) warning(v string) error {
	limit, command, ok := strings.Cut(v, " ")
	if !ok || strings.TrimSpace(command) == "" {
		return fmt.Errorf("no command specified: %s", v)
	}
	var w Warning
	limit, w.Below = strings.CutPrefix(limit, "-")
	if limit, ok = strings.CutPrefix(limit, "+"); ok {
		w.Below = false
	}
	name, value, _ := strings.Cut(limit, "=")
	unit := int64(1024)
	switch name {
	case "storage":
	case "bytes":
		unit = 1
	case "messages":
		w.Count, unit = true, 1
	default:
		return fmt.Errorf("invalid warning rule: Unknown rule limit name: %s", limit)
	}
	var err error
	if p, ok := strings.CutSuffix(value, "%"); ok {
		w.percent, err = strconv.ParseInt(p, 10, 32)
	} else {
		w.Limit, err = Size(value, unit)
	}
	if err != nil {
		return fmt.Errorf("invalid warning rule: %s", limit)
	}
	w.Command = command1(command)
	r.Warnings = append(r.Warnings, w)
	return nil
}

func command1(s string) (c Command) {
	words := strings.Fields(s)
	if len(words) > 0 {
		c.Socket, c.Args = words[0], words[1:]
	}
	return c
}

// passed returns the command that a change from before to after asks for.
func (r *Root) passed(all Limits, before, after Usage) (Command, bool) {
	for i := range r.Warnings {
		w := &r.Warnings[i]
		old, now, limit, whole := before.Bytes, after.Bytes, w.Limit, all.Bytes
		if w.Count {
			old, now, whole = before.Count, after.Count, all.Count
		}
		if w.percent != 0 {
			limit = whole * w.percent / 100
		}
		if limit <= 0 {
			continue
		}
		if !w.Below && old < limit && now >= limit || w.Below && old >= limit && now < limit {
			return w.Command, true
		}
	}
	return Command{}, false
}

// parseOver reads the settings of quota_over_flag.
func (c *Config) parseOver(s Settings, expand func(string) string) error {
	script := s["quota_over_script"]
	if script == "" {
		return nil
	}
	if s["quota_over_flag_value"] == "" {
		return bad("quota_over_script", "quota_over_flag_value must be set as well")
	}
	c.Over = OverFlag{Value: s["quota_over_flag"], Pattern: expand(s["quota_over_flag_value"]), Lazy: yes(s["quota_over_flag_lazy_check"]),
		Command: command1(expand(script))}
	return nil
}
