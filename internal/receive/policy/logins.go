package policy

import (
	"context"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/receive/policy/spec"
	"packetboat/internal/route/table"
)

// checkLoginMismatch is the restriction that Postfix makes of two others.
func checkLoginMismatch(ctx context.Context, e *eval, st *step) result {
	if r := checkAuthMismatch(ctx, e, st); r != dunno {
		return r
	}
	return checkUnauthMismatch(ctx, e, st)
}

// checkAuthMismatch refuses a logged-in client a sender that he does not own.
func checkAuthMismatch(ctx context.Context, e *eval, st *step) result {
	return e.mismatch(ctx, st, true, false)
}

// checkUnauthMismatch refuses a sender that somebody owns to who is not logged in.
func checkUnauthMismatch(ctx context.Context, e *eval, st *step) result {
	return e.mismatch(ctx, st, false, true)
}

// checkKnownMismatch is both of them for senders that somebody owns.
func checkKnownMismatch(ctx context.Context, e *eval, st *step) result {
	if e.s.User != "" {
		return e.mismatch(ctx, st, true, true)
	}
	return e.mismatch(ctx, st, false, true)
}

// mismatch asks smtpd_sender_login_maps for the owners of the sender. loggedIn
// says which clients it is about; ownedOnly lets a sender without an owner pass.
func (e *eval) mismatch(ctx context.Context, st *step, loggedIn, ownedOnly bool) result {
	if !e.saslKnown(st) || text(e.s.Sender) == "" || len(e.p.senders) == 0 && !loggedIn || loggedIn != (e.s.User != "") {
		return dunno
	}
	a := *e.s.Sender
	owners, owned, err := e.owners(ctx, a)
	switch {
	case err != nil:
		return e.broken(a, err)
	case !loggedIn && owned:
		return e.refuse(553, "5.7.1", "%s", rejected(string(a), senderClass, "not logged in"))
	case !loggedIn || !owned && ownedOnly:
		return dunno
	}
	for _, name := range spec.Words(owners) {
		if strings.EqualFold(name, e.s.User) {
			return dunno
		}
	}
	return e.refuse(553, "5.7.1", "%s", rejected(string(a), senderClass, "not owned by user "+e.s.User))
}

// owners looks a sender up in the order of other address tables: whole, without
// extension, the user alone in domains of this machine, the domain.
func (e *eval) owners(ctx context.Context, a mail.Address) (string, bool, error) {
	d, err := e.resolve(ctx, a)
	if err != nil {
		return "", false, err
	}
	key := e.qualified(d.addr)
	local := d.class == Local || strings.EqualFold(key.Domain(), e.p.opts.MyOrigin)
	owners, _, found, err := e.p.senders.FindKeys(ctx, table.MailKeys(key, e.p.opts.Delimiter, local))
	return owners, found, err
}

func checkCertAccess(ctx context.Context, e *eval, st *step) result {
	if e.s.Fingerprint == "" {
		e.noCert(st)
		return dunno
	}
	for _, k := range st.search {
		key := [...]string{spec.Fingerprint: e.s.Fingerprint, spec.KeyFingerprint: e.s.PubkeyFingerprint,
			spec.Issuer: e.s.Issuer, spec.Subject: e.s.Subject}[k]
		r, _ := e.access(ctx, st, subject{e.s.Subject, certClass}, []table.Key{{Text: key}})
		if r != dunno {
			return r
		}
	}
	return dunno
}

// noCert says why there can be no certificate, where that is our own doing.
func (e *eval) noCert(st *step) {
	if !e.p.opts.AskCert {
		e.p.deps.Log.SMTPDRestriction(st.name + " is requested, but \"smtpd_tls_ask_ccert = no\"")
	}
}

func checkClientCerts(ctx context.Context, e *eval, st *step) result {
	return e.clientCerts(ctx, st, false)
}

func checkAllClientCerts(ctx context.Context, e *eval, st *step) result {
	return e.clientCerts(ctx, st, true)
}

// clientCerts permits a client whose certificate relay_clientcerts names, or any
// that a CA of ours vouches for.
func (e *eval) clientCerts(ctx context.Context, st *step, all bool) result {
	switch {
	case !e.s.TLS:
		return dunno
	case all && e.s.Verified:
		return e.permitClient(ctx, st)
	case e.s.Fingerprint == "":
		e.noCert(st)
		return dunno
	}
	switch found, err := e.p.CertListed(ctx, e.s); {
	case err != nil:
		return e.tableFault("relay_clientcerts", err)
	case found:
		return e.permitClient(ctx, st)
	}
	return dunno
}

// CertListed tells whether relay_clientcerts names the client's certificate or
// its key. smtpd asks for local_header_rewrite_clients.
func (p *Policy) CertListed(ctx context.Context, s *Session) (bool, error) {
	for _, key := range []string{s.Fingerprint, s.PubkeyFingerprint} {
		if key == "" {
			continue
		}
		if _, found, err := p.certs.Lookup(ctx, key); found || err != nil {
			return found, err
		}
	}
	return false, nil
}
