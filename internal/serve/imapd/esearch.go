package imapd

import (
	"packetboat/internal/serve/imapd/reply"
	"packetboat/internal/serve/imapd/syntax"
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
	reply.ResultData(o, &s.view, want, list, s.cmd.uid)
	o.Line()
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
