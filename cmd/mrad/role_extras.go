package main

import (
	"fmt"
	"os"

	"packetboat/cmd/mrad/extras"
	"packetboat/cmd/mrad/spaces"
)

// extras is what is done for a session beside serving it.
func (r *mailRole) extras(s *session) *extras.Session {
	prefix := fmt.Sprintf("%s(%s)<%d><%s>", s.Proto, s.User, os.Getpid(), s.Session)
	return &extras.Session{Options: r.settings().Extras[string(s.Proto)], Service: string(s.Proto), User: s.User, Home: s.Home,
		Remote: s.Remote.Addr().String(), Local: s.Local.Addr().String(), Session: s.Session,
		Tell: func(line string) { r.log.DovecotInfo(prefix, line) }, Fail: func(text string) { r.log.DovecotError(prefix, text) }}
}

// endPOP3 opens the folders that POP3 does not see, where some of them expire.
func (r *mailRole) endPOP3(s *session, x *extras.Session) {
	if len(x.Expire) == 0 {
		return
	}
	list, opened, err := spaces.Open(r.settings().Spaces, spaces.User{Name: s.User, Home: s.Home, Mail: s.Mail}, r.open)
	if err == nil {
		x.Watch(list)
		_, err = r.limitSpaces(s, list)
	}
	if err == nil {
		x.End(list)
	} else {
		x.Fail(err.Error())
	}
	for _, where := range opened {
		r.release(where)
	}
}
