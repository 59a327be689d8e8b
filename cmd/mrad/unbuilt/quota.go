package unbuilt

import (
	"path"
	"strings"

	"packetboat/cmd/internal/quotas"
	"packetboat/cmd/mrad/scripts"
	"packetboat/internal/auth"
	"packetboat/internal/store/quota"
	"packetboat/internal/sys/config"
)

// badQuota reads the quota's settings as the processes will that hold a user to it.
func (s Checker) badQuota() (errs []error) {
	seen := map[string]bool{}
	for _, proto := range append([]string{"imap", "lmtp"}, s.Protocols...) {
		list := quotas.Of(s.Conf, proto, &auth.UserInfo{User: "x@y.z", Home: "/home/x", Mail: "maildir:/home/x/Maildir"})
		if _, err := quota.Parse(list, nil); err != nil && !seen[err.Error()] {
			seen[err.Error()] = true
			errs = append(errs, s.quotaError(err))
		}
	}
	return errs
}

// quotaError gives an error of a setting the place where it is set.
func (s Checker) quotaError(err error) error {
	name, _, _ := strings.Cut(err.Error(), ":")
	e := &config.Error{File: s.Conf.Path, Text: "plugin { " + name + " }" + strings.TrimPrefix(err.Error(), name), Hint: "see QUOTAS in mrad(8)"}
	s.places(func(b *config.Block) {
		if b.Kind != "plugin" {
			return
		}
		for _, v := range b.Values {
			if v.Name == name || strings.HasSuffix(v.Name, "/"+name) {
				e.File, e.Line = v.File, v.Line
			}
		}
	})
	return e
}

// places calls fn for the sections of the root and of the filters.
func (s Checker) places(fn func(*config.Block)) {
	for _, b := range s.Conf.Root().Blocks {
		fn(b)
	}
	s.Conf.Filters(func(_ config.Filter, f *config.Block) {
		for _, b := range f.Blocks {
			fn(b)
		}
	})
}

// own tells whether a service is one that the administrator may make for himself:
// quota-status, or a script.
func own(b *config.Block) bool {
	v := b.Find("executable")
	if v == nil {
		return b.Name == "quota-status"
	}
	_, script := scripts.Command(v.Value)
	return script || path.Base(firstWord(v.Value)) == "quota-status"
}

func firstWord(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), " ")
	return s
}

// badScript tells of a script service whose command cannot be run.
func badScript(b *config.Block) (errs []error) {
	v := b.Find("executable")
	if v == nil || path.Base(firstWord(v.Value)) != "script" {
		return nil
	}
	if _, ok := scripts.Command(v.Value); !ok {
		errs = append(errs, &config.Error{File: v.File, Line: v.Line, Text: "service " + b.Name + " { executable }: names no command by its whole path",
			Hint: "write executable = script /usr/local/bin/command"})
	}
	return errs
}
