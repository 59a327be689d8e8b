package auth

import (
	"fmt"
	"slices"
	"strings"
)

// Rules say when a passdb or userdb is asked, and what becomes of its answer
// (Dovecot's PasswordDatabase, "Passdb settings"). The zero value asks always and
// takes the first yes.
type Rules struct {
	Mechanisms []string // passdb: asked for these only, "none" = for look-ups without a password; empty = for all
	Names      []string // passdb, username_filter: asked for names that match one, and none with "!"; empty = for all
	Skip       string   // never, authenticated or found, unauthenticated or notfound; empty = never
	Success    string   // result_success; empty = return-ok
	Failure    string   // result_failure; empty = continue
	Internal   string   // result_internalfail; empty = continue
}

// results are the values of result_success and its like.
var results = []string{"", "return-ok", "return", "return-fail", "continue", "continue-ok", "continue-fail"}

// check tells of a word that is none.
func (r Rules) check(skips ...string) error {
	if !slices.Contains(append(skips, "", "never"), r.Skip) {
		return fmt.Errorf("skip = %s: need never, %s", r.Skip, strings.Join(skips, ", "))
	}
	for name, v := range map[string]string{"result_success": r.Success, "result_failure": r.Failure, "result_internalfail": r.Internal} {
		if !slices.Contains(results, v) {
			return fmt.Errorf("%s = %s: need one of%s", name, v, strings.Join(results, " "))
		}
	}
	return nil
}

// wanted tells whether the block is to be asked; good says that a former one said
// yes.
func (r Rules) wanted(q *Query, good bool) bool {
	switch r.Skip {
	case "authenticated", "found":
		if good {
			return false
		}
	case "unauthenticated", "notfound":
		if !good {
			return false
		}
	}
	return r.mechanism(q.Mech) && r.named(q.User)
}

func (r Rules) mechanism(mech string) bool {
	if mech == "" {
		mech = "none"
	}
	return len(r.Mechanisms) == 0 || slices.ContainsFunc(r.Mechanisms, func(s string) bool { return strings.EqualFold(s, mech) })
}

// named holds a name against username_filter: one match with a "!" keeps it out,
// and where there are others one must match.
func (r Rules) named(user string) bool {
	some, matched := false, false
	for _, mask := range r.Names {
		not, out := strings.CutPrefix(mask, "!")
		if out && MatchMask(not, user) {
			return false
		}
		if !out {
			some = true
			matched = matched || MatchMask(mask, user)
		}
	}
	return matched || !some
}

// chain is how far a row of blocks has come.
type chain struct {
	good bool // what the answer is if nothing else comes
	done bool
}

// follow does what a result_ setting says; def is its default.
func (c *chain) follow(rule, def string) {
	if rule == "" {
		rule = def
	}
	verb, answer, _ := strings.Cut(rule, "-")
	c.done = verb == "return"
	switch answer {
	case "ok":
		c.good = true
	case "fail":
		c.good = false
	}
}

// success is what a passdb's yes does: with pass the next ones are asked, too.
func (d DB) success() string {
	if d.Pass && (d.Success == "" || d.Success == "return-ok") {
		return "continue"
	}
	return d.Success
}
