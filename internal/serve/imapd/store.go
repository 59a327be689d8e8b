package imapd

import (
	"errors"
	"strings"
	"time"

	"packetboat/internal/serve/imapd/spool"
	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/view"
	"packetboat/internal/store"
	"packetboat/internal/store/quota"
)

// store: STORE and UID STORE, RFC 3501 section 6.4.6.
func (s *session) store(args []syntax.Arg) error {
	if len(args) == 0 {
		return syntax.Error("Invalid arguments")
	}
	list, err := s.pick(args[0])
	if err != nil {
		return err
	}
	if len(args) < 2 {
		return syntax.Error("Invalid arguments")
	}
	args, unless, err := syntax.ParseUnchanged(args)
	if err != nil {
		return err
	}
	op, silent, err := storeItem(args[1])
	if err != nil {
		return err
	}
	flags := args[2:]
	if len(flags) > 0 && flags[0].Kind == syntax.List {
		flags = flags[0].List
	}
	f, keywords, err := view.ParseFlags(flags)
	if err != nil {
		return err
	}
	if s.view.ReadOnly {
		return s.done("OK Store ignored with read-only mailbox")
	}
	done := "OK Store completed"
	if unless.Given {
		if list, done, err = s.unchanged(list, unless.ModSeq); err != nil {
			return s.failed(err, s.view.Name, "")
		}
	}
	return s.setFlags(list, op, f, keywords, silent, done)
}

// storeItem reads FLAGS, +FLAGS, -FLAGS, each perhaps with .SILENT.
func storeItem(a syntax.Arg) (op store.Op, silent bool, err error) {
	name := strings.ToUpper(string(a.Text))
	name, silent = strings.CutSuffix(name, ".SILENT")
	switch {
	case a.Kind == syntax.List:
		return 0, false, syntax.Error("Invalid STORE modifiers")
	case a.Kind != syntax.Atom:
	case name == "FLAGS":
		return store.Replace, silent, nil
	case name == "+FLAGS":
		return store.Add, silent, nil
	case name == "-FLAGS":
		return store.Remove, silent, nil
	}
	return 0, false, syntax.Error("Invalid arguments")
}

// setFlags changes flags and tells the client of them, or not where it said
// .SILENT and nobody else changed the same message.
func (s *session) setFlags(list []int, op store.Op, f store.Flag, keywords []string, silent bool, done string) error {
	uids := s.view.UIDs(list)
	if f&store.Deleted != 0 && op != store.Remove {
		for _, i := range list {
			if s.view.Msgs[i].Flags&store.Deleted == 0 {
				s.count.Deleted++
			}
		}
	}
	snap, err := s.box.SetFlags(uids, op, f, keywords)
	if err != nil {
		return s.failed(err, s.view.Name, "")
	}
	var quiet *view.Silence
	if silent {
		quiet = &view.Silence{UIDs: uids, Op: op, Flags: f, Keywords: view.KeywordBits(snap, keywords)}
	}
	if err := s.tell(snap, s.cmd.uid, quiet); err != nil {
		return err
	}
	return s.done(done)
}

// copyPlan is the arguments of COPY and MOVE.
type copyPlan struct {
	list []int
	name string
	box  store.Mailbox
}

// planCopy reads the arguments and opens the target. A nil plan without error
// means that the command has been answered.
func (s *session) planCopy(args []syntax.Arg) (*copyPlan, error) {
	if len(args) == 0 {
		return nil, syntax.Error("Missing arguments")
	}
	list, err := s.pick(args[0])
	if err != nil {
		return nil, err
	}
	if len(args) < 2 {
		return nil, syntax.Error("Missing arguments")
	}
	if !args[1].IsString() {
		return nil, syntax.Error("Invalid arguments")
	}
	if len(list) == 0 {
		return nil, s.done("OK No messages found")
	}
	plan := &copyPlan{list: list}
	if plan.name, err = s.mailboxName(args[1]); err == nil {
		plan.box, err = s.tree.Open(plan.name)
	}
	if err != nil {
		return nil, s.failed(err, plan.name, "[TRYCREATE] ")
	}
	return plan, nil
}

// run copies the messages, all or none, and returns "[COPYUID ...]".
func (p *copyPlan) run(s *session) (from []uint32, code string, err error) {
	from = s.view.UIDs(p.list)
	if c, ok := s.box.(store.Copier); ok {
		to, ok, err := c.CopyTo(p.box, from)
		if ok || err != nil {
			return p.result(from, to, err)
		}
	}
	if err := s.know(p.list); err != nil { // for the dates
		return nil, "", err
	}
	msgs := make([]store.New, len(p.list))
	at := make([]spool.Place, len(p.list))
	sp := spool.Spool{Dir: s.opts.TempDir}
	defer sp.Close()
	for i, n := range p.list {
		m := &s.view.Msgs[n]
		msgs[i] = store.New{Flags: m.Flags, Keywords: s.view.Snap.Words(m.Keywords), Date: time.Unix(m.Date, 0)}
		if at[i], err = s.spoolMessage(&sp, m.UID); err != nil {
			return nil, "", err
		}
	}
	to, err := sp.Append(p.box, msgs, at)
	keepSaved(p.box, to)
	return p.result(from, to, err)
}

func (p *copyPlan) result(from, to []uint32, err error) ([]uint32, string, error) {
	if err != nil {
		return nil, "", err
	}
	return from, appendUID("COPYUID", p.box.Snapshot().UIDValidity, from, to), nil
}

func (s *session) spoolMessage(sp *spool.Spool, uid uint32) (spool.Place, error) {
	r, err := s.box.Read(uid, 0, -1)
	if err != nil {
		return spool.Place{}, err
	}
	defer r.Close()
	return sp.Take(r)
}

// copy: RFC 3501 section 6.4.7.
func (s *session) copy(args []syntax.Arg) error {
	plan, err := s.planCopy(args)
	if plan == nil {
		return err
	}
	defer plan.box.Close()
	_, code, err := plan.run(s)
	if err != nil {
		return s.copyFailed(err, plan.name)
	}
	return s.done("OK " + code + " Copy completed")
}

// move: RFC 6851. The copy is on disk before the original goes.
func (s *session) move(args []syntax.Arg) error {
	plan, err := s.planCopy(args)
	if plan == nil {
		return err
	}
	defer plan.box.Close()
	if s.view.ReadOnly {
		return s.failed(store.ErrReadOnly, s.view.Name, "")
	}
	plan.box = quota.Moving(plan.box, s.box)
	from, code, err := plan.run(s)
	if err != nil {
		return s.copyFailed(err, plan.name)
	}
	s.out.Text("* OK ", code, " Moved UIDs.")
	s.out.Line()
	snap, err := s.box.Expunge(from)
	if err != nil {
		return s.failed(err, s.view.Name, "")
	}
	s.count.Expunged += len(from)
	if err := s.tell(snap, true, nil); err != nil {
		return err
	}
	return s.done("OK Move completed")
}

// copyFailed answers a copy of which nothing was made. A message that is gone
// is told in the same breath, so that the client can try again.
func (s *session) copyFailed(err error, name string) error {
	if !errors.Is(err, store.ErrNoMessage) {
		return s.failed(err, name, "[TRYCREATE] ")
	}
	return s.done("NO [EXPUNGEISSUED] Some of the requested messages no longer exist")
}
