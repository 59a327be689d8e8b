package syntax

import "strings"

// Filter is a set of mailboxes as NOTIFY and ESEARCH name them: RFC 5465 section 6,
// RFC 7377 section 2.2.
type Filter struct {
	Kind  FilterKind
	Names []string // of Subtree, SubtreeOne and Mailboxes, as the client wrote them
}

// FilterKind is a word of a Filter.
type FilterKind uint8

// The values of FilterKind.
const (
	Selected FilterKind = iota
	SelectedDelayed
	Inboxes
	Personal
	Subscribed
	Subtree
	SubtreeOne
	Mailboxes
)

// filterWords are they in the form of the wire, by FilterKind.
var filterWords = [...]string{"SELECTED", "SELECTED-DELAYED", "INBOXES", "PERSONAL", "SUBSCRIBED", "SUBTREE", "SUBTREE-ONE", "MAILBOXES"}

// maxFilterNames is the number of mailboxes of one filter.
const maxFilterNames = 1000

// ParseFilter reads a filter at the beginning of args and returns what follows it.
func ParseFilter(args []Arg) (f Filter, rest []Arg, err error) {
	if len(args) == 0 || args[0].Kind != Atom {
		return f, nil, Error("Mailbox filter isn't an atom")
	}
	found := false
	for k, w := range filterWords {
		if args[0].Is(w) {
			f.Kind, found = FilterKind(k), true
		}
	}
	if !found {
		return f, nil, Error("Unknown mailbox filter " + strings.ToUpper(string(args[0].Text)))
	}
	args = args[1:]
	if f.Kind < Subtree {
		return f, args, nil
	}
	if len(args) == 0 {
		return f, nil, Error("Missing mailbox list")
	}
	list := args[:1]
	if args[0].Kind == List {
		list = args[0].List
	}
	if len(list) == 0 || len(list) > maxFilterNames {
		return f, nil, Error("Invalid mailbox list")
	}
	for i := range list {
		if !list[i].IsString() {
			return f, nil, Error("Mailbox list isn't a list of strings")
		}
		f.Names = append(f.Names, string(list[i].Text))
	}
	return f, args[1:], nil
}
