package maillog

// LMTPResult: what became of a message for one recipient; text is "saved mail to
// FOLDER" or "save failed to FOLDER: reason".
func (g *Log) LMTPResult(user string, pid int, session, msgid, text string) {
	g.Info("lmtp(%s)<%d><%s>: msgid=%s: %s", angle(user), pid, session, msgid, text)
}
