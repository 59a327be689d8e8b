package quotas

import (
	"encoding/json"
	"path/filepath"
	"strings"

	"packetboat/internal/auth"
	"packetboat/internal/deliver/dovecot"
	"packetboat/internal/serve/imapd/tree"
	"packetboat/internal/store/location"
	"packetboat/internal/store/quota"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/script"
)

// Open returns the account of a user whose mail is at a location; nil = he has no
// quota. Sockets of warnings are below base; failed hears of those that do not answer,
// which keeps no mail back.
func Open(s quota.Settings, user, mail, base string, failed func(text string)) (*quota.Account, error) {
	if len(s) == 0 {
		return nil, nil
	}
	c, err := quota.Parse(s, nil)
	if err != nil || len(c.Roots) == 0 && c.MaxMail == 0 {
		return nil, err
	}
	l, err := location.Parse(mail)
	if err != nil {
		return nil, err
	}
	dirs := []string{l.Folders}
	if l.Inbox != l.Folders && !strings.HasPrefix(l.Inbox, l.Folders+"/") {
		dirs = append(dirs, l.Inbox)
	}
	run := func(c quota.Command) {
		path := c.Socket
		if !filepath.IsAbs(path) {
			path = filepath.Join(base, path)
		}
		if err := script.Call(path, c.Args); err != nil {
			failed("program unix:" + path + ": " + err.Error())
		}
	}
	return quota.New(c, quota.User{Name: user, Root: l.Folders, Dirs: dirs, Run: run}), nil
}

// Limit puts the limits before the namespaces of an IMAP session. Mail that is not the
// user's own counts for nobody.
func Limit(a *quota.Account, list []tree.Namespace) {
	for i := range list {
		if n := &list[i]; n.Kind == tree.Private {
			n.Store = a.Add(n.Store, n.Prefix, n.Separator, n.Inbox)
		}
	}
	a.Begin()
}

// Account is what deliver has to know of a user, as JSON: his quota and the folders of
// his mail, with all variables expanded.
func Account(conf *config.Dovecot, u *auth.UserInfo, base string) (string, error) {
	a := dovecot.Account{User: u.User, Home: u.Home, Mail: u.Mail}
	if err := conf.For(config.Context{Protocol: "lmtp"}).Decode(&a.Options); err != nil {
		return "", err
	}
	a.Options.BaseDir, a.Options.Quota = base, Of(conf, "lmtp", u)
	list, err := conf.Namespaces()
	for _, n := range list {
		if n.Inbox {
			a.Options.Prefix = n.Prefix
			if n.Separator != "" {
				a.Options.Separator = n.Separator[0]
			}
		}
	}
	if err != nil {
		return "", err
	}
	b, err := json.Marshal(a)
	return string(b), err
}
