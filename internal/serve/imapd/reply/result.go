package reply

import (
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/serve/imapd/wire"
)

// ResultData writes what an ESEARCH tells of a result: numbers, or UIDs.
func ResultData(o *wire.Output, v *view.View, want syntax.Result, list []int, uid bool) {
	if n := len(list); n > 0 {
		if want.Min {
			o.Text(" MIN ")
			o.Num(int64(Number(v, list[0], uid)))
		}
		if want.Max {
			o.Text(" MAX ")
			o.Num(int64(Number(v, list[n-1], uid)))
		}
		if want.All {
			o.Text(" ALL ")
			o.Buf = numberSet(v, list, uid).Append(o.Buf)
		}
	}
	if want.Partial {
		o.Text(" PARTIAL (", want.Range, " ")
		if from, to := want.Window(len(list)); from < to {
			o.Buf = numberSet(v, list[from:to], uid).Append(o.Buf)
		} else {
			o.Text("NIL")
		}
		o.Text(")")
	}
	if want.Count {
		o.Text(" COUNT ")
		o.Num(int64(len(list)))
	}
	if n := Highest(v, list); n > 0 && want.ModSeq {
		o.Text(" MODSEQ ")
		o.Num(int64(n))
	}
}

// numberSet writes messages as a set that keeps their order, for SORT.
func numberSet(v *view.View, list []int, uid bool) (set syntax.Set) {
	for _, i := range list {
		set.Add(Number(v, i, uid))
	}
	return set
}

// Number returns what the client calls message i: its number, or its UID.
func Number(v *view.View, i int, uid bool) uint32 {
	if uid {
		return v.Msgs[i].UID
	}
	return uint32(i + 1)
}

// Highest returns the Highest modseq of messages.
func Highest(v *view.View, list []int) (n uint64) {
	for _, i := range list {
		n = max(n, v.Msgs[i].ModSeq)
	}
	return n
}
