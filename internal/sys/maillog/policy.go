package maillog

// The lines of smtpd(8) about its access lists that are no refusals.

// SMTPDRestriction tells of a restriction that cannot be carried out.
func (g *Log) SMTPDRestriction(what string) { g.Warn("%s", what) }

// SMTPDAccess tells of an access table's answer that has no meaning where it
// was given.
func (g *Log) SMTPDAccess(table, what string) { g.Warn("access table %s: %s", table, what) }

// SMTPDEntry tells of an entry of an access table that is not complete.
func (g *Log) SMTPDEntry(table, key, what string) {
	g.Warn("access table %s entry \"%s\" %s", table, key, what)
}

// SMTPDForbidden tells of a table that permits what a stranger decides.
func (g *Log) SMTPDForbidden(restriction, target string) {
	g.Warn("restriction %s returns OK for %s", restriction, target)
	g.Warn("this is not allowed for security reasons")
	g.Warn("use DUNNO instead of OK if you want to make an exception")
}

// SMTPDServerLookup tells that the MX or NS of a domain, of which an access
// table was to be asked, are not known.
func (g *Log) SMTPDServerLookup(kind, domain, why string) {
	g.Warn("Unable to look up %s host for %s: %s", kind, domain, why)
}

// SMTPDServerAddr tells that such a host has no address.
func (g *Log) SMTPDServerAddr(kind, host, class, value, why string) {
	g.Warn("Unable to look up %s host %s for %s %s: %s", kind, host, class, value, why)
}
