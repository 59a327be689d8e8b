package local

import (
	"cmp"
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/route/table"
	"packetboat/internal/sys/maillog"
)

// VirtualOptions are the parameters of virtual(8).
type VirtualOptions struct {
	Hostname      string        `main:"myhostname"`
	Base          string        `main:"virtual_mailbox_base"`
	Maps          []string      `main:"virtual_mailbox_maps"`
	UIDMaps       []string      `main:"virtual_uid_maps"`
	GIDMaps       []string      `main:"virtual_gid_maps"`
	MinimumUID    int           `main:"virtual_minimum_uid"` // 0 = 100
	Delimiter     string        `main:"recipient_delimiter"`
	StatusFilter  []string      `main:"virtual_delivery_status_filter"`
	Tables        table.Options // how tables are opened
	DeliverTime   time.Duration // as in Options, like the others below
	Idle          time.Duration
	Conversations int
	Window        int
	WindowBytes   int64
}

// defMinimumUID is virtual_minimum_uid of postconf(5).
const defMinimumUID = 100

// Virtual is the transport virtual(8): mailboxes of users who have no account.
type Virtual struct {
	o                 VirtualOptions
	boxes, uids, gids table.Maps
	pool              *pool
	log               *maillog.Log
	filter            StatusFilter
}

// NewVirtual returns the transport; its tables are opened now.
func NewVirtual(o VirtualOptions, s Starter, log *maillog.Logger) (*Virtual, error) {
	o.MinimumUID = orElse(o.MinimumUID, defMinimumUID)
	v := &Virtual{o: o, log: log.Program("virtual")}
	// Results of patterns become paths and user numbers: no $1 from strangers. As
	// virtual(8) reads its tables itself, proxymap(8) has no say.
	topts := o.Tables
	topts.NoRegSub, topts.Approve = true, nil
	var err error
	for _, m := range []struct {
		to    *table.Maps
		specs []string
	}{{&v.boxes, o.Maps}, {&v.uids, o.UIDMaps}, {&v.gids, o.GIDMaps}} {
		if *m.to, err = table.OpenAll(m.specs, topts); err != nil {
			return nil, err
		}
	}
	if v.filter, err = OpenFilter("virtual_delivery_status_filter", o.StatusFilter, o.Tables); err != nil {
		return nil, err
	}
	p := Options{Hostname: o.Hostname, DeliverTime: o.DeliverTime, Idle: o.Idle, Conversations: o.Conversations,
		Window: o.Window, WindowBytes: o.WindowBytes}
	p.defaults()
	v.pool = newPool(p, s)
	return v, nil
}

// Close ends the open conversations once their mail is answered for.
func (v *Virtual) Close() { v.pool.close() }

// Deliver implements Transport.
func (v *Virtual) Deliver(ctx context.Context, job *mail.Job) {
	eachRcpt(job, func(i int) mail.Result {
		began := time.Now()
		a := v.one(ctx, job, &job.Rcpts[i])
		if a.connect == 0 && a.send == 0 {
			a.send = time.Since(began)
		}
		return mail.Result{Status: v.filter.Apply(ctx, a.status, v.log), Program: "virtual", Relay: cmp.Or(job.Transport, "virtual"), Connect: a.connect, Send: a.send}
	})
}

// one delivers to one recipient.
func (v *Virtual) one(ctx context.Context, job *mail.Job, rcpt *mail.Rcpt) answer {
	content, err := job.Open()
	if err != nil {
		return answer{status: mail.Defer("4.3.0", "cannot read the message: %v", err)}
	}
	defer content.Close()
	seen, err := readDelivered(content)
	if err != nil {
		return answer{status: mail.Defer("4.3.0", "cannot read the message: %v", err)}
	}
	if seen.has(rcpt.Addr) {
		return answer{status: mail.Bounce("5.4.6", "mail forwarding loop for %s", rcpt.Addr)}
	}
	who, st := v.who(ctx, rcpt.Addr)
	if st != nil {
		return answer{status: st}
	}
	success := "delivered to mailbox"
	if strings.HasSuffix(who.Mailbox, "/") {
		success = "delivered to maildir"
	}
	if job.Env.VerifyOnly {
		return answer{status: mail.OK("2.0.0", "%s", strings.Replace(success, "delivered", "delivers", 1))}
	}
	orig := rcpt.Orig
	if orig == "" {
		orig = rcpt.Addr
	}
	return v.pool.deliver(ctx, who, &task{sender: job.Env.Sender, rcpt: rcpt.Addr, orig: orig, delivered: rcpt.Addr,
		content: content, success: success})
}

// Pipeline tells send/sched that messages go one behind the other, as Local's.
func (v *Virtual) Pipeline(mail.Address) int { return v.pool.o.Window }

// configError is what mail waits with for a mistake in the tables.
func configError() *mail.Status { return mail.Defer("4.3.5", "mail system configuration error") }

// who finds the mailbox of an address and the numbers that own it.
func (v *Virtual) who(ctx context.Context, a mail.Address) (Who, *mail.Status) {
	path, found, err := v.find(ctx, v.boxes, a)
	if err != nil {
		v.log.LocalWarning("virtual_mailbox_maps lookup error for %s: %v", a, err)
		return Who{}, configError()
	}
	if !found {
		return Who{}, mail.Bounce("5.1.1", "unknown user: \"%s\"", a.Fold())
	}
	who := Who{Mailbox: v.path(path)}
	// A path that climbs out of the base would let whoever fills the table (or
	// a pattern in it) write elsewhere.
	if !inside(who.Mailbox, v.o.Base) {
		v.log.LocalWarning("recipient %s: mailbox %s is not below virtual_mailbox_base", a, who.Mailbox)
		return Who{}, configError()
	}
	var st *mail.Status
	if who.UID, st = v.number(ctx, v.uids, a, "uid", v.o.MinimumUID); st != nil {
		return Who{}, st
	}
	who.GID, st = v.number(ctx, v.gids, a, "gid", 1)
	return who, st
}

// path joins base and the table's answer; a "/" at its end stays, it makes the
// mailbox a maildir.
func (v *Virtual) path(s string) string {
	if v.o.Base == "" {
		return s
	}
	p := filepath.Join(v.o.Base, s)
	if strings.HasSuffix(s, "/") {
		p += "/"
	}
	return p
}

// inside tells whether path lies below base; without base it must be absolute
// and clean.
func inside(path, base string) bool {
	clean := filepath.Clean(path)
	if base == "" || base == "/" {
		return filepath.IsAbs(path) && clean != "/" && !strings.Contains(path+"/", "/../")
	}
	return strings.HasPrefix(clean, filepath.Clean(base)+"/")
}

// find asks for an address as mail_addr_find(3) does: with and without its
// extension, then for its domain.
func (v *Virtual) find(ctx context.Context, m table.Maps, a mail.Address) (string, bool, error) {
	s, _, found, err := m.FindKeys(ctx, table.MailKeys(a.Fold(), v.o.Delimiter, false))
	return s, found, err
}

// number asks for a user or group number, which must not be below least.
func (v *Virtual) number(ctx context.Context, m table.Maps, a mail.Address, what string, least int) (int, *mail.Status) {
	s, found, err := v.find(ctx, m, a)
	if err != nil || !found {
		v.log.LocalWarning("recipient %s: not found in virtual_%s_maps", a, what)
		if err != nil {
			v.log.LocalWarning("virtual_%s_maps: %v", what, err)
		}
		return 0, configError()
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < least {
		v.log.LocalWarning("recipient %s: bad %s %s in virtual_%s_maps", a, what, s, what)
		return 0, configError()
	}
	return n, nil
}
