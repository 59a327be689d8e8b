// Package live keeps the results of searches up to date (CONTEXT=SEARCH, RFC 5267
// section 4.3) and tells what leaves and joins them.
package live

import (
	"slices"

	"packetboat/internal/serve/imapd/search"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/serve/imapd/wire"
)

// Context is a search whose result is kept up to date.
type Context struct {
	Tag  string
	UID  bool // the client knows its messages by their UIDs
	Key  syntax.Key
	UIDs []uint32 // its messages, rising
}

// Change tells what leaves and joins the result by a change of flags and by messages
// that go. next is the view with the new flags, and the numbers that hold until an
// expunge is told.
func (x *Context) Change(o *wire.Output, next *view.View, c view.Change, sr *search.Searcher) {
	sr.Prepare(x.Key.Clone())
	var left, joined []int
	for _, i := range c.Gone {
		if x.drop(next.Msgs[i].UID) {
			left = append(left, i)
		}
	}
	for _, i := range c.Flags {
		switch uid := next.Msgs[i].UID; {
		case !sr.Match(i):
			if x.drop(uid) {
				left = append(left, i)
			}
		case x.add(uid):
			joined = append(joined, i)
		}
	}
	slices.Sort(left)
	x.write(o, next, left, joined)
}

// Join tells which of the new messages, those from index from on, join the result. sr
// has been prepared.
func (x *Context) Join(o *wire.Output, v *view.View, from int, sr *search.Searcher) {
	var joined []int
	for i := from; i < len(v.Msgs); i++ {
		if sr.Match(i) && x.add(v.Msgs[i].UID) {
			joined = append(joined, i)
		}
	}
	x.write(o, v, nil, joined)
}

// drop takes a UID out, and tells whether it was there.
func (x *Context) drop(uid uint32) bool {
	i, ok := slices.BinarySearch(x.UIDs, uid)
	if ok {
		x.UIDs = slices.Delete(x.UIDs, i, i+1)
	}
	return ok
}

// add puts a UID in, and tells whether it was not there.
func (x *Context) add(uid uint32) bool {
	i, ok := slices.BinarySearch(x.UIDs, uid)
	if !ok {
		x.UIDs = slices.Insert(x.UIDs, i, uid)
	}
	return !ok
}

// write writes an update. Its position is always 0: the result of a SEARCH has
// no order of its own.
func (x *Context) write(o *wire.Output, v *view.View, left, joined []int) {
	if len(left)+len(joined) == 0 {
		return
	}
	o.Text(`* ESEARCH (TAG "`, x.Tag, `")`)
	if x.UID {
		o.Text(" UID")
	}
	for k, list := range [][]int{left, joined} {
		if len(list) == 0 {
			continue
		}
		o.Text([]string{" REMOVEFROM (0 ", " ADDTO (0 "}[k])
		var set syntax.Set
		for _, i := range list {
			if x.UID {
				set.Add(v.Msgs[i].UID)
			} else {
				set.Add(uint32(i + 1))
			}
		}
		o.Buf = set.Append(o.Buf)
		o.Text(")")
	}
	o.Line()
}
