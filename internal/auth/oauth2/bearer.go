package oauth2

import "strings"

// Bearer takes user and token out of a response: "n,a=user,^Aauth=Bearer token^A^A",
// or without the first part and with user= for XOAUTH2. Both are empty where it
// makes no sense; the end may be missing, as with Dovecot.
func Bearer(s string, google bool) (user, token string) {
	if strings.IndexByte(s, 0) >= 0 {
		return "", ""
	}
	fields := strings.Split(s, "\x01")
	if !google {
		// RFC 5801 section 4: channel binding is not offered.
		head := strings.Split(fields[0], ",")
		if head[0] != "n" && head[0] != "y" {
			return "", ""
		}
		for _, f := range head[1:] {
			if name, ok := strings.CutPrefix(f, "a="); ok {
				user = unescapeName(name)
			}
		}
		fields = fields[1:]
	}
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		switch {
		case key == "user" && google:
			user = value
		case key == "auth" && len(value) > len("bearer ") && strings.EqualFold(value[:len("bearer ")], "bearer "):
			token = strings.TrimSpace(value[len("bearer "):])
		}
	}
	return user, token
}

// unescapeName undoes RFC 5802's saslname; any other "=" makes it empty.
func unescapeName(s string) string {
	s = strings.NewReplacer("=2C", ",", "=3D", "\x00").Replace(s)
	if strings.IndexByte(s, '=') >= 0 {
		return ""
	}
	return strings.ReplaceAll(s, "\x00", "=")
}
