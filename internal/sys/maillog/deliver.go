package maillog

// The events of dovecot-lda. The tag is "dovecot: ", as in dovecot.go.

// LDASaved: dovecot-lda stored a message; box is INBOX or a folder's name.
func (g *Log) LDASaved(user string, pid int, session, msgid, box string) {
	g.Info("lda(%s)<%d><%s>: msgid=%s: saved mail to %s", angle(user), pid, session, msgid, box)
}

// LDAFailed: dovecot-lda could not store a message.
func (g *Log) LDAFailed(user string, pid int, session, msgid, box, text string) {
	g.Info("lda(%s)<%d><%s>: msgid=%s: save failed to %s: %s", angle(user), pid, session, msgid, box, text)
}

// LDANoUser: dovecot-lda was asked for an account that does not exist.
func (g *Log) LDANoUser(user string, pid int) {
	g.write(sevErr, "", "lda(%s)<%d>: Fatal: User doesn't exist", []any{angle(user), pid})
}

// LDARejected: dovecot-lda refuses a message for good.
func (g *Log) LDARejected(user string, pid int, session, msgid, reason string) {
	g.Info("lda(%s)<%d><%s>: msgid=%s: rejected: %s", angle(user), pid, session, msgid, reason)
}

// LDANoSender: a message that is refused has no sender who could be told.
func (g *Log) LDANoSender(user string, pid int, session, msgid, reason string) {
	g.Info("lda(%s)<%d><%s>: msgid=%s: Return-Path missing, rejection reason: %s", angle(user), pid, session, msgid, reason)
}
