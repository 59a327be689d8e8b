package remote

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/send/remote/convert"
	"packetboat/internal/send/remote/replies"
)

// filterTime has look-ups of filters end with their session.
func filterTime() context.Context { return context.Background() }

// filterReply is smtp_reply_filter: a line of the host's as the administrator
// wants it read. A table that fails changes nothing.
func (t *Transport) filterReply(line []byte) []byte {
	text, found, err := t.opts.Replies.Lookup(filterTime(), string(line))
	if err != nil {
		t.log.Warn("%s: table lookup error for %q", t.param("reply_filter"), line)
	}
	if err != nil || !found {
		return line
	}
	return []byte(text)
}

// filterStatus is smtp_delivery_status_filter: "x.y.z text" becomes another one. A
// success stays one, and a failure a failure.
func (t *Transport) filterStatus(st *mail.Status) *mail.Status {
	if t.opts.Statuses == nil || st == nil {
		return st
	}
	key := st.Code + " " + st.Text
	text, found, err := t.opts.Statuses.Lookup(filterTime(), key)
	if err != nil {
		t.log.Warn("%s: table lookup error for %q", t.param("delivery_status_filter"), key)
		return st
	}
	if !found {
		return st
	}
	code, rest, _ := strings.Cut(text, " ")
	if !validCode(code) || (code[0] == '2') != (st.Outcome == mail.Sent) {
		t.log.Warn("%s: bad status %q for %q", t.param("delivery_status_filter"), text, key)
		return st
	}
	out := *st
	out.Code, out.Text = code, strings.TrimLeft(rest, " ")
	if code[0] != '2' {
		out.Outcome = mail.Bounced
		if code[0] == '4' {
			out.Outcome = mail.Deferred
		}
	}
	return &out
}

// validCode tells an enhanced status code (RFC 3463).
func validCode(s string) bool { return replies.Enhanced([]byte(s[:min(1, len(s))]+"00 "+s+" ")) != "" }

// discarded returns the extensions that smtp_discard_ehlo_keywords hides, in
// capitals.
func (t *Transport) discarded(h host) []string {
	words := t.opts.Discard
	if t.opts.DiscardMaps != nil && h.unix == "" {
		v, found, err := t.opts.DiscardMaps.Lookup(filterTime(), h.addr.String())
		if err != nil {
			t.log.Warn("%s: table lookup error for %s", t.param("discard_ehlo_keyword_address_maps"), h.addr)
		} else if found {
			words = strings.FieldsFunc(v, isSeparator)
		}
	}
	var out []string
	silent := false
	for _, w := range words {
		if strings.EqualFold(w, "silent-discard") {
			silent = true
			continue
		}
		out = append(out, strings.ToUpper(w))
	}
	if len(out) > 0 && !silent {
		t.log.Info("discarding EHLO keywords: %s", strings.Join(out, " "))
	}
	return out
}

// perSite is smtp_tls_per_site, which smtp_tls_policy_maps replaced: a word for
// the next hop and one for the host, the stronger one counts, but NONE is stronger
// than MAY (smtp_tls_policy.c).
func (t *Transport) perSite(ctx context.Context, dest string, h host) (level, string, error) {
	where := t.param("tls_per_site") + ": "
	if t.opts.PerSite == nil {
		return t.level, where, nil
	}
	site := -1
	keys := []string{dest}
	if !strings.EqualFold(dest, h.name) {
		keys = append(keys, h.name)
	}
	for _, key := range keys {
		v, found, err := t.opts.PerSite.Lookup(ctx, strings.ToLower(key))
		switch {
		case err != nil:
			return levelSecure, where, fmt.Errorf("table lookup error: %w", err)
		case !found:
			continue
		}
		i := slices.Index([]string{"MAY", "NONE", "MUST_NOPEERMATCH", "MUST"}, strings.ToUpper(v))
		if i < 0 {
			return levelSecure, where, fmt.Errorf("unknown TLS policy '%s' for %s", v, key)
		}
		site = max(site, i)
	}
	if site < 0 {
		return t.level, where, nil
	}
	return [...]level{levelMay, levelNone, levelEncrypt, levelVerify}[site], where, nil
}

// generic is smtp_generic_maps for an address of the envelope. A table that
// fails leaves it: the address is right, if only at home.
func (t *Transport) generic(a mail.Address) mail.Address {
	if t.opts.Convert.Generic == nil {
		return a
	}
	to, err := t.opts.Convert.Generic(a)
	if err != nil {
		return a
	}
	return to
}

// external is an address of the envelope as the host gets it. With
// smtp_quote_rfc821_envelope = no it has no quotes, except for the sake of bytes
// that would end the command or the address.
func (t *Transport) external(a mail.Address) string {
	a = t.generic(a)
	if !t.opts.QuoteEnvelope && strings.IndexFunc(string(a), endsAddress) < 0 {
		return string(a)
	}
	return a.Quoted()
}

// endsAddress tells whether r is a control byte or one of <>.
func endsAddress(r rune) bool { return r < ' ' || r == 0x7f || r == '<' || r == '>' }

// original is the recipient as the sender wrote it.
func original(r mail.Rcpt) mail.Address {
	if r.Orig != "" {
		return r.Orig
	}
	return r.Addr
}

// convert changes the message on its way: what checks and tables want, and 8-bit
// text for a host that does not take it (RFC 6152 section 3). A message that was
// declared to be 7-bit needs no conversion.
func (s *session) convert(r io.Reader, job *mail.Job) io.Reader {
	t := s.t
	down := !t.opts.NoConversion && !s.has("8BITMIME") && job.Env.Body != mail.Body7Bit
	if !down && !t.opts.Convert.Needed() {
		return r
	}
	o := t.opts.Convert
	o.Warn = func(text string) { t.log.Warn("%s", text) }
	o.Action = func(action, where, line, text string) { t.log.SMTPCheck(job.ID, action, where, line, text) }
	return convert.New(filterTime(), r, o, down)
}
