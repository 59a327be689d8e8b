package maillog

// The events of smtp(8) and lmtp(8), the clients.

// SMTPTLS tells that TLS is set up with a host. trust is Verified, Trusted or
// Untrusted; host is "name[address]:port"; what is the protocol and cipher.
func (g *Log) SMTPTLS(trust, host, what string) {
	g.Info("%s TLS connection established to %s: %s", trust, host, what)
}

// SMTPNoTLS tells that a TLS handshake failed: why is "lost connection" or
// OpenSSL's number for it, detail what the library says, or empty.
func (g *Log) SMTPNoTLS(host, why, detail string) {
	g.Info("SSL_connect error to %s: %s", host, why)
	if detail != "" {
		g.Warn("TLS library problem: %s", detail)
	}
}

// SMTPCheck says what smtp_header_checks and its like did to a line: action is
// "replace", "warning" and so on, where "header" or "body", text what the table
// said.
func (g *Log) SMTPCheck(id, action, where, line, text string) {
	if text != "" {
		text = ": " + text
	}
	g.Info("%s: %s: %s %.200s%s", id, action, where, line, text)
}
