package maillog

// The lines of cleanup(8) and pickup(8): what intake says of a message on its
// way into the queue. Ids are queue ids; texts from headers are made printable
// by the Logger.

// MessageID writes "ID: message-id=<...>". id is the header's value with its
// angle brackets; "<>" when the message has none.
func (g *Log) MessageID(id, value string) { g.Info("%s: message-id=%s", id, value) }

// ResentMessageID writes "ID: resent-message-id=<...>".
func (g *Log) ResentMessageID(id, value string) { g.Info("%s: resent-message-id=%s", id, value) }

// QueueFileTooBig writes the warning for a message over message_size_limit.
func (g *Log) QueueFileTooBig(id string) { g.Warn("%s: queue file size limit exceeded", id) }

// QueueWriteError writes the warning for a queue file that could not be written.
func (g *Log) QueueWriteError(id string, err error) { g.Warn("%s: write queue file: %v", id, err) }

// AliasLookup writes the warning for a virtual_alias_maps look-up that failed,
// which makes the message wait.
func (g *Log) AliasLookup(id, addr string, err error) {
	g.Warn("%s: virtual_alias_maps map lookup problem for %s: %v -- message not accepted, try again later", id, addr, err)
}

// AliasTooLarge writes the warning for an alias that has more members than
// virtual_alias_expansion_limit.
func (g *Log) AliasTooLarge(id, addr string) {
	g.Warn("%s: unreasonable virtual_alias_maps map expansion size for %s -- message not accepted, try again later", id, addr)
}
