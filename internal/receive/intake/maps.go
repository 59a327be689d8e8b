package intake

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/mail/message"
	"packetboat/internal/route/table"
)

// class says where an address stands (canonical_classes of postconf(5)).
type class uint8

const (
	envelopeSender class = 1 << iota
	envelopeRecipient
	headerSender
	headerRecipient
)

// classes reads a list of classes.
func classes(list, def []string) (set class, err error) {
	if list == nil {
		list = def
	}
	for _, word := range list {
		switch strings.ToLower(word) {
		case "envelope_sender":
			set |= envelopeSender
		case "envelope_recipient":
			set |= envelopeRecipient
		case "header_sender":
			set |= headerSender
		case "header_recipient":
			set |= headerRecipient
		default:
			return 0, fmt.Errorf("unknown class %q", word)
		}
	}
	return set, nil
}

// addressMap is one of the canonical tables, or a table of copies.
type addressMap struct {
	param string
	maps  table.Maps
	on    class
}

// mapper changes addresses by tables: canonical(5), masquerading, copies.
type mapper struct {
	in                 *Intake
	steps              []addressMap // sender_ and recipient_ before canonical_maps
	senderBCC, rcptBCC addressMap
	masquerade         []string
	masqueradeOn       class
	except             *table.List
	extend             bool // what follows recipient_delimiter goes on
}

// open opens the tables of MapOptions.
func (mp *mapper) open(in *Intake, topts table.Options) error {
	o := &in.o.Maps
	mp.in = in
	all := []string{"envelope_sender", "envelope_recipient", "header_sender", "header_recipient"}
	for _, m := range []struct {
		param       string
		specs       []string
		classes     []string
		def         []string
		only        class
		destination *addressMap
	}{
		{"sender_canonical_maps", o.Sender, o.SenderClasses, []string{"envelope_sender", "header_sender"}, envelopeSender | headerSender, nil},
		{"recipient_canonical_maps", o.Recipient, o.RecipientClasses, []string{"envelope_recipient", "header_recipient"}, envelopeRecipient | headerRecipient, nil},
		{"canonical_maps", o.Canonical, o.CanonicalClasses, all, 15, nil},
		{"sender_bcc_maps", o.SenderBCC, nil, all, 15, &mp.senderBCC},
		{"recipient_bcc_maps", o.RecipientBCC, nil, all, 15, &mp.rcptBCC},
	} {
		on, err := classes(m.classes, m.def)
		if err != nil {
			return fmt.Errorf("%s: %w", strings.Replace(m.param, "_maps", "_classes", 1), err)
		}
		if len(m.specs) == 0 {
			continue
		}
		maps, err := table.OpenAll(m.specs, topts)
		if err != nil {
			return fmt.Errorf("%s: %w", m.param, err)
		}
		am := addressMap{m.param, maps, on & m.only}
		if m.destination != nil {
			*m.destination = am
			continue
		}
		mp.steps = append(mp.steps, am)
	}
	return mp.openMasquerade(topts)
}

func (mp *mapper) openMasquerade(topts table.Options) (err error) {
	o := &mp.in.o.Maps
	if mp.masqueradeOn, err = classes(o.MasqueradeClasses, []string{"envelope_sender", "header_sender", "header_recipient"}); err != nil {
		return fmt.Errorf("masquerade_classes: %w", err)
	}
	for _, d := range o.Masquerade {
		mp.masquerade = append(mp.masquerade, strings.ToLower(d))
	}
	if len(o.MasqueradeExcept) > 0 {
		if mp.except, err = table.OpenList(o.MasqueradeExcept, table.Exact, topts); err != nil {
			return fmt.Errorf("masquerade_exceptions: %w", err)
		}
	}
	mp.extend = o.Propagate == nil || slices.Contains(o.Propagate, "canonical")
	return nil
}

// idle tells whether no table and no masquerading is configured.
func (mp *mapper) idle() bool { return len(mp.steps)+len(mp.masquerade) == 0 }

// mapAddress does what the tables and masquerade_domains say of an address of
// this class. The null sender stays.
func (m *Message) mapAddress(a mail.Address, at class) mail.Address {
	mp := &m.in.addresses
	if m.src.NoMapping || a == "" || mp.idle() {
		return a
	}
	for i := range mp.steps {
		if mp.steps[i].on&at != 0 {
			a = m.canonical(a, &mp.steps[i])
		}
	}
	if mp.masqueradeOn&at != 0 {
		from := a
		a = m.masquerade(a)
		m.in.trace("masquerade_domains", from, a)
	}
	return a
}

// trace tells who asked for it what a parameter made of an address.
func (in *Intake) trace(param string, from, to mail.Address) {
	if in.o.Trace != nil && from != to {
		in.o.Trace(param, from, to)
	}
}

// maxCanonical is how often one address is looked up again, as in cleanup(8).
const maxCanonical = 10

// canonical follows one table until it says no more, or the address itself.
func (m *Message) canonical(a mail.Address, am *addressMap) mail.Address {
	for range maxCanonical {
		to, err := m.lookup(a, am)
		if err != nil {
			m.in.log.MapProblem(m.id, am.param, a.Quoted())
			m.errs |= statWrite
			return a
		}
		if len(to) == 0 {
			return a
		}
		if len(to) > 1 {
			m.in.log.MapMultiple(m.id, am.param, a.Quoted())
		}
		same := to[0].Fold() == a.Fold()
		m.in.trace(am.param, a, to[0])
		if a = to[0]; same {
			return a
		}
	}
	m.in.log.MapNesting(m.id, am.param, a.Quoted())
	return a
}

// lookup asks a table for an address and returns the completed addresses of
// the answer; none when there is no answer.
func (m *Message) lookup(a mail.Address, am *addressMap) ([]mail.Address, error) {
	value, key, found, err := m.find(a, am)
	if err != nil || !found {
		return nil, err
	}
	user, ext := a.Local(), ""
	if key.Bare {
		ext = table.Extension(user, m.in.o.Maps.Delimiter)
		user = strings.TrimSuffix(user, ext)
	}
	if !m.in.addresses.extend {
		ext = ""
	}
	if value[0] == '@' { // another domain for the same user (mail_addr_map(3))
		value = mail.Address(user).Quoted() + value
	}
	list := message.Addresses(value)
	for i := range list {
		list[i] = withExtension(m.in.complete(list[i]), ext)
	}
	return list, nil
}

// find looks an address up in the order of canonical(5).
func (m *Message) find(a mail.Address, am *addressMap) (string, table.Key, bool, error) {
	domain := a.Domain()
	own := strings.EqualFold(domain, m.in.o.Origin)
	if !own && domain != "" && m.in.o.Local != nil {
		var err error
		if own, err = m.in.o.Local(domain); err != nil {
			return "", table.Key{}, false, err
		}
	}
	return am.maps.FindKeys(context.Background(), table.MailKeys(a, m.in.o.Maps.Delimiter, own))
}

// withExtension puts an address extension, with its delimiter, behind the local
// part.
func withExtension(a mail.Address, ext string) mail.Address {
	if ext == "" {
		return a
	}
	local, domain := a.Split()
	return mail.Address(local + ext + "@" + domain)
}

// masquerade cuts a domain below one of masquerade_domains down to it. The first
// domain of the list that matches decides; "!" before it keeps the address.
func (m *Message) masquerade(a mail.Address) mail.Address {
	mp := &m.in.addresses
	local, domain := a.Split()
	if domain == "" || len(mp.masquerade) == 0 || m.excepted(local) {
		return a
	}
	domain = strings.ToLower(domain)
	for _, masq := range mp.masquerade {
		name := strings.TrimLeft(masq, "!")
		if name == "" {
			continue
		}
		if domain == name {
			return a
		}
		if strings.HasSuffix(domain, "."+name) {
			if (len(masq)-len(name))%2 == 1 {
				return a
			}
			return mail.Address(local + "@" + name)
		}
	}
	return a
}

func (m *Message) excepted(local string) bool {
	if m.in.addresses.except == nil {
		return false
	}
	hit, err := m.in.addresses.except.Match(context.Background(), local)
	if err != nil {
		m.in.log.MapProblem(m.id, "masquerade_exceptions", "")
		m.errs |= statWrite
	}
	return hit
}
