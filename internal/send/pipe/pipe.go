package pipe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/send/local"
	"packetboat/internal/sys/maillog"
)

// Starter runs the command of a pipe service; the root parent of mtad implements
// it. It finds the command and its account in master.cf by itself.
type Starter interface {
	// Pipe runs the service's command for v. feed writes its standard input; an
	// error of feed's that is not one of the command's not reading defers the mail.
	Pipe(ctx context.Context, service string, v *Values, limit time.Duration, feed func(io.Writer) error) (exit int, output string, err error)
}

// Options are the parameters of pipe(8).
type Options struct {
	Delims string             `main:"recipient_delimiter"`
	Time   time.Duration      // SERVICE_time_limit; 0 = 1000 s
	Filter local.StatusFilter // pipe_delivery_status_filter; nil = none
}

// Pipe is the transport pipe(8) of one service of master.cf.
type Pipe struct {
	o       Options
	service string
	attrs   *Attrs
	start   Starter
	log     *maillog.Log
}

// defTime is command_time_limit of postconf(5).
const defTime = 1000 * time.Second

// maxRcptBytes bounds the addresses that one command gets, in octets: what the
// kernel takes as arguments, and our parent as a request, is limited too.
const maxRcptBytes = 16 << 10

// New returns the transport of a service whose arguments are args.
func New(o Options, service string, args []string, s Starter, log *maillog.Log) (*Pipe, error) {
	attrs, err := Parse(args)
	if err != nil {
		return nil, err
	}
	if o.Time == 0 {
		o.Time = defTime
	}
	return &Pipe{o: o, service: service, attrs: attrs, start: s, log: log}, nil
}

// Deliver implements the transport of send/sched: one command for all recipients
// of the job, or as many as their addresses want.
func (p *Pipe) Deliver(ctx context.Context, job *mail.Job) {
	for from := 0; from < len(job.Rcpts); {
		to, size := from, 0
		for to < len(job.Rcpts) && (to == from || size <= maxRcptBytes) {
			size += len(job.Rcpts[to].Addr) + len(job.Rcpts[to].Orig)
			to++
		}
		p.some(ctx, job, from, to)
		from = to
	}
}

// some delivers to the recipients from .. to-1 and answers for them.
func (p *Pipe) some(ctx context.Context, job *mail.Job, from, to int) {
	began := time.Now()
	res := mail.Result{Status: mail.Defer("4.3.0", "internal error of the delivery agent"), Program: "pipe", Relay: p.service}
	defer func() {
		recover() // res says what the sender's system needs to know
		res.Send = time.Since(began)
		for i := from; i < to; i++ {
			job.Report(i, res)
		}
	}()
	res.Status = p.o.Filter.Apply(ctx, p.run(ctx, job, job.Rcpts[from:to]), p.log)
}

// errConfig is what mail waits with for a mistake in master.cf.
func errConfig() *mail.Status { return mail.Defer("4.3.5", "mail system configuration error") }

// run runs the command once.
func (p *Pipe) run(ctx context.Context, job *mail.Job, rcpts []mail.Rcpt) *mail.Status {
	if st := p.refuse(job, rcpts); st != nil {
		return st
	}
	content, err := job.Open()
	if err != nil {
		return mail.Defer("4.3.0", "cannot read the message: %v", err)
	}
	defer content.Close()
	if p.attrs.Delivered {
		looped, err := local.Looped(content, rcpts[0].Addr)
		if err != nil {
			return mail.Defer("4.3.0", "cannot read the message: %v", err)
		}
		if looped {
			return mail.Bounce("5.4.6", "mail forwarding loop for %s", rcpts[0].Addr)
		}
	}
	v := p.values(job, rcpts)
	if _, unknown := p.attrs.Expand(v); unknown != "" {
		p.log.LocalWarning("service %s: unknown macro name: \"%s\"", p.service, unknown)
		return errConfig()
	}
	feed := func(w io.Writer) error {
		err := p.attrs.write(w, v, rcpts[0].Addr, content, time.Now())
		var unread *unreadError
		if errors.As(err, &unread) {
			return nil
		}
		return err
	}
	exit, output, err := p.start.Pipe(ctx, p.service, v, p.o.Time, feed)
	return p.status(exit, output, err)
}

// refuse answers for mail that no command is run for.
func (p *Pipe) refuse(job *mail.Job, rcpts []mail.Rcpt) *mail.Status {
	for _, f := range []struct {
		set  bool
		name string
	}{{p.attrs.Delivered, "D"}, {p.attrs.OrigTo, "O"}} {
		if f.set && len(rcpts) > 1 {
			p.log.LocalWarning("pipe flag `%s' requires %s_destination_recipient_limit = 1", f.name, p.service)
			return errConfig()
		}
	}
	if p.attrs.Size > 0 && job.Size > p.attrs.Size {
		return mail.Bounce("5.2.3", "message too large")
	}
	if job.Env.VerifyOnly {
		return mail.OK("2.0.0", "delivers to command: %s", p.attrs.Argv[0])
	}
	return nil
}

func (p *Pipe) values(job *mail.Job, rcpts []mail.Rcpt) *Values {
	v := &Values{Sender: job.Env.Sender, Nexthop: job.Nexthop, Size: job.Size, QueueID: job.ID,
		Client: ClientOf(&job.Env.Peer), Delims: p.o.Delims}
	for _, r := range rcpts {
		orig := r.Orig
		if orig == "" {
			orig = r.Addr
		}
		v.Rcpts = append(v.Rcpts, Rcpt{r.Addr, orig})
	}
	return v
}

// status makes a status of the command's end: eval_command_status of pipe(8).
func (p *Pipe) status(exit int, output string, err error) *mail.Status {
	if err == nil && exit == 0 {
		text := fmt.Sprintf("delivered via %s service", p.service)
		if said := strings.TrimSpace(local.Tidy(output)); said != "" {
			text += " (" + said + ")"
		}
		st := mail.OK("2.0.0", "%s", text)
		if !p.attrs.Final {
			st.Action = mail.Relayed
		}
		return st
	}
	return local.ExitStatus(p.attrs.Argv[0], exit, output, err)
}
