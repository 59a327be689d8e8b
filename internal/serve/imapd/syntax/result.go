package syntax

import (
	"strconv"
	"strings"
)

// Result is what RETURN of SEARCH and SORT asks for: RFC 4731, RFC 5267, RFC 5182
// and RFC 9394.
type Result struct {
	Extended                   bool // RETURN was there: the answer is an ESEARCH
	Min, Max, All, Count, Save bool
	Partial                    bool
	Update                     bool   // CONTEXT=SEARCH: it is kept up to date
	ModSeq                     bool   // a key of the search was MODSEQ: the highest is told (RFC 7162 section 3.1.5)
	From, To                   int64  // of PARTIAL, counted from 1; negative from the end
	Range                      string // of PARTIAL, as the client wrote it
}

// ParseResult reads "RETURN (...)" where it is there, and returns what follows.
func ParseResult(args []Arg) (r Result, rest []Arg, err error) {
	if len(args) < 2 || !args[0].Is("RETURN") || args[1].Kind != List {
		return r, args, nil
	}
	r.Extended = true
	list := args[1].List
	for i := 0; i < len(list); i++ {
		switch a := &list[i]; {
		case a.Is("MIN"):
			r.Min = true
		case a.Is("MAX"):
			r.Max = true
		case a.Is("ALL"):
			r.All = true
		case a.Is("COUNT"):
			r.Count = true
		case a.Is("UPDATE"):
			r.Update = true
		case a.Is("CONTEXT"): // a hint that the client will ask again
		case a.Is("SAVE"):
			r.Save = true
		case a.Is("PARTIAL"):
			if i++; i == len(list) || !r.partial(string(list[i].Text)) {
				return r, nil, Error("PARTIAL range broken")
			}
		default:
			return r, nil, Error("Unknown SEARCH return option")
		}
	}
	if r.Partial && r.All {
		return r, nil, Error("PARTIAL conflicts with ALL")
	}
	if !r.Min && !r.Max && !r.Count && !r.Save && !r.Partial && !r.Update {
		r.All = true // RFC 4731 section 3.1: an empty list means ALL
	}
	return r, args[2:], nil
}

// partial reads "from:to", both counted from the front or both from the end.
func (r *Result) partial(text string) bool {
	a, b, ok := strings.Cut(text, ":")
	from, err1 := strconv.ParseInt(a, 10, 33)
	to, err2 := strconv.ParseInt(b, 10, 33)
	if !ok || err1 != nil || err2 != nil || from == 0 || to == 0 || (from < 0) != (to < 0) {
		return false
	}
	if abs(from) > abs(to) {
		from, to = to, from
	}
	r.Partial, r.From, r.To, r.Range = true, from, to, text
	return true
}

func abs(n int64) int64 { return max(n, -n) }

// Window returns which of n results PARTIAL asks for: list[from:to].
func (r *Result) Window(n int) (from, to int) {
	if r.From > 0 {
		return int(min(r.From-1, int64(n))), int(min(r.To, int64(n)))
	}
	return int(max(int64(n)+r.To, 0)), int(max(int64(n)+r.From+1, 0))
}
