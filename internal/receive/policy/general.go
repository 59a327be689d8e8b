package policy

import (
	"context"
	"net"
	"net/netip"
)

func checkPermit(context.Context, *eval, *step) result { return permit }

func checkReject(_ context.Context, e *eval, _ *step) result {
	value, class := e.what()
	return e.refuse(e.p.opts.Reject, "5.7.1", "<%s>: %s rejected: Access denied", value, class)
}

func checkDefer(_ context.Context, e *eval, _ *step) result {
	value, class := e.what()
	return e.refuse(e.p.opts.Defer, "4.3.2", "<%s>: %s rejected: Try again later", value, class)
}

func checkDeferIfPermit(_ context.Context, e *eval, _ *step) result {
	value, class := e.what()
	return e.deferIfPermit(e.p.opts.Defer, "4.7.0", "<%s>: %s rejected: defer_if_permit requested", value, class)
}

func checkDeferIfReject(_ context.Context, e *eval, _ *step) result {
	if e.ifBad == nil && !e.warn {
		value, class := e.what()
		e.ifBad = verdict(e.p.opts.Defer, "4.7.0", "<%s>: %s rejected: defer_if_reject requested", value, class)
		e.said = e.ifBad
	}
	return dunno
}

func checkMyNetworks(_ context.Context, e *eval, _ *step) result {
	if e.p.Trusted(e.s.Addr) {
		return permit
	}
	return dunno
}

// checkInetInterfaces lets this machine's own addresses in.
func checkInetInterfaces(_ context.Context, e *eval, _ *step) result {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return dunno
	}
	for _, a := range own {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Unmap() == e.s.Addr.Unmap() {
			return permit
		}
	}
	return dunno
}

func checkSASL(_ context.Context, e *eval, _ *step) result {
	if e.s.User != "" {
		return permit
	}
	return dunno
}

func checkPipelining(_ context.Context, e *eval, _ *step) result {
	if !e.s.Pipelining {
		return dunno
	}
	value, class := e.what()
	return e.refuse(503, "5.5.0", "<%s>: %s rejected: Improper use of SMTP command pipelining", value, class)
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
	if e.stage == atRcpt {
		n++ // the one under way
	}
	if e.s.Sender == nil || *e.s.Sender != "" || n < 2 {
		return dunno
	}
	value, class := e.what()
	return e.refuse(e.p.opts.MultiBounce, "5.5.3", "<%s>: %s rejected: Multi-recipient bounce", value, class)
}

func checkUnknownClient(_ context.Context, e *eval, _ *step) result {
	if e.s.NameState == NameOK {
		return dunno
	}
	const why = "Client host rejected: cannot find your hostname, [%s]"
	if e.s.NameState == NameTry {
		return e.refuse(450, "4.7.25", why, e.s.Addr.Unmap())
	}
	return e.refuse(e.p.opts.UnknownClient, "4.7.25", why, e.s.Addr.Unmap())
}

func checkUnknownReverse(_ context.Context, e *eval, _ *step) result {
	if e.s.RevState == NameOK {
		return dunno
	}
	const why = "Client host rejected: cannot find your reverse hostname, [%s]"
	if e.s.RevState == NameTry {
		return e.refuse(450, "4.7.25", why, e.s.Addr.Unmap())
	}
	return e.refuse(e.p.opts.UnknownClient, "4.7.25", why, e.s.Addr.Unmap())
}
