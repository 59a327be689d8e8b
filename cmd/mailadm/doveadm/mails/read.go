package mails

import (
	"fmt"
	"strings"
	"time"

	"packetboat/cmd/mailadm/doveadm/fetch"
	"packetboat/cmd/mailadm/doveadm/show"
)

// search prints mailbox and UID of each message.
func search(a *Args, now time.Time) (*Plan, error) {
	q, err := parseQuery(a.Rest, now)
	if err != nil {
		return nil, err
	}
	return &Plan{Columns: []show.Column{{Key: "mailbox-guid", Hide: true}, {Key: "uid", Hide: true}}, Run: func(e *Env) {
		e.each(q, "Couldn't get mailbox '%s' GUID", func(f *found) {
			for _, uid := range f.uids() {
				e.Out.Value(f.guid)
				e.Out.Value(fmt.Sprint(uid))
			}
		})
	}}, nil
}

// fetchCommand prints fields of each message.
func fetchCommand(a *Args, now time.Time) (*Plan, error) {
	if len(a.Rest) < 2 {
		return nil, usage()
	}
	fields, err := fetch.Parse(a.Rest[0])
	if err != nil {
		return nil, &Problem{Code: ExitTemp, Text: err.Error(), Hint: "Available fetch fields: " + fetch.Names()}
	}
	q, err := parseQuery(a.Rest[1:], now)
	if err != nil {
		return nil, err
	}
	return &Plan{Columns: fetch.Columns(fields), Form: "pager", Run: func(e *Env) {
		if err := fetch.Check(fields); err != nil {
			e.fatal(err)
			return
		}
		e.each(q, "", func(f *found) { e.fetch(f, fields) })
	}}, nil
}

// fatal prints an error that ends the run.
func (e *Env) fatal(err error) {
	e.Fatal = true
	fmt.Fprintf(e.Err, "doveadm(%s): Fatal: %v\n", e.User, err)
	e.code = ExitTemp
}

func (e *Env) fetch(f *found, fields []fetch.Field) {
	c := fetch.Context{User: e.User, BoxGUID: f.guid}
	for _, seq := range f.seqs {
		if e.Fatal {
			return
		}
		f.Set(seq)
		for i := range fields {
			err := fields[i].Write(&f.Letter, c, e.Out)
			if err == show.ErrMultiline {
				e.fatal(err)
				return
			}
			if err != nil {
				e.failed(err, f.Mailbox, "fetch(%s) failed for box=%s uid=%d", strings.TrimSpace(fetch.Columns(fields[i : i+1])[0].Key), f.Mailbox, f.M.UID)
			}
		}
	}
}
