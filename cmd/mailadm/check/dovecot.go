package check

import (
	"errors"
	"net/netip"
	"os"

	"packetboat/cmd/mailadm/where"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

// imapParams are what is looked at of a dovecot.conf beyond its syntax.
type imapParams struct {
	Listen    []string `dovecot:"listen"`
	SSL       string   `dovecot:"ssl"`
	Cert      string   `dovecot:"ssl_cert,path"`
	Key       string   `dovecot:"ssl_key,path"`
	Protocols []string `dovecot:"protocols"`
}

// dovecot reads dovecot.conf. Without the option a machine without the file has
// no Dovecot.
func (c *checker) dovecot() {
	path := c.o.Dovecot
	if path == "" {
		path = config.DefaultDovecot
		if _, err := os.Stat(path); err != nil {
			return
		}
	}
	if path == "none" {
		return
	}
	conf, err := config.LoadDovecot(path)
	if err != nil {
		c.errors(path, err)
		return
	}
	for _, w := range conf.Warnings {
		c.add(config.Problem{File: w.File, Line: w.Line, Severity: config.SeverityWarning, Text: w.Text})
	}
	c.errors(path, errors.Join(conf.Refused...))
	var p imapParams
	if err := conf.Decode(&p); err != nil {
		c.errors(path, err)
		return
	}
	if p.SSL != "no" && p.Cert != "" {
		at := where.Place{Parameter: "ssl_cert", File: path}
		if file, line := conf.Where("ssl_cert"); file != "" {
			at.File, at.Line = file, line
		}
		files := []string{p.Cert}
		if p.Key != "" && p.Key != p.Cert {
			files = append(files, p.Key)
		}
		c.pair(pair{at: at, files: files})
	}
	c.imapPorts(path, conf, &p)
	for _, name := range []string{"default_login_user", "default_internal_user"} {
		u := conf.Get(name)
		if _, err := proc.LookupUser(u); u == "" || err == nil {
			continue
		}
		at := where.Place{Parameter: name, File: path}
		if file, line := conf.Where(name); file != "" {
			at.File, at.Line = file, line
		}
		c.place(at, config.SeverityError, "make it: adduser --system --group --no-create-home "+u, "%s = %s: there is no such user", name, u)
	}
}

// errors adds what a reader of Dovecot's has found, each with its place.
func (c *checker) errors(path string, err error) {
	if err == nil {
		return
	}
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range many.Unwrap() {
			c.errors(path, e)
		}
		return
	}
	var e *config.Error
	if !errors.As(err, &e) {
		e = &config.Error{File: path, Text: err.Error()}
	}
	if e.File == "" {
		e.File = path
	}
	c.add(config.Problem{File: e.File, Line: e.Line, Col: e.Col, Severity: config.SeverityError, Text: e.Text, Hint: e.Hint})
}

// imapPorts looks at the ports of the login services.
func (c *checker) imapPorts(path string, conf *config.Dovecot, p *imapParams) {
	services, err := conf.Services()
	if err != nil {
		c.errors(path, err)
		return
	}
	taken := c.listeners()
	for _, s := range services {
		if !contains(p.Protocols, s.Protocol) {
			continue
		}
		for _, l := range s.Inet {
			hosts := l.Address
			if len(hosts) == 0 {
				hosts = p.Listen
			}
			for _, h := range hosts {
				if a, ok := hostAddr(h); ok && l.Port > 0 {
					c.port(where.Place{Parameter: s.Name, File: path}, netip.AddrPortFrom(a, uint16(l.Port)).String(), taken, "mrad")
				}
			}
		}
	}
}

// hostAddr reads an item of listen: "*", "::" or an address.
func hostAddr(h string) (netip.Addr, bool) {
	if h == "*" {
		return netip.IPv4Unspecified(), true
	}
	a, err := netip.ParseAddr(h)
	return a, err == nil
}
