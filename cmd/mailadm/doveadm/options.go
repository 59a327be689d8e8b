package doveadm

import (
	"fmt"
	"strings"

	"packetboat/cmd/mailadm/doveadm/mails"
)

// options reads args as getopt_long(3) does: spec names the letters, one with ":"
// behind it wants a value; options may stand behind other arguments. name is what
// errors begin with. With plus set the first argument ends the options.
func options(name, spec string, long, args []string, plus bool) (*mails.Args, error) {
	a := &mails.Args{Opt: make(map[string][]string)}
	for len(args) > 0 {
		w := args[0]
		args = args[1:]
		var err error
		switch {
		case w == "--":
			a.Rest = append(a.Rest, args...)
			return a, nil
		case len(w) < 2 || w[0] != '-':
			a.Rest = append(a.Rest, w)
			if plus {
				a.Rest = append(a.Rest, args...)
				return a, nil
			}
		case strings.HasPrefix(w, "--") && len(long) > 0:
			args, err = longOption(a, name, w[2:], long, args)
		default:
			args, err = letters(a, name, spec, w[1:], args)
		}
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

// longOption reads "--name value" or "--name=value".
func longOption(a *mails.Args, name, w string, long, args []string) ([]string, error) {
	key, value, ok := strings.Cut(w, "=")
	for _, l := range long {
		if l != key {
			continue
		}
		if !ok && len(args) > 0 {
			value, args = args[0], args[1:]
		}
		a.Opt[key] = append(a.Opt[key], value)
		return args, nil
	}
	return nil, fmt.Errorf("%s: unrecognized option '--%s'", name, key)
}

// letters reads the letters of one word.
func letters(a *mails.Args, name, spec, w string, args []string) ([]string, error) {
	for w != "" {
		c := w[:1]
		w = w[1:]
		i := strings.Index(spec, c)
		if i < 0 || c == ":" {
			return nil, fmt.Errorf("%s: invalid option -- '%s'", name, c)
		}
		if i+1 == len(spec) || spec[i+1] != ':' {
			a.Opt[c] = append(a.Opt[c], "")
			continue
		}
		if w == "" {
			if len(args) == 0 {
				return nil, fmt.Errorf("%s: option requires an argument -- '%s'", name, c)
			}
			w, args = args[0], args[1:]
		}
		a.Opt[c] = append(a.Opt[c], w)
		return args, nil
	}
	return args, nil
}
