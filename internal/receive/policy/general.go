package policy

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"

	"packetboat/internal/mail"
)

func checkPermit(ctx context.Context, e *eval, st *step) result {
	value, class := e.subject()
	return e.permit(ctx, st.written, class, value, "")
}

func checkReject(_ context.Context, e *eval, _ *step) result {
	value, class := e.subject()
	return e.refuse(e.p.opts.Reject, "5.7.1", "%s", rejected(value, class, "Access denied"))
}

func checkDefer(_ context.Context, e *eval, _ *step) result {
	value, class := e.subject()
	return e.refuse(e.p.opts.Defer, "4.3.2", "%s", rejected(value, class, "Try again later"))
}

func checkDeferIfPermit(_ context.Context, e *eval, _ *step) result {
	value, class := e.subject()
	return e.deferIfPermit(450, "4.7.0", "%s", rejected(value, class, "defer_if_permit requested"))
}

func checkDeferIfReject(_ context.Context, e *eval, _ *step) result {
	value, class := e.subject()
	e.deferIfReject(450, "4.7.0", "%s", rejected(value, class, "defer_if_reject requested"))
	return dunno
}

// checkSleep waits: an old trick against clients without patience.
func checkSleep(ctx context.Context, _ *eval, st *step) result {
	wait(ctx, st.pause)
	return dunno
}

// wait returns after d, or when ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func checkMyNetworks(ctx context.Context, e *eval, st *step) result {
	ok, err := e.p.local.Match(ctx, e.s.Name, e.s.Addr)
	switch {
	case err != nil:
		return e.tableFault("mynetworks", err)
	case ok:
		return e.permitClient(ctx, st)
	}
	return dunno
}

// tableFault refuses because a table of ours does not answer.
func (e *eval) tableFault(what string, err error) result {
	e.p.deps.Log.SMTPDConfig(what, err)
	value, _ := e.subject()
	return e.hard("4.3.0", "<%s>: Temporary lookup failure", value)
}

// checkInetInterfaces lets this machine's own addresses in.
func checkInetInterfaces(ctx context.Context, e *eval, st *step) result {
	if !e.p.isOwn(e.s.Addr) {
		return dunno
	}
	return e.permitClient(ctx, st)
}

// isOwn tells whether an address is one of this machine's.
func (p *Policy) isOwn(a netip.Addr) bool {
	for _, own := range p.own() {
		if own == a.Unmap().WithZone("") {
			return true
		}
	}
	return false
}

func kernelAddrs() (out []netip.Addr) {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range own {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap().WithZone(""))
		}
	}
	return out
}

func checkSASL(ctx context.Context, e *eval, st *step) result {
	if e.s.User == "" {
		return dunno
	}
	return e.permitClient(ctx, st)
}

func checkPipelining(_ context.Context, e *eval, _ *step) result {
	if !e.s.Pipelining {
		return dunno
	}
	value, class := e.subject()
	return e.refuse(503, "5.5.0", "%s", rejected(value, class, "Improper use of SMTP command pipelining"))
}

func checkPlaintext(_ context.Context, e *eval, _ *step) result {
	if e.s.TLS {
		return dunno
	}
	return e.refuse(e.p.opts.Plaintext, "4.7.1", "Session encryption is required")
}

// checkMultiBounce refuses a bounce to several recipients: no real one has them.
func checkMultiBounce(_ context.Context, e *eval, _ *step) result {
	n := e.s.RcptCount
	if e.s.Where == "RCPT" {
		n++ // the one under way
	}
	if e.s.Sender == nil || *e.s.Sender != "" || n < 2 {
		return dunno
	}
	value, class := e.subject()
	return e.refuse(e.p.opts.MultiBounce, "5.5.3", "%s", rejected(value, class, "Multi-recipient bounce"))
}

func checkUnknownClient(_ context.Context, e *eval, _ *step) result {
	return e.unknownName(e.s.NameState, "4.7.25", "hostname")
}

func checkUnknownReverse(_ context.Context, e *eval, _ *step) result {
	return e.unknownName(e.s.RevState, "4.7.1", "reverse hostname")
}

func (e *eval) unknownName(state Lookup, dsn, what string) result {
	code := 450
	switch state {
	case NameOK:
		return dunno
	case NameNone:
		code = e.p.opts.UnknownClient
	}
	return e.refuse(code, dsn, "Client host rejected: cannot find your %s, [%s]", what, e.s.Addr.Unmap())
}

// greylist asks a stranger to come again. Who is trusted, or was permitted by
// some restriction, need not.
func (e *eval) greylist(ctx context.Context, now time.Time) result {
	if e.p.deps.Grey == nil || e.allowed || e.s.User != "" || e.s.Where != "RCPT" || e.p.Trusted(e.s.Addr) {
		return dunno
	}
	if ok, err := e.p.spared.Match(ctx, e.s.Name, e.s.Addr); ok || err != nil {
		return dunno // a table that is broken keeps no mail away
	}
	var sender mail.Address
	if e.s.Sender != nil {
		sender = *e.s.Sender
	}
	v := e.p.deps.Grey.Ask(now, e.s.Addr, sender, *e.s.Rcpt)
	if v.Wait > 0 {
		return e.refuse(450, "4.2.0", "%s", rejected(text(e.s.Rcpt), rcptClass, e.p.deps.Grey.Text(v, *e.s.Rcpt)))
	}
	const field = "X-Greylist: "
	have := len(e.s.Actions.Prepend) > 0 && strings.HasPrefix(e.s.Actions.Prepend[len(e.s.Actions.Prepend)-1], field)
	if v.Waited > 0 && !have {
		e.s.Actions.Prepend = append(e.s.Actions.Prepend, field+"delayed "+itoa(int64(v.Waited/time.Second))+
			" seconds by packetboat at "+e.p.opts.Hostname+"; "+now.Format("Mon, 02 Jan 2006 15:04:05 MST"))
	}
	return dunno
}
