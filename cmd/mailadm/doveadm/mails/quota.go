package mails

import (
	"strconv"
	"time"

	"packetboat/cmd/mailadm/doveadm/show"
	"packetboat/internal/store/quota"
)

// quotaCommands are doveadm-quota(1)'s.
func quotaCommands() map[string]*Command {
	return map[string]*Command{"quota get": {Prepare: quotaGet}, "quota recalc": {Prepare: quotaRecalc}}
}

// limits returns the user's quotas, with his store behind them; nil = he has none.
func (e *Env) limits() *quota.Account {
	if e.Quota == nil {
		return nil
	}
	a, err := e.Quota()
	if err != nil {
		e.fail(ExitTemp, "quota: %v", err)
		return nil
	}
	if a != nil {
		a.Add(e.Store, "", '/', true)
	}
	return a
}

// quotaGet prints what is used up, two lines a root.
func quotaGet(a *Args, _ time.Time) (*Plan, error) {
	if len(a.Rest) > 0 {
		return nil, extraneous(a.Rest[0])
	}
	return &Plan{Form: "table", Columns: []show.Column{{Key: "root", Title: "Quota name"}, {Key: "type", Title: "Type"}, {Key: "value", Title: "Value", Right: true},
		{Key: "limit", Title: "Limit", Right: true}, {Key: "percent", Title: "%", Right: true}}, Run: func(e *Env) {
		q := e.limits()
		if q == nil {
			return
		}
		list, err := q.Roots("")
		if err != nil {
			e.fail(ExitTemp, "Failed to get quota: %v", err)
			return
		}
		for _, r := range list {
			e.quotaLine(r.Name, "STORAGE", (r.Used.Bytes+1023)/1024, (r.Limits.Bytes+1023)/1024)
			if r.Counted {
				e.quotaLine(r.Name, "MESSAGE", r.Used.Count, r.Limits.Count)
			}
		}
	}}, nil
}

func (e *Env) quotaLine(root, kind string, used, limit int64) {
	values := []string{root, kind, strconv.FormatInt(used, 10), "-", "0"}
	if limit > 0 {
		values[3], values[4] = strconv.FormatInt(limit, 10), strconv.FormatInt(used*100/limit, 10)
	}
	for _, v := range values {
		e.Out.Value(v)
	}
}

// quotaRecalc counts anew what is kept in files.
func quotaRecalc(a *Args, _ time.Time) (*Plan, error) {
	if len(a.Rest) > 0 {
		return nil, extraneous(a.Rest[0])
	}
	return &Plan{Run: func(e *Env) {
		if q := e.limits(); q != nil {
			if err := q.Recalc(); err != nil {
				e.fail(ExitTemp, "Recalculating quota failed: %v", err)
			}
		}
	}}, nil
}

// extraneous is the error of an argument too many.
func extraneous(arg string) error {
	return &Problem{Code: ExitUsage, Text: "Extraneous arguments found: " + arg, Plain: true}
}
