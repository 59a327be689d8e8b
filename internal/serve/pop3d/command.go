package pop3d

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"packetboat/internal/store"
)

// command runs one command; the error ends the session.
func (x *session) command(line string) error {
	name, args, _ := strings.Cut(line, " ")
	bad := x.bad
	x.bad = 0
	switch strings.ToUpper(name) {
	case "STAT":
		x.reply("+OK %d %d", x.left, x.size)
	case "LIST":
		x.list(args, x.sizes())
	case "UIDL":
		x.list(args, x.uidls())
	case "RETR":
		return x.retr(args)
	case "TOP":
		return x.top(args)
	case "DELE":
		x.dele(args)
	case "RSET":
		x.unmark()
		x.reply("+OK")
	case "NOOP":
		x.reply("+OK")
	case "CAPA":
		x.reply("+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nPIPELINING\r\nAUTH-RESP-CODE\r\n.")
	case "QUIT":
		return x.quit()
	default:
		x.bad = bad + 1
		x.reply("-ERR Unknown command: %s", printable(strings.ToUpper(name)))
		if x.bad >= maxBad {
			x.reply("-ERR Too many bad commands.")
			return said("Too many bad commands")
		}
	}
	return nil
}

// printable keeps an echoed word inside its line.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), 200)]
}

// number reads a message number; rest is what stands behind it. A wrong one
// has been answered, and ok is false.
func (x *session) number(args string) (i int, rest string, ok bool) {
	n := 0
	for n < len(args) && args[n] >= '0' && args[n] <= '9' {
		n++
	}
	v, err := strconv.ParseUint(args[:n], 10, 32)
	switch {
	case n == 0 || (n < len(args) && args[n] != ' '):
		x.reply("-ERR Invalid message number: %s", printable(args))
	case err != nil:
		x.reply("-ERR Message number too large: %s", printable(args))
	case v == 0 || v > uint64(len(x.snap.Msgs)):
		x.reply("-ERR There's no message %d.", v)
	case x.gone[v-1]:
		x.reply("-ERR Message is deleted.")
	default:
		return int(v - 1), strings.TrimPrefix(args[n:], " "), true
	}
	return 0, "", false
}

// only is number for commands that take nothing behind it.
func (x *session) only(args string) (int, bool) {
	i, rest, ok := x.number(args)
	if ok && rest != "" {
		x.reply("-ERR Noise after message number:  %s", printable(rest))
		return 0, false
	}
	return i, ok
}

// listing is LIST or UIDL: what it says of one message, and its heading.
type listing struct {
	head  string
	value func(i int) string
}

func (x *session) sizes() listing {
	return listing{fmt.Sprintf("+OK %d messages:", x.left), func(i int) string { return strconv.FormatInt(max(x.snap.Msgs[i].Size, 0), 10) }}
}

func (x *session) uidls() listing { return listing{"+OK", x.uidl} }

func (x *session) list(args string, l listing) {
	if args != "" {
		if i, ok := x.only(args); ok {
			x.reply("+OK %d %s", i+1, l.value(i))
		}
		return
	}
	x.reply("%s", l.head)
	for i := range x.snap.Msgs {
		if !x.gone[i] {
			x.reply("%d %s", i+1, l.value(i))
		}
	}
	x.reply(".")
}

// named is a mailbox that has its own names for messages, as a Maildir has: that
// of the file, and one that another server has given.
type named interface {
	POP3(uid uint32) (file, saved string)
}

// uidl expands pop3_uidl_format: %u the UID, %v UIDVALIDITY, %f the name of a
// Maildir's file; %m is not known to a store without message digests. "%08X" is
// upper-case hex in Dovecot's source and lower-case in its output; clients have
// seen lower case.
func (x *session) uidl(i int) string {
	var b strings.Builder
	file := ""
	if box, ok := x.box.(named); ok {
		var saved string
		if file, saved = box.POP3(x.snap.Msgs[i].UID); saved != "" {
			return saved
		}
	}
	f := x.o.UIDL
	for j := 0; j < len(f); j++ {
		if f[j] != '%' || j+1 == len(f) {
			b.WriteByte(f[j])
			continue
		}
		k := j + 1
		for k < len(f)-1 && strings.IndexByte("0123456789X", f[k]) >= 0 {
			k++
		}
		if f[k] == 'f' && file != "" {
			b.WriteString(file)
			j = k
			continue
		}
		b.WriteString(formatUID(f[j+1:k], x.uidVariable(f[k], i)))
		j = k
	}
	return b.String()
}

func (x *session) uidVariable(letter byte, i int) uint32 {
	if letter == 'v' {
		return x.snap.UIDValidity
	}
	return x.snap.Msgs[i].UID
}

// formatUID applies modifiers such as "08X".
func formatUID(mods string, n uint32) string {
	width, hex := strings.CutSuffix(mods, "X")
	w, _ := strconv.Atoi(width)
	w = min(w, 64)
	switch {
	case hex && strings.HasPrefix(width, "0"):
		return fmt.Sprintf("%0*x", w, n)
	case hex:
		return fmt.Sprintf("%x", n)
	}
	return fmt.Sprintf("%0*d", w, n)
}

func (x *session) dele(args string) {
	i, ok := x.only(args)
	if !ok {
		return
	}
	x.gone[i] = true
	x.left--
	x.size -= max(x.snap.Msgs[i].Size, 0)
	x.reply("+OK Marked to be deleted.")
}

// quit enters the UPDATE state: what was read is marked as seen, what was
// deleted is removed, in this order and before the answer.
func (x *session) quit() error {
	var uids, read []uint32
	for i := range x.snap.Msgs {
		switch m := &x.snap.Msgs[i]; {
		case x.gone[i]:
			uids = append(uids, m.UID)
		case x.seen[i] && m.Flags&store.Seen == 0:
			read = append(read, m.UID)
		}
	}
	if err := x.update(uids, read); err != nil {
		x.o.Log.POP3Error(x.user.Name, os.Getpid(), x.start.Session, "update failed: "+err.Error())
		x.reply("-ERR [SYS/TEMP] Couldn't update mailbox. Refer to server log for more information.")
		return errQuit
	}
	if len(uids) == 0 {
		x.reply("+OK Logging out.")
		return errQuit
	}
	x.stats.Deleted = len(uids)
	x.reply("+OK Logging out, messages deleted.")
	return errQuit
}

func (x *session) update(gone, read []uint32) error {
	if len(read) > 0 && !x.o.NoFlags {
		if _, err := x.box.SetFlags(read, store.Add, store.Seen, nil); err != nil {
			return err
		}
	}
	if len(gone) > 0 {
		if _, err := x.box.Expunge(gone); err != nil {
			return err
		}
	}
	return x.box.Flush()
}
