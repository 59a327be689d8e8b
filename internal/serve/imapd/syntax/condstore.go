package syntax

import (
	"strconv"
	"strings"
)

// modSeq reads a mod-sequence-valzer: RFC 7162 section 7, 63 bits.
func modSeq(a *Arg) (uint64, bool) {
	n, err := strconv.ParseUint(string(a.Text), 10, 63)
	return n, err == nil && a.Kind == Atom
}

// Since is the modifier of FETCH: RFC 7162 sections 3.1.4.1 and 3.2.6.
type Since struct {
	Given    bool
	ModSeq   uint64
	Vanished bool
	Window   Result // PARTIAL of RFC 9394, where Window.Partial is set
}

// ParseSince takes "(CHANGEDSINCE n [VANISHED] [PARTIAL from:to])" off the arguments of FETCH. uid
// says that it is UID FETCH, which alone may have VANISHED.
func ParseSince(args []Arg, uid bool) (rest []Arg, s Since, err error) {
	n := len(args)
	if n < 3 || args[n-1].Kind != List {
		return args, s, nil
	}
	list := args[n-1].List
	for i := 0; i < len(list); i++ {
		switch a := &list[i]; {
		case a.Is("CHANGEDSINCE"):
			var ok bool
			if i++; i < len(list) {
				s.ModSeq, ok = modSeq(&list[i])
			}
			if s.Given = true; !ok {
				return nil, s, Error("Invalid CHANGEDSINCE modseq")
			}
		case a.Is("PARTIAL") && uid:
			if i++; i == len(list) || !s.Window.partial(string(list[i].Text)) {
				return nil, s, Error("PARTIAL range broken")
			}
		case a.Is("VANISHED") && uid:
			s.Vanished = true
		default:
			return nil, s, Error("Unknown FETCH modifier")
		}
	}
	if s.Vanished && !s.Given {
		return nil, s, Error("VANISHED used without CHANGEDSINCE")
	}
	return args[:n-1], s, nil
}

// Unchanged is the modifier of STORE: RFC 7162 section 3.1.3.
type Unchanged struct {
	Given  bool
	ModSeq uint64
}

// ParseUnchanged takes "(UNCHANGEDSINCE n)" out of the arguments of STORE.
func ParseUnchanged(args []Arg) (rest []Arg, u Unchanged, err error) {
	if args[1].Kind != List {
		return args, u, nil
	}
	list := args[1].List
	for i := 0; i < len(list); i++ {
		if i+1 == len(list) {
			return nil, u, Error("Invalid STORE modifiers")
		}
		if !list[i].Is("UNCHANGEDSINCE") {
			return nil, u, Error("Unknown STORE modifier")
		}
		i++
		var ok bool
		if u.ModSeq, ok = modSeq(&list[i]); !ok {
			return nil, u, Error("Invalid modseq")
		}
		u.Given = true
	}
	if len(args) < 3 {
		return nil, u, Error("Invalid arguments")
	}
	return append(args[:1:1], args[2:]...), u, nil
}

// Select is what stands behind the mailbox of SELECT and EXAMINE: RFC 7162
// sections 3.1.8 and 3.2.5.
type Select struct {
	CondStore bool
	QResync   bool
	Validity  uint32
	ModSeq    uint64
	Known     Set // UIDs that the client knows; nil = all
}

// ParseSelect reads the parameters of SELECT.
func ParseSelect(args []Arg) (s Select, err error) {
	if len(args) == 0 || args[0].Kind != List {
		return s, nil
	}
	list := args[0].List
	for i := 0; i < len(list); i++ {
		switch a := &list[i]; {
		case a.Is("CONDSTORE"):
			s.CondStore = true
		case a.Is("QRESYNC"):
			if i++; i == len(list) || list[i].Kind != List {
				return s, Error("QRESYNC parameters missing")
			}
			s.QResync = true
			if !s.resync(list[i].List) {
				return s, Error("Invalid QRESYNC parameters")
			}
		default:
			return s, Error("Unknown FETCH modifier")
		}
	}
	return s, nil
}

// resync reads (uidvalidity modseq [known-uids] [seq-match-data]). What numbers
// the client knows is read over: more may be told than it needs.
func (s *Select) resync(list []Arg) bool {
	if len(list) < 2 || len(list) > 4 {
		return false
	}
	v, ok := modSeq(&list[0])
	if !ok || v == 0 || v > 1<<32-1 {
		return false
	}
	s.Validity = uint32(v)
	if s.ModSeq, ok = modSeq(&list[1]); !ok {
		return false
	}
	list = list[2:]
	if len(list) > 0 && list[0].Kind == Atom {
		if s.Known, ok = ParseSet(list[0].Text); !ok || strings.Contains(string(list[0].Text), "*") {
			return false
		}
		s.Known = s.Known.Resolve(0)
		list = list[1:]
	}
	if len(list) == 0 {
		return true
	}
	if len(list) > 1 || list[0].Kind != List || len(list[0].List) != 2 {
		return false
	}
	for _, a := range list[0].List {
		if _, ok := ParseSet(a.Text); !ok {
			return false
		}
	}
	return true
}

// modSeqKey reads MODSEQ of SEARCH: RFC 7162 section 3.1.5. An entry name may stand
// before the number; there is one modseq for all flags of a message.
func modSeqKey(args []Arg) (Key, []Arg, error) {
	if len(args) > 2 && args[0].Kind == String {
		args = args[2:]
	}
	if len(args) == 0 {
		return Key{}, nil, Error("Missing parameter for search key (for search key: MODSEQ)")
	}
	n, ok := modSeq(&args[0])
	if !ok {
		return Key{}, nil, Error("Invalid MODSEQ value")
	}
	return Key{Op: KeyModSeq, Num: int64(n)}, args[1:], nil
}

// HasModSeq tells whether a search asks for modseqs.
func (k *Key) HasModSeq() bool {
	for i := range k.Keys {
		if k.Keys[i].HasModSeq() {
			return true
		}
	}
	return k.Op == KeyModSeq
}
