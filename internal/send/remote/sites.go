package remote

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/mail"
)

// loopError is the status of mail whose best MX host we are. Another transport
// may know what to do with it (best_mx_transport).
type loopError struct{ *mail.Status }

// Unwrap makes it a *mail.Status for all others.
func (e *loopError) Unwrap() error { return e.Status }

// sites tries the next hops: those of the job, which may be several with commas
// between them, and behind them smtp_fallback_relay. It tells whether another
// transport took the job over.
func (a *attempt) sites(ctx context.Context) (passed bool) {
	o := &a.t.opts
	list := []string{a.job.Nexthop}
	if !o.LMTP {
		list = strings.FieldsFunc(a.job.Nexthop, isSeparator)
	}
	own := len(list)
	list = append(list, o.Fallback...)
	if len(list) == 0 {
		list = []string{a.job.Nexthop}
	}
	for n, site := range list {
		if a.site = site; len(a.left) == 0 || ctx.Err() != nil {
			break
		}
		start := time.Now()
		hosts, err := a.t.hosts(ctx, site)
		var loop *loopError
		switch {
		case errors.As(err, &loop) && n < own && o.BestMX != "" && o.Pass != nil && o.Pass(ctx, o.BestMX, a.job):
			return true
		case err != nil:
			a.miss(mail.Result{Status: mail.AsStatus(err), Relay: "none", Connect: time.Since(start)}, n == len(list)-1)
		default:
			a.run(ctx, hosts, start)
		}
	}
	return false
}

// miss notes that a next hop could not be found. Only the last one's failure can
// be the end (smtp_connect.c).
func (a *attempt) miss(r mail.Result, last bool) {
	if last {
		a.failAll(r)
		return
	}
	for _, i := range a.left {
		a.last[i] = r
	}
}

// portNumber is smtp_tcp_port as a number.
func portNumber(name string, lmtp bool) string {
	switch {
	case name == "" && lmtp:
		return "24"
	case name == "" || name == "smtp":
		return "25"
	}
	if n, err := net.LookupPort("tcp", name); err == nil {
		return strconv.Itoa(n)
	}
	return name
}

// ordered is order for what may be an error.
func (t *Transport) ordered(list []host, err error) ([]host, error) { return t.order(list), err }

// order puts hosts of the same preference in the order of
// smtp_address_preference: a random one with "any". No family may take all the
// places that smtp_mx_address_limit leaves.
func (t *Transport) order(list []host) []host {
	if len(list) < 2 {
		return list
	}
	list = slices.Clone(list)
	first := t.opts.AddressPref
	if first != "ipv4" && first != "ipv6" {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
		first = ""
	}
	slices.SortStableFunc(list, func(a, b host) int {
		if a.pref != b.pref || first == "" {
			return int(a.pref) - int(b.pref)
		}
		return rank(a.addr, first) - rank(b.addr, first)
	})
	if t.opts.Balance {
		list = balance(list, t.opts.AddressLimit)
	}
	return list
}

func rank(a netip.Addr, first string) int {
	if a.Is4() == (first == "ipv4") {
		return 0
	}
	return 1
}

// balance leaves limit hosts, half of each family where there are as many.
func balance(list []host, limit int) []host {
	six := 0
	for _, h := range list {
		if h.addr.Is6() {
			six++
		}
	}
	four := len(list) - six
	if six == 0 || four == 0 || len(list) <= limit {
		return list
	}
	want6 := min(six, max(limit/2, limit-four))
	want4 := limit - want6
	return slices.DeleteFunc(list, func(h host) bool {
		n := &want4
		if h.addr.Is6() {
			n = &want6
		}
		*n--
		return *n < 0
	})
}

// bindFailed tells whether a connection failed because our own address cannot be
// used.
func bindFailed(err error) bool {
	var sys *os.SyscallError
	return errors.As(err, &sys) && sys.Syscall == "bind"
}
