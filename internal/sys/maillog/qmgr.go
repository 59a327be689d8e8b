package maillog

import (
	"strconv"
	"strings"
	"time"
)

// This file holds the events of qmgr(8), of the delivery agents' common line
// (log_adhoc(3)), of bounce(8) and of postsuper(1).

// MessageActive tells that a message entered the active queue: "ID: from=<s>,
// size=n, nrcpt=n (queue active)". Size is in octets; from is in external form.
func (g *Log) MessageActive(id, from string, size int64, nrcpt int) {
	g.Info("%s: from=<%s>, size=%d, nrcpt=%d (queue active)", id, from, size, nrcpt)
}

// MessageRemoved tells that a message left the queue.
func (g *Log) MessageRemoved(id string) { g.Info("%s: removed", id) }

// MessageExpired tells that a message was given up; forced after "postsuper -e".
func (g *Log) MessageExpired(id, from string, forced bool) {
	word := "expired"
	if forced {
		word = "force-expired"
	}
	g.Info("%s: from=<%s>, status=%s, returned to sender", id, from, word)
}

// MessageCorrupt tells that a queue file could not be read and was kept.
func (g *Log) MessageCorrupt(id string, cause error) {
	g.Warn("%s: %v; saving corrupt queue file to corrupt/%s", id, cause, id)
}

// MessageSkipped tells that a message cannot be worked on now.
func (g *Log) MessageSkipped(id string, cause error) { g.Warn("%s: skipped for now: %v", id, cause) }

// QueueUnwritable tells that the queue's state could not be recorded.
func (g *Log) QueueUnwritable(id, what string, cause error) { g.Warn("%s: %s: %v", id, what, cause) }

// QueueUnfinished tells how many files of dead writers a start removed; it is
// silent when there were none. Their senders never got an answer.
func (g *Log) QueueUnfinished(n int) {
	if n > 0 {
		g.Warn("removed %d unfinished queue files", n)
	}
}

// QueueRenamed tells that a copied queue file got an id of its own.
func (g *Log) QueueRenamed(old, id string) { g.Warn("%s: renamed to %s", old, id) }

// TransportPanic tells that a transport died of a message; the mail is deferred.
func (g *Log) TransportPanic(id, transport string, cause any) {
	g.Error("%s: transport %s: panic: %v", id, transport, cause)
}

// TransportReport tells of a transport that answered wrongly.
func (g *Log) TransportReport(id, transport, what string) {
	g.Warn("%s: transport %s: %s", id, transport, what)
}

// DeliveryLine is the common line of all delivery agents. Addresses are in
// external form.
type DeliveryLine struct {
	ID, To, OrigTo string // OrigTo is told where it differs from To
	Relay          string
	Reuse          int              // conn_use=, told above 1
	Total          time.Duration    // since the message arrived
	Parts          [4]time.Duration // in the queue, in the scheduler, connecting, sending
	DSN            string           // x.y.z
	Status, Text   string           // "sent", "deferred", ...; the text in parentheses
}

// Delivery writes one recipient's result as Postfix's log_adhoc does.
func (g *Log) Delivery(d *DeliveryLine) {
	var space [512]byte
	b := append(space[:0], d.ID...)
	b = append(append(b, ": to=<"...), d.To...)
	b = append(b, '>')
	if d.OrigTo != "" && !strings.EqualFold(d.OrigTo, d.To) { // as strcasecmp there
		b = append(append(b, ", orig_to=<"...), d.OrigTo...)
		b = append(b, '>')
	}
	b = append(append(b, ", relay="...), d.Relay...)
	if d.Reuse > 1 {
		b = strconv.AppendInt(append(b, ", conn_use="...), int64(d.Reuse), 10)
	}
	b = AppendDelay(append(b, ", delay="...), d.Total)
	sep := ", delays="
	for _, p := range d.Parts {
		b = AppendDelay(append(b, sep...), p)
		sep = "/"
	}
	b = append(append(b, ", dsn="...), d.DSN...)
	b = append(append(b, ", status="...), d.Status...)
	b = append(append(b, " ("...), d.Text...)
	b = append(b, ')')
	g.Info("%s", b)
}

// AppendDelay writes a time in seconds with two significant digits and at most
// two decimals (delay_logging_resolution_limit = 2), trailing zeros cut, as
// Postfix's format_tv(3) does. Negative times (a clock that was set back) are 0.
func AppendDelay(b []byte, d time.Duration) []byte {
	sec, usec := int64(d/time.Second), int64(d%time.Second/time.Microsecond)
	if d <= 0 {
		return append(b, '0')
	}
	res := delayResolution(sec, usec)
	if usec += res / 2; usec >= 1e6 {
		sec, usec = sec+1, usec-1e6
	}
	b = strconv.AppendInt(b, sec, 10)
	if usec < res {
		return b
	}
	b = append(b, '.')
	for digit := int64(1e5); usec >= res && digit > 0; digit /= 10 {
		b = append(b, byte('0'+usec/digit))
		usec %= digit
	}
	return b
}

// delayResolution is the smallest step of microseconds worth showing.
func delayResolution(sec, usec int64) int64 {
	const sigDigits, finest = 100, int64(1e6) / 100
	res := int64(1e6)
	if sec > 0 {
		n := int64(1)
		for sec >= n && n <= 1e5 {
			n *= 10
		}
		res = min(res/sigDigits*n, res)
	} else {
		for res > usec && res > 1 {
			res /= 10
		}
		res /= 10
	}
	return max(res, finest)
}

// SenderNotice tells that bounce(8) wrote to the sender: kind is "non-delivery
// notification", "delay notification" or "delivery status notification".
func (g *Log) SenderNotice(id, kind, notice string) { g.Info("%s: sender %s: %s", id, kind, notice) }

// PostmasterNotice tells that bounce(8) wrote to the postmaster.
func (g *Log) PostmasterNotice(id, kind, notice string) {
	g.Info("%s: postmaster %s: %s", id, kind, notice)
}

// NoticeDiscarded tells that a double bounce could not be delivered and is
// dropped: here every mail loop ends.
func (g *Log) NoticeDiscarded(id string) {
	g.Warn("%s: undeliverable postmaster notification discarded", id)
}

// Superuser writes a line of postsuper(1): "ID: removed", "Deleted: 1 message".
func (g *Log) Superuser(text string) { g.Info("%s", text) }
