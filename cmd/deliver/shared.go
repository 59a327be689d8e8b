package main

import (
	"net"
	"os"
	"path/filepath"

	"packetboat/cmd/internal/boxes"
	"packetboat/internal/deliver"
	"packetboat/internal/deliver/lmtpd"
	"packetboat/internal/sys/proc"
)

// shared is deliver -z --shared: it writes the mailboxes that mtad's parent opens for
// it, of all users whose mail needs no process of their own.
func (c *call) shared() error {
	o, err := c.options()
	if err != nil {
		return err
	}
	ch, err := proc.Inherited(3)
	if err != nil {
		return &failure{code: exNoPerm, text: "descriptor 3 is no socket", hint: "deliver -z is started by mtad"}
	}
	spool := o.Spool
	if spool == "" {
		spool = filepath.Dir(deliver.New(o, deliver.Account{User: "x"}).Path())
	}
	// For the dates of From_ lines, and for the note of an append under way (mbox).
	read := []string{"/etc/localtime", "/usr/share/zoneinfo", "/proc/sys/kernel/random/boot_id"}
	if err := proc.Confine(read, []string{spool, os.TempDir()}); err != nil {
		return err
	}
	boxes.Serve(ch, func(conn net.Conn, b boxes.Box, open func() (*os.File, error)) {
		with := o
		with.Open = open
		a := deliver.Account{User: b.User, UID: b.UID, Inbox: b.Path}
		lmtpd.Serve(conn, lmtpd.Options{Host: o.Host, Raw: true}, deliver.NewLMTP(with, deliver.Everyone(a), nil))
	})
	return nil
}
