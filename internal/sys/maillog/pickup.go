package maillog

// PickupFrom writes "ID: uid=1500 from=<alice>": whose mail was taken out of
// maildrop, and the sender as it was written there.
func (g *Log) PickupFrom(id string, uid int, sender string) {
	g.Info("%s: uid=%d from=<%s>", id, uid, sender)
}

// PickupCorrupt writes the warning for a file in maildrop that is damaged and
// was moved to the corrupt queue.
func (g *Log) PickupCorrupt(name, reason string) { g.Warn("%s: corrupt file: %s", name, reason) }

// PickupUntrusted writes the warning for a name in maildrop that is no plain
// file of one owner; it is left alone.
func (g *Log) PickupUntrusted(name, reason string) {
	g.Warn("%s: not taken from maildrop: %s", name, reason)
}

// PickupFailed writes the warning for a file that could not be read or queued
// and stays in maildrop.
func (g *Log) PickupFailed(name string, err error) { g.Warn("%s: left in maildrop: %v", name, err) }
