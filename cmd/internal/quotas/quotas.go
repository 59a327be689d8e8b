// Package quotas finds the quota settings of a user in dovecot.conf and in what the
// userdb says of him. mrad's parent asks it and hands the answer to the processes
// that hold the user's mail; doveadm and dovecot-lda ask it, too.
package quotas

import (
	"slices"
	"strconv"
	"strings"

	"packetboat/internal/auth"
	"packetboat/internal/store/quota"
	"packetboat/internal/sys/config"
)

// Loaded tells whether a protocol loads a plugin.
func Loaded(conf *config.Dovecot, proto, plugin string) bool {
	list := conf.For(config.Context{Protocol: proto}).Get("mail_plugins")
	return slices.Contains(strings.Fields(list), plugin)
}

// Of returns the settings of one user, expanded; nil where there is no quota.
func Of(conf *config.Dovecot, proto string, u *auth.UserInfo) quota.Settings {
	q := &auth.Query{User: u.User, Home: u.Home, UID: strconv.Itoa(u.UID), GID: strconv.Itoa(u.GID), Service: proto}
	return Settings(conf, proto, u.Fields, func(v string) string { return auth.Expand(v, q) })
}

// Settings returns the quota settings of plugin { } as a protocol sees them, with
// the userdb's fields over them; expand puts the user into the values. It returns
// nil where the plugin is not loaded.
func Settings(conf *config.Dovecot, proto string, fields map[string]string, expand func(string) string) quota.Settings {
	if !Loaded(conf, proto, "quota") {
		return nil
	}
	s := quota.Settings{}
	for _, b := range conf.For(config.Context{Protocol: proto}).Merged().Blocks {
		if b.Kind != "plugin" {
			continue
		}
		for _, v := range b.Values {
			if quota.Reads(v.Name) {
				s[v.Name] = expand(v.Value)
			}
		}
	}
	for name, v := range fields {
		if quota.Reads(name) {
			s[name] = v
		}
	}
	return s
}
