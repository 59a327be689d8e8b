package imapd

import (
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/serve/imapd/wire"
)

// writeResult writes an ESEARCH (RFC 4731; for SORT RFC 5267 section 3), and keeps
// what SAVE wants kept.
func (s *session) writeResult(want syntax.Result, list []int) {
	if want.Save {
		s.save(want, list)
		if !want.Min && !want.Max && !want.All && !want.Count && !want.Partial && !want.Update {
			return // RFC 5182 section 2.1: nothing else was asked for
		}
	}
	o := &s.out
	o.Text(`* ESEARCH (TAG "`, s.cmd.tag, `")`)
	if s.cmd.uid {
		o.Text(" UID")
	}
	writeResultData(o, &s.view, want, list, s.cmd.uid)
	o.Line()
}

// writeResultData writes what an ESEARCH tells of a result: numbers, or UIDs.
func writeResultData(o *wire.Output, v *view.View, want syntax.Result, list []int, uid bool) {
	if n := len(list); n > 0 {
		if want.Min {
			o.Text(" MIN ")
			o.Num(int64(numberOf(v, list[0], uid)))
		}
		if want.Max {
			o.Text(" MAX ")
			o.Num(int64(numberOf(v, list[n-1], uid)))
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
	if n := highest(v, list); n > 0 && want.ModSeq {
		o.Text(" MODSEQ ")
		o.Num(int64(n))
	}
}

// numberSet writes messages as a set that keeps their order, for SORT.
func numberSet(v *view.View, list []int, uid bool) (set syntax.Set) {
	for _, i := range list {
		set.Add(numberOf(v, i, uid))
	}
	return set
}

// save keeps the result that "$" stands for: RFC 5182 section 2.4. Where MIN or MAX
// are asked for alone only those are kept.
func (s *session) save(want syntax.Result, list []int) {
	if want.Partial && !want.Min && !want.Max && !want.Count { // RFC 9394 section 3.1
		from, to := want.Window(len(list))
		list = list[from:max(from, to)]
	}
	n := len(list)
	if (want.Min || want.Max) && !want.All && !want.Count && !want.Partial && n > 0 {
		ends := make([]int, 0, 2)
		if want.Min {
			ends = append(ends, list[0])
		}
		if want.Max && (!want.Min || n > 1) {
			ends = append(ends, list[n-1])
		}
		list = ends
	}
	s.saved = s.saved[:0:0]
	for _, i := range list {
		s.saved.Add(s.view.Msgs[i].UID)
	}
	s.saved = s.saved.Resolve(0)
}
