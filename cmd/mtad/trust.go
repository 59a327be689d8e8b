package main

import (
	"context"
	"io"
	"path/filepath"
	"time"

	"packetboat/internal/mail"
	"packetboat/internal/send/bounce"
	"packetboat/internal/sys/dns"
	"packetboat/internal/trust/mtasts"
	"packetboat/internal/trust/tlsrpt"
)

// trust is what the clients know of other domains' wishes about TLS, and what they
// tell them; nil where no service asks for it.
type trust struct {
	sts    *mtasts.Cache
	counts *tlsrpt.Collector
}

// openTrust opens it where some client of master.cf wants it.
func (e *engine) openTrust() {
	log := e.logs.Program("smtp")
	folder := e.main.Get("data_directory")
	for _, svc := range e.services {
		if svc.Command != "smtp" {
			continue
		}
		m := e.main.With(svc.Options...)
		if m.Get("smtp_tls_mta_sts") == "yes" && e.trust.sts == nil {
			e.trust.sts = mtasts.New(mtasts.Options{File: filepath.Join(folder, "mta_sts_cache"), Names: e.names, Warn: log.Warn})
			e.kit.STS = e.trust.sts
		}
		if m.Get("smtp_tlsrpt_enable") == "yes" && e.trust.counts == nil {
			e.trust.counts = tlsrpt.NewCollector(filepath.Join(folder, "tlsrpt_counts"), log.Warn)
			e.kit.TLSCount, e.kit.TLSReports = e.trust.counts.Count, mail.Address("tlsrpt@"+e.main.Get("myorigin"))
		}
	}
}

// runTrust keeps policies fresh and sends reports until ctx ends.
func (e *engine) runTrust(ctx context.Context) {
	if e.trust.sts != nil {
		go e.trust.sts.Run(ctx)
	}
	if e.trust.counts == nil {
		return
	}
	r := tlsrpt.NewReporter(tlsrpt.Options{
		Organization: e.main.Get("mydomain"), Submitter: e.main.Get("myhostname"),
		From: mail.Address("postmaster@" + e.main.Get("myorigin")),
		TXT:  e.texts, Send: e.sendReport, Warn: e.logs.Program("smtp").Warn,
	}, e.trust.counts)
	go r.Run(ctx)
}

// saveTrust writes what is new.
func (e *engine) saveTrust() {
	if e.trust.sts != nil {
		e.trust.sts.Save()
	}
	if e.trust.counts != nil {
		e.trust.counts.Save()
	}
}

// texts asks for TXT records; that there are none is no error.
func (e *engine) texts(ctx context.Context, name string) ([]string, error) {
	list, err := e.names.TXT(ctx, name)
	if kind := dns.KindOf(err); err != nil && (kind == dns.NoHost || kind == dns.NoData) {
		err = nil
	}
	return list, err
}

// sendReport takes a report about TLS into the queue as pickup takes local mail, so that
// milters sign it. Nobody is told when it cannot be delivered.
func (e *engine) sendReport(to mail.Address, write func(io.Writer) error) error {
	in, source, err := e.localIntake()
	if err != nil {
		return err
	}
	m, err := in.OpenFrom(source)
	if err != nil {
		return err
	}
	env := &mail.Envelope{Sender: e.kit.TLSReports, Rcpts: []mail.Rcpt{{Addr: to, Notify: mail.NotifyNever}}, Arrived: time.Now(), UID: -1}
	if err = m.Start(env); err == nil {
		if err = write(m); err == nil {
			return m.Commit()
		}
	}
	m.Abort()
	return err
}

// draft begins a report on its way through what inspects local mail
// (internal_mail_filter_classes = bounce). No content filter gets it: what it cannot
// take would come back as a report again.
func (e *engine) draft(env *mail.Envelope) (bounce.Draft, error) {
	in, source, err := e.localIntake()
	if err != nil {
		return nil, err
	}
	s := *source
	s.Filter = ""
	m, err := in.OpenFrom(&s)
	if err != nil {
		return nil, err
	}
	if err := m.Start(env); err != nil {
		m.Abort()
		return nil, err
	}
	return m, nil
}
