package mbox

import (
	"bytes"
	"errors"

	"packetboat/internal/store/mbox/format"
	"packetboat/internal/store/mbox/journal"
	"packetboat/internal/store/mbox/known"
	"packetboat/internal/sys/disk"
)

// Messages that go from the middle of a large mbox are cut out of the file where
// the file system can do that (disk.Collapse), and the rest is not written anew.
// It takes whole blocks only: what is left over, less than a block for each run
// of messages, becomes blanks in the own lines of the message behind the run, as
// Dovecot pads them.

// minCollapse is how many octets must stay behind the first message that goes
// before cutting pays.
const minCollapse = 1 << 20

// maxCutHeld is how many octets of headers an expunge that cuts holds.
const maxCutHeld = 16 << 20

// collapse is one expunge that cuts. Places are those of the file as it is, unless
// a name says that they are those after the cuts.
type collapse struct {
	r     *rewrite
	unit  int64
	cuts  []journal.Cut
	tails []tail          // what stands between the begin of a block and that of a run
	heads []journal.Patch // headers behind runs; they go over tails
	joins map[int]join    // by the index of the message behind a run
	moved int64           // octets that the cuts so far take out
	held  int             // octets of heads
}

// tail is octets that a cut takes along, and that stay.
type tail struct{ from, n, to int64 }

// join is where a message follows a run of others that go.
type join struct {
	cut  int64 // octets that are cut out
	more int64 // octets that its header grows by
}

// cutOut removes the messages by cuts; nil where that is not possible, or does
// not pay, and nothing was changed.
func (r *rewrite) cutOut() (*collapse, error) {
	if !r.mayCut() {
		return nil, nil
	}
	unit, ok := disk.CollapseUnit(r.m.f)
	if !ok {
		return nil, nil
	}
	c := &collapse{r: r, unit: unit, joins: map[int]join{}}
	if ok, err := c.plan(); !ok || err != nil {
		return nil, err
	}
	err := c.apply()
	if errors.Is(err, journal.ErrNoCut) {
		return nil, nil
	}
	return c, err
}

// mayCut looks for what is against it at once: the messages at the end go, too, or
// there are too many runs, or too little behind them.
func (r *rewrite) mayCut() bool {
	n := len(r.s.Recs)
	if len(r.drop) == 0 || n == 0 || !r.keeps(n-1) || r.s.Pseudo > 0 {
		return false
	}
	first, runs := -1, 0
	for i := range n {
		if r.keeps(i) {
			continue
		}
		if first < 0 {
			first = i
		}
		if i == 0 || r.keeps(i-1) {
			runs++
		}
	}
	return first >= 0 && runs <= journal.MaxCuts && r.s.Snap.Msgs[n-1].Pos-r.s.Snap.Msgs[first].Pos >= minCollapse
}

// plan works out cuts and patches; false when some header needs more room than it
// has, so that the messages behind it would have to move by less than a block.
func (c *collapse) plan() (bool, error) {
	r, run := c.r, int64(-1) // begin of the run
	for i := range r.s.Recs {
		m := &r.s.Snap.Msgs[i]
		if !r.keeps(i) {
			if run < 0 {
				run = m.Pos
			}
			if i == 0 {
				run = 0
			}
			continue
		}
		want, change := r.want(i)
		if run < 0 && !change {
			continue
		}
		hdr, err := r.header(i)
		if err != nil {
			return false, err
		}
		ok := false
		if run < 0 {
			ok, err = c.inPlace(m.Pos, hdr, want)
		} else {
			ok, err = c.join(i, run, hdr, want)
		}
		if !ok || err != nil || c.held > maxCutHeld {
			return false, err
		}
		run = -1
	}
	return true, nil
}

// inPlace writes the new own lines of a message that follows no run. That is done
// before the cuts, because the kernel forgets what it has read of a file behind
// them.
func (c *collapse) inPlace(pos int64, hdr []byte, want format.Wanted) (bool, error) {
	out := format.Compose(hdr, want)
	if len(out) != len(hdr) {
		return false, nil
	}
	return true, c.r.patch(pos, hdr, out)
}

// join takes out the run that begins at run and ends before message i.
func (c *collapse) join(i int, run int64, hdr []byte, want format.Wanted) (bool, error) {
	size := c.r.s.Snap.Msgs[i].Pos - run
	n := size / c.unit * c.unit
	var out []byte
	for ; ; n -= c.unit {
		if n < 0 {
			return false, nil
		}
		if out = format.ComposeInto(hdr, want, int(size-n)); len(out) == len(hdr)+int(size-n) {
			break
		}
	}
	c.joins[i] = join{n, size - n}
	c.heads = append(c.heads, journal.Patch{Off: run - c.moved, Data: out})
	c.held += len(out) + 64 // what a Patch itself takes, and its place in a list
	if n == 0 {
		return true, nil
	}
	cut := journal.Cut{Off: run / c.unit * c.unit, Len: n}
	if ok, err := c.mark(&cut, run, out); !ok || err != nil {
		return false, err
	}
	c.tails = append(c.tails, tail{cut.Off, run - cut.Off, cut.Off - c.moved})
	c.cuts, c.moved = append(c.cuts, cut), c.moved+n
	return true, nil
}

// mark finds a place that tells whether the cut was made: what stands there is
// neither what comes there by the cut nor what is written there afterwards.
func (c *collapse) mark(cut *journal.Cut, run int64, out []byte) (bool, error) {
	for at := (run + journal.Mark - 1) / journal.Mark * journal.Mark; at+journal.Mark <= run+int64(len(out)); at += journal.Mark {
		var then [journal.Mark]byte
		err := journal.ReadFull(c.r.m.f, cut.Was[:], at)
		if err == nil {
			err = journal.ReadFull(c.r.m.f, then[:], at+cut.Len)
		}
		if err != nil {
			return false, err
		}
		if written := out[at-run:][:journal.Mark]; then != cut.Was && !bytes.Equal(written, cut.Was[:]) {
			cut.At = at
			return true, nil
		}
	}
	return false, nil
}

// apply does it, by a journal. UIDNEXT stands in the first message before UIDs go.
func (c *collapse) apply() error {
	m := c.r.m
	err := c.r.writePatches()
	if err == nil {
		err = m.sys.Sync(m.f)
	}
	if err != nil {
		return err
	}
	j, err := journal.New(m.sys, m.path, m.control)
	if err != nil {
		return err
	}
	defer j.Close()
	if err = c.fill(j); err == nil {
		err = j.Commit(m.f, journal.CutBase)
	}
	if err != nil {
		j.Abort()
		return err
	}
	return j.Apply(m.f)
}

// fill writes cuts and patches into the journal.
func (c *collapse) fill(j *journal.Journal) error {
	err := j.Cuts(c.cuts)
	for _, t := range c.tails {
		p := journal.Patch{Off: t.to, Data: make([]byte, t.n)}
		if err == nil {
			err = journal.ReadFull(c.r.m.f, p.Data, t.from)
		}
		if err == nil {
			err = j.Patch(p)
		}
	}
	for _, p := range c.heads {
		if err == nil {
			err = j.Patch(p)
		}
	}
	return err
}

// place says where the messages that are left stand now; s has them as they were.
func (c *collapse) place(s *known.State) {
	moved, k := int64(0), 0
	for i := range c.r.s.Recs {
		if !c.r.keeps(i) {
			continue
		}
		j := c.joins[i]
		moved += j.cut
		msg, rec := &s.Snap.Msgs[k], &s.Recs[k]
		msg.Pos -= moved + j.more
		msg.Raw += j.more
		rec.Hdr += int32(j.more)
		k++
	}
}
