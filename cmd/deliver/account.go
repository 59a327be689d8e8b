package main

import (
	"encoding/json"
	"net"

	"packetboat/internal/deliver"
	"packetboat/internal/deliver/dovecot"
	"packetboat/internal/deliver/lmtpd"
	"packetboat/internal/store/location"
	"packetboat/internal/sys/proc"
)

// serveAccount leads the conversation of mrad's LMTP service for one of its users:
// folders and limits are those of dovecot.conf, which mrad has read.
func (c *call) serveAccount(conn net.Conn, who *proc.User, o deliver.Options) error {
	var a dovecot.Account
	if err := json.Unmarshal([]byte(c.account), &a); err != nil {
		return usage("--account: " + err.Error())
	}
	loc, err := location.Parse(a.Mail)
	if err != nil {
		return err
	}
	o.Limit = 0 // a matter of Postfix's local(8) and virtual(8)
	a.Options.Agent = o
	u := dovecot.Open(a.Options, deliver.Account{User: a.User, UID: who.UID, Home: a.Home}, loc)
	defer u.Close()
	return lmtpd.Serve(conn, lmtpd.Options{Host: o.Host, Raw: true}, u)
}
