package spaces

import (
	"strings"

	"packetboat/internal/store/dict"
	"packetboat/internal/sys/config"
)

// Attributes returns where the entries of METADATA stand: the path of
// mail_attribute_dict with its variables, where imap_metadata is on; else "".
// Package unbuilt has refused all but files.
func Attributes(conf *config.Dovecot) (string, error) {
	var o struct {
		On   bool   `dovecot:"imap_metadata"`
		Dict string `dovecot:"mail_attribute_dict"`
	}
	err := conf.For(config.Context{Protocol: "imap"}).Decode(&o)
	path, ok := strings.CutPrefix(o.Dict, "file:")
	if !ok || !o.On {
		path = ""
	}
	return path, err
}

// Dict returns the file of one user's entries; nil where there is to be none.
func (u User) Dict(pattern string) *dict.File {
	if pattern == "" {
		return nil
	}
	path, err := u.expand(pattern)
	if err != nil || !strings.HasPrefix(path, "/") {
		return nil // the user has no home
	}
	return dict.Open(path)
}
