package pipe

import (
	"strconv"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/route/alias"
)

// Rcpt is a recipient of a command.
type Rcpt struct {
	Addr mail.Address `json:"a"`
	Orig mail.Address `json:"o,omitempty"`
}

// Values are what the names of a command's arguments stand for.
type Values struct {
	Sender  mail.Address `json:"sender,omitempty"`
	Nexthop string       `json:"nexthop,omitempty"`
	Size    int64        `json:"size,omitempty"`
	QueueID string       `json:"id,omitempty"`
	Client  Client       `json:"client"`
	Delims  string       `json:"delims,omitempty"` // recipient_delimiter
	Rcpts   []Rcpt       `json:"rcpts,omitempty"`
}

// Client says where the message came from; "" becomes nothing.
type Client struct {
	Address  string `json:"address,omitempty"`
	Helo     string `json:"helo,omitempty"`
	Hostname string `json:"hostname,omitempty"`
	Port     string `json:"port,omitempty"`
	Protocol string `json:"protocol,omitempty"`
	Method   string `json:"sasl_method,omitempty"`
	Sender   string `json:"sasl_sender,omitempty"`
	Username string `json:"sasl_username,omitempty"`
}

// ClientOf makes a Client of what the envelope knows.
func ClientOf(p *mail.Peer) Client {
	c := Client{Helo: p.Helo, Hostname: p.Name, Protocol: p.Proto, Method: p.SASL, Sender: p.SASLFrom, Username: p.User}
	if p.Addr.IsValid() {
		c.Address = p.Addr.String()
	}
	if p.Port > 0 {
		c.Port = strconv.Itoa(int(p.Port))
	}
	return c
}

// perRcpt are the names that make one argument for each recipient.
const perRcpt = " recipient original_recipient user extension mailbox domain "

// Expand fills in the arguments of the command. An argument that speaks of
// recipients stands there once for each of them. What stands for a name is not
// looked at for names again, and never divided at blanks: an address stays one
// argument whatever it holds. unknown is a name that stands for nothing; pipe(8)
// knows no conditions, so that they are unknown names, too.
func (a *Attrs) Expand(v *Values) (argv []string, unknown string) {
	for _, arg := range a.Argv {
		each := false
		text := names(arg, func(name string) string {
			if strings.Contains(perRcpt, " "+name+" ") {
				each = true
				return ""
			}
			s, ok := a.message(v, name)
			if !ok && unknown == "" {
				unknown = name
			}
			return s
		})
		if !each {
			argv = append(argv, text)
			continue
		}
		for i := range v.Rcpts {
			if text, ok := a.forRcpt(v, &v.Rcpts[i], arg); ok {
				argv = append(argv, text)
			}
		}
	}
	return argv, unknown
}

// names replaces $name, ${name} and $(name); "$$" is a dollar sign.
func names(s string, value func(name string) string) string {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, "$")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		if strings.HasPrefix(after, "$") {
			b.WriteByte('$')
			s = after[1:]
			continue
		}
		var name string
		name, s = alias.CutName(after)
		b.WriteString(value(name))
	}
}

// message returns the values that do not depend on a recipient.
func (a *Attrs) message(v *Values, name string) (string, bool) {
	switch name {
	case "sender":
		switch {
		case v.Sender == "":
			return a.NullSender, true
		case a.Quote:
			return v.Sender.Quoted(), true
		}
		return string(v.Sender), true
	case "nexthop":
		if a.FoldHost {
			return strings.ToLower(v.Nexthop), true
		}
		return v.Nexthop, true
	case "size":
		return strconv.FormatInt(v.Size, 10), true
	case "queue_id":
		return v.QueueID, true
	}
	c := &v.Client
	s, ok := map[string]string{"client_address": c.Address, "client_helo": c.Helo, "client_hostname": c.Hostname, "client_port": c.Port,
		"client_protocol": c.Protocol, "sasl_method": c.Method, "sasl_sender": c.Sender, "sasl_username": c.Username}[name]
	return s, ok
}

// forRcpt makes one argument for one recipient. It is not ok where $user stands
// for nothing: such an argument is left out (pipe(8), for Cyrus' bulletin boards).
func (a *Attrs) forRcpt(v *Values, r *Rcpt, arg string) (text string, ok bool) {
	// Parts of the address are never quoted: they are names of files and folders.
	local, domain := a.fold(r.Addr, false).Split()
	user, ext := splitUser(local, v.Delims)
	ok = true
	text = names(arg, func(name string) string {
		switch name {
		case "recipient":
			return string(a.fold(r.Addr, a.Quote))
		case "original_recipient":
			return string(a.fold(r.Orig, a.Quote))
		case "mailbox":
			return local
		case "domain":
			return domain
		case "extension":
			return ext
		case "user":
			ok = ok && user != ""
			return user
		}
		s, _ := a.message(v, name)
		return s
	})
	return text, ok
}

// fold changes an address as the flags say: morph_recipient of pipe(8).
func (a *Attrs) fold(addr mail.Address, quote bool) mail.Address {
	local, domain := addr.Split()
	if a.FoldUser {
		local = strings.ToLower(local)
	}
	if a.FoldHost {
		domain = strings.ToLower(domain)
	}
	out := mail.Address(local)
	if domain != "" {
		out += mail.Address("@" + domain)
	}
	if quote {
		return mail.Address(out.Quoted())
	}
	return out
}

// splitUser divides a local part at recipient_delimiter.
func splitUser(local, delims string) (user, ext string) {
	i := -1
	if delims != "" {
		i = alias.SplitAt(local, delims, true)
	}
	if i <= 0 {
		return local, ""
	}
	return local[:i], local[i+1:]
}
