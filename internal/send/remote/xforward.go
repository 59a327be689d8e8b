package remote

import (
	"slices"
	"strconv"
	"strings"

	"packetboat/internal/mail"
)

// forwardClient tells a content filter who the client was (XFORWARD_README,
// smtp_send_xforward_command): two commands, with the attributes that the host
// asks for. A refusal is told and does not matter.
func (s *session) forwardClient(job *mail.Job) error {
	if !s.t.opts.XForward || !s.has("XFORWARD") {
		return nil
	}
	for _, set := range [...]struct {
		name string
		list [][2]string
	}{{"name/address", s.attributes(clientAttrs(&job.Env.Peer))}, {"helo/protocol", s.attributes(protoAttrs(job))}} {
		if len(set.list) == 0 {
			continue
		}
		line := "XFORWARD"
		for _, a := range set.list {
			line += " " + a[0] + "=" + mail.Xtext(a[1])
		}
		r, err := s.command(s.t.opts.XForwardTimeout, "sending XFORWARD "+set.name, line)
		if err != nil {
			return err
		}
		if r.failed() {
			s.t.log.Warn("host %s said: %s (in reply to XFORWARD %s command)", s.host, r.text, set.name)
		}
	}
	return nil
}

// attributes leaves the attributes that have a value and that the host asks for.
func (s *session) attributes(list [][2]string) [][2]string {
	offered := strings.Fields(strings.ToUpper(s.ext["XFORWARD"]))
	return slices.DeleteFunc(list, func(a [2]string) bool {
		return a[1] == "" || strings.EqualFold(a[1], "unknown") || !slices.Contains(offered, a[0])
	})
}

// clientAttrs are the attributes about the client.
func clientAttrs(p *mail.Peer) [][2]string {
	addr, port := "", ""
	if p.Addr.IsValid() {
		addr = p.Addr.Unmap().String()
		if p.Addr.Unmap().Is6() {
			addr = "IPV6:" + addr
		}
	}
	if p.Port != 0 {
		port = strconv.Itoa(int(p.Port))
	}
	return [][2]string{{"NAME", p.Name}, {"ADDR", addr}, {"PORT", port}}
}

// protoAttrs are the attributes about the conversation and the message.
func protoAttrs(job *mail.Job) [][2]string {
	p := &job.Env.Peer
	source := "REMOTE"
	if !p.Addr.IsValid() || p.Addr.IsLoopback() || p.User != "" {
		source = "LOCAL"
	}
	return [][2]string{{"PROTO", p.Proto}, {"HELO", p.Helo}, {"IDENT", job.ID}, {"SOURCE", source}}
}
