// Package authconf makes the options of internal/auth of a dovecot.conf.
package authconf

import (
	"errors"
	"strings"

	"packetboat/internal/auth"
	"packetboat/internal/sys/config"
)

// Options makes package auth's options of a configuration. host is this machine's
// name for challenges.
func Options(conf *config.Dovecot, host string) (auth.Options, error) {
	o := auth.Options{}
	if err := conf.Decode(&o); err != nil {
		return o, err
	}
	// Zero means "the default" to package auth, and "none" in dovecot.conf.
	if o.Delay == 0 {
		o.Delay = -1
	}
	if o.FirstUID == 0 {
		o.FirstUID = -1
	}
	if o.FirstGID == 0 {
		o.FirstGID = -1
	}
	o.AnyChars = o.Chars == ""
	if o.Format == "" {
		o.Format = "%u"
	}
	o.Host = host
	pass, err1 := conf.Passdbs()
	user, err2 := conf.Userdbs()
	if err := errors.Join(err1, err2); err != nil {
		return o, err
	}
	for _, p := range pass {
		o.Passdbs = append(o.Passdbs, auth.DB{Driver: p.Driver, Args: p.Args, Default: strings.Join(p.DefaultFields, " "),
			Override: strings.Join(p.OverrideFields, " "), Deny: p.Deny, Master: p.Master, Pass: p.Pass,
			Rules: auth.Rules{Mechanisms: p.Mechanisms, Names: p.UsernameFilter, Skip: p.Skip,
				Success: p.ResultSuccess, Failure: p.ResultFailure, Internal: p.ResultInternalfail}})
	}
	for _, u := range user {
		o.Userdbs = append(o.Userdbs, auth.DB{Driver: u.Driver, Args: u.Args, Default: strings.Join(u.DefaultFields, " "),
			Override: strings.Join(u.OverrideFields, " "),
			Rules:    auth.Rules{Skip: u.Skip, Success: u.ResultSuccess, Failure: u.ResultFailure, Internal: u.ResultInternalfail}})
	}
	o.NoPenalty, err1 = noPenalty(conf)
	return o, err1
}

// Try tells what would keep an auth process from starting: a file of a database that
// is not there or makes no sense. It connects to nothing.
func Try(conf *config.Dovecot, host string) error {
	o, err := Options(conf, host)
	if err == nil {
		_, err = auth.New(o)
	}
	return err
}

// noPenalty tells whether clients are not slowed down by their address: with
// Dovecot that is so when anvil has no socket for it.
func noPenalty(conf *config.Dovecot) (bool, error) {
	s, err := conf.Service("anvil")
	for _, l := range s.Unix {
		if l.Path == "anvil-auth-penalty" {
			return l.Mode == 0, err
		}
	}
	return false, err
}
