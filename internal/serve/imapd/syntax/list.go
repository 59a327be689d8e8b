package syntax

import "strings"

// maxPatterns is the number of patterns of one LIST: each is held against every
// folder.
const maxPatterns = 100

// ListArgs are the arguments of LIST (RFC 3501 section 6.3.8, RFC 5258 section 6).
type ListArgs struct {
	Ref      string
	Patterns []string
	Extended bool // options or several patterns: no attribute is told but those asked for

	Subscribed bool // selection options
	Recursive  bool
	SpecialUse bool

	RetChildren   bool // return options
	RetSubscribed bool
	RetSpecialUse bool
	RetStatus     []Arg // items of STATUS (RFC 5819); nil = not asked for
	RetMetadata   []Arg // names of entries (RFC 9590)
}

// ParseList reads the arguments of LIST; those of LSUB and XLIST have no options.
func ParseList(args []Arg, options bool) (l ListArgs, err error) {
	if options && len(args) > 0 && args[0].Kind == List {
		if err := l.selection(args[0].List); err != nil {
			return l, err
		}
		args, l.Extended = args[1:], true
	}
	if len(args) == 0 || !args[0].IsString() {
		return l, Error("Invalid reference")
	}
	l.Ref = string(args[0].Text)
	if err := l.patterns(args[1:], options); err != nil {
		return l, err
	}
	if args = args[2:]; len(args) == 0 {
		return l, nil
	}
	if !options || len(args) != 2 || !args[0].Is("RETURN") || args[1].Kind != List {
		return l, Error("Extra arguments")
	}
	l.Extended = true
	return l, l.returns(args[1].List)
}

func (l *ListArgs) patterns(args []Arg, options bool) error {
	if len(args) == 0 {
		return Error("Invalid pattern")
	}
	list := args[:1]
	if args[0].Kind == List && options {
		list, l.Extended = args[0].List, true
	}
	if len(list) > maxPatterns {
		return Error("Too many patterns")
	}
	for i := range list {
		if !list[i].IsString() {
			return Error("Invalid pattern")
		}
		l.Patterns = append(l.Patterns, string(list[i].Text))
	}
	return nil
}

// selection reads the options in front of the reference.
func (l *ListArgs) selection(list []Arg) error {
	remote := false
	for i := range list {
		switch a := &list[i]; {
		case a.Is("SUBSCRIBED"):
			l.Subscribed, l.RetSubscribed = true, true
		case a.Is("RECURSIVEMATCH"):
			l.Recursive = true
		case a.Is("SPECIAL-USE"):
			l.SpecialUse, l.RetSpecialUse = true, true
		case a.Is("REMOTE"):
			remote = true // there are no mailboxes elsewhere
		default:
			return Error("Unknown select options")
		}
	}
	_ = remote
	if l.Recursive && !l.Subscribed && !l.SpecialUse {
		// RFC 5258 section 3.1: it says how another option selects.
		return Error("RECURSIVEMATCH must not be the only selection")
	}
	return nil
}

// returns reads the options behind RETURN.
func (l *ListArgs) returns(list []Arg) error {
	for i := 0; i < len(list); i++ {
		switch a := &list[i]; {
		case a.Is("CHILDREN"):
			l.RetChildren = true
		case a.Is("SUBSCRIBED"):
			l.RetSubscribed = true
		case a.Is("SPECIAL-USE"):
			l.RetSpecialUse = true
		case a.Is("STATUS") && i+1 < len(list) && list[i+1].Kind == List:
			i++
			l.RetStatus = append([]Arg{}, list[i].List...)
		case a.Is("METADATA") && i+1 < len(list) && list[i+1].Kind == List:
			i++
			l.RetMetadata = list[i].List
		default:
			return Error("Unknown return options")
		}
	}
	return nil
}

// Matchers returns what tells whether a name fits one of the patterns.
func (l *ListArgs) Matchers(sep byte) func(name string) bool {
	var all []func(string) bool
	for _, p := range l.Patterns {
		all = append(all, NewMatcher(l.Ref+p, sep))
	}
	return func(name string) bool {
		for _, m := range all {
			if m(name) {
				return true
			}
		}
		return false
	}
}

// Whole returns the patterns with the reference before them.
func (l *ListArgs) Whole() []string {
	var list []string
	for _, p := range l.Patterns {
		list = append(list, strings.Join([]string{l.Ref, p}, ""))
	}
	return list
}
