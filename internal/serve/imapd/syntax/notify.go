package syntax

import "strings"

// Notify is the argument of NOTIFY: RFC 5465 section 3.1.
type Notify struct {
	Status bool // the STATUS of every mailbox is told at once
	Groups []Group
}

// Group is one event group: what is told of some mailboxes.
type Group struct {
	Filter
	Messages bool   // MessageNew and MessageExpunge, which go together
	Flags    bool   // FlagChange
	Names    bool   // MailboxName
	Subs     bool   // SubscriptionChange
	Fetch    []Item // of new messages; only of the selected mailbox
}

// BadEvent is an event that is not supported: NO [BADEVENT ...].
type BadEvent string

// Error returns the text behind NO.
func (e BadEvent) Error() string { return "[BADEVENT " + string(e) + "] Unsupported NOTIFY events" }

// ParseNotify reads the arguments of NOTIFY; nil stands for NONE.
func ParseNotify(args []Arg) (*Notify, error) {
	switch {
	case len(args) > 0 && args[0].Is("NONE"):
		return nil, nil
	case len(args) == 0 || !args[0].Is("SET"):
		return nil, Error("Invalid arguments")
	}
	var n Notify
	args = args[1:]
	if len(args) > 0 && args[0].Is("STATUS") {
		n.Status, args = true, args[1:]
	}
	if len(args) == 0 && !n.Status {
		return nil, Error("Invalid arguments")
	}
	selected := false
	for i := range args {
		if args[i].Kind != List {
			return nil, Error("Invalid arguments")
		}
		g, err := parseGroup(args[i].List)
		if err != nil {
			return nil, err
		}
		if g.Kind <= SelectedDelayed {
			if selected {
				return nil, Error("Duplicate selected filter")
			}
			selected = true
		}
		n.Groups = append(n.Groups, g)
	}
	return &n, nil
}

// parseGroup reads a filter and its events.
func parseGroup(list []Arg) (g Group, err error) {
	f, rest, err := ParseFilter(list)
	if err != nil || len(rest) != 1 || f.Kind == SubtreeOne {
		return g, Error("Invalid arguments")
	}
	g.Filter = f
	if rest[0].Is("NONE") {
		return g, nil
	}
	if rest[0].Kind != List || len(rest[0].List) == 0 {
		return g, Error("Invalid arguments")
	}
	return g, g.events(rest[0].List)
}

// events reads the events of a group: RFC 5465 section 5.
func (g *Group) events(list []Arg) error {
	fresh, gone := false, false
	for i := 0; i < len(list); i++ {
		switch a := &list[i]; {
		case a.Is("MessageNew"):
			fresh = true
			if i+1 < len(list) && list[i+1].Kind == List {
				i++
				if g.Kind > SelectedDelayed {
					return Error("Invalid arguments")
				}
				items, err := ParseFetch(list[i : i+1])
				if err != nil {
					return err
				}
				for k := range items {
					items[k].Section.Peek = true // RFC 5465 section 5.2: nothing becomes \Seen by it
				}
				g.Fetch = items
			}
		case a.Is("MessageExpunge"):
			gone = true
		case a.Is("FlagChange"):
			g.Flags = true
		case a.Is("MailboxName"):
			g.Names = true
		case a.Is("SubscriptionChange"):
			g.Subs = true
		case a.Is("AnnotationChange"), a.Is("MailboxMetadataChange"), a.Is("ServerMetadataChange"):
			return BadEvent(a.Text)
		default:
			return Error("Invalid arguments")
		}
	}
	switch {
	case fresh != gone:
		return Error("MessageNew and MessageExpunge must be together")
	case g.Flags && !fresh:
		return Error("FlagChange requires MessageNew and MessageExpunge")
	case g.Kind <= SelectedDelayed && (g.Names || g.Subs):
		return Error("Mailbox events are not of the selected mailbox: " + strings.ToLower(filterWords[g.Kind]))
	}
	g.Messages = fresh
	return nil
}
