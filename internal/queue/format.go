package queue

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/mail"
)

// The end of a queue file, behind the message's bytes:
//
//	records    text lines, "key field field ...", every field escaped
//	states     one byte: was the sender warned; then one byte a recipient
//	trailer    "\nPBQ2 ", offset of the records, recipients, checksums of the records and of the message, "\n"
//
// Nothing that a stranger sends can end a line or a field, because escape lets
// neither space nor control bytes through, and nothing that stands in the
// message can be taken for the trailer, because that is read from the end.
const (
	magic      = "PBQ2"
	trailerLen = 1 + len(magic) + 1 + 16 + 3*(1+8) + 1

	warned   = 'W' // first byte of the states: the sender was told of the delay
	unwarned = ' '

	// maxRecords is the longest part behind the message that is read, in bytes
	// (256 MB, some millions of recipients); what is longer is corrupt.
	maxRecords = 256 << 20
	// firstRead is how much of the end is read at first: enough for the envelope
	// of a usual message.
	firstRead = 4 << 10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// tail is what the trailer of a file says.
type tail struct {
	size  int64 // of the file
	off   int64 // where the records begin = octets of the message
	rcpts int
	sum   uint32 // of the records
	body  uint32 // of the message
}

// states is the offset of the state bytes.
func (t tail) states() int64 { return t.size - int64(trailerLen) - int64(t.rcpts) - 1 }

// CorruptError says why a queue file cannot be read.
type CorruptError struct{ Path, Why string }

// Error tells path and reason.
func (e *CorruptError) Error() string { return e.Path + ": corrupt queue file: " + e.Why }

// appendTrailer writes the trailer.
func appendTrailer(b []byte, t tail) []byte {
	b = append(append(b, '\n'), magic...)
	b = appendHex(append(b, ' '), uint64(t.off), 16)
	for _, v := range [...]uint32{uint32(t.rcpts), t.sum, t.body} {
		b = appendHex(append(b, ' '), uint64(v), 8)
	}
	return append(b, '\n')
}

// appendHex writes v with that many digits.
func appendHex(b []byte, v uint64, digits int) []byte {
	const hex = "0123456789abcdef"
	for i := 4 * (digits - 1); i >= 0; i -= 4 {
		b = append(b, hex[v>>i&15])
	}
	return b
}

// parseTrailer reads what appendTrailer wrote, for a file of size bytes.
func parseTrailer(b []byte, size int64) (tail, error) {
	t := tail{size: size}
	f := strings.Split(strings.Trim(string(b), "\n"), " ")
	if len(b) != trailerLen || len(f) != 5 || f[0] != magic || b[0] != '\n' || b[trailerLen-1] != '\n' {
		return t, errors.New("no trailer: the file is not complete")
	}
	off, err1 := strconv.ParseUint(f[1], 16, 63)
	n, err2 := strconv.ParseUint(f[2], 16, 31)
	sum, err3 := strconv.ParseUint(f[3], 16, 32)
	body, err4 := strconv.ParseUint(f[4], 16, 32)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return t, fmt.Errorf("bad trailer: %w", err)
	}
	t.off, t.rcpts, t.sum, t.body = int64(off), int(n), uint32(sum), uint32(body)
	if again := appendTrailer(nil, t); !bytes.Equal(again, b) {
		return t, errors.New("bad trailer: odd form")
	}
	if t.off > t.states() || t.states()-t.off > maxRecords {
		return t, errors.New("bad trailer: records outside of the file")
	}
	return t, nil
}

// readTail reads the trailer of an open file of size octets.
func readTail(f *os.File, size int64) (tail, error) {
	var b [trailerLen]byte
	if size < int64(trailerLen) {
		return tail{}, &CorruptError{f.Name(), "too short"}
	}
	if _, err := f.ReadAt(b[:], size-int64(trailerLen)); err != nil {
		return tail{}, err
	}
	t, err := parseTrailer(b[:], size)
	if err != nil {
		return t, &CorruptError{f.Name(), err.Error()}
	}
	return t, nil
}

// readEnvelope reads and parses the end of a file: one read for usual messages.
func readEnvelope(r io.ReaderAt, size int64) (*mail.Envelope, tail, bool, error) {
	b, err := readEnd(r, size, firstRead)
	if err != nil {
		return nil, tail{}, false, err
	}
	if len(b) < trailerLen {
		return nil, tail{}, false, errors.New("too short")
	}
	t, err := parseTrailer(b[len(b)-trailerLen:], size)
	if err != nil {
		return nil, t, false, err
	}
	if need := size - t.off; need > int64(len(b)) {
		if b, err = readEnd(r, size, need); err != nil {
			return nil, t, false, err
		}
	}
	b = b[int64(len(b))-(size-t.off):]
	env, err := parseRecords(b[:t.states()-t.off], t)
	if err != nil {
		return nil, t, false, err
	}
	warn, err := parseStates(b[t.states()-t.off:], env)
	return env, t, warn, err
}

// readEnd reads the last n bytes, or all when there are fewer.
func readEnd(r io.ReaderAt, size, n int64) ([]byte, error) {
	n = min(n, size)
	b := make([]byte, n)
	if _, err := r.ReadAt(b, size-n); err != nil && err != io.EOF {
		return nil, err
	}
	return b, nil
}

// parseStates sets the state of each recipient from the state bytes.
func parseStates(b []byte, env *mail.Envelope) (warn bool, err error) {
	if b[0] != warned && b[0] != unwarned {
		return false, errors.New("bad state of the message")
	}
	for i := range env.Rcpts {
		s := mail.State(b[1+i])
		if s != mail.Pending && s != mail.Done {
			return false, errors.New("bad state of a recipient")
		}
		env.Rcpts[i].State = s
	}
	return b[0] == warned, nil
}

// stateOf takes the zero State for Pending.
func stateOf(s mail.State) mail.State {
	if s == mail.Done {
		return s
	}
	return mail.Pending
}

// appendHead writes all records but the recipients. Empty ones are left out.
func appendHead(b []byte, e *mail.Envelope) []byte {
	b = record(b, "sender", string(e.Sender))
	b = record(b, "arrived", strconv.FormatInt(micros(e.Arrived), 10))
	b = record(b, "uid", strconv.Itoa(e.UID))
	b = record(b, "flags", flagsOf(e))
	for _, r := range [...]struct{ key, val string }{
		{"ret", e.Ret}, {"envid", e.EnvID}, {"filter", e.Filter}, {"verp", e.Verp}, {"msgid", e.MessageID},
	} {
		if r.val != "" {
			b = record(b, r.key, r.val)
		}
	}
	if o := &e.Origin; *o != (mail.Origin{}) {
		b = record(b, "origin", o.Name, o.Addr, o.Port, o.Helo, o.Proto, o.Ident, o.Source)
	}
	p := &e.Peer
	if *p == (mail.Peer{}) {
		return b
	}
	addr := ""
	if p.Addr.IsValid() {
		addr = p.Addr.String()
	}
	return record(b, "peer", p.Name, addr, strconv.Itoa(int(p.Port)), p.Helo, p.Proto, p.Service, p.TLS, p.SASL, p.User, p.SASLFrom)
}

// micros is the time in microseconds; the zero time is the smallest number.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return math.MinInt64
	}
	return t.UnixMicro()
}

// flagsOf packs the small members: the body's digit, then a letter for each yes.
func flagsOf(e *mail.Envelope) string {
	b := strconv.AppendUint(nil, uint64(e.Body), 10)
	for _, f := range [...]struct {
		on bool
		c  byte
	}{{e.SMTPUTF8, 'u'}, {e.RequireTLS, 't'}, {e.Verify, 'v'}, {e.VerifyOnly, 'o'}} {
		if f.on {
			b = append(b, f.c)
		}
	}
	return string(b)
}

// appendRcpt writes the record of one recipient.
func appendRcpt(b []byte, r *mail.Rcpt) []byte {
	return record(b, "rcpt", string(r.Addr), string(r.Orig), r.ORCPT, strconv.Itoa(int(r.Notify)))
}

// record writes one line; each field is preceded by one space.
func record(b []byte, key string, fields ...string) []byte {
	b = append(b, key...)
	for _, f := range fields {
		b = escape(append(b, ' '), f)
	}
	return append(b, '\n')
}

// escape writes every control byte, space, DEL and percent sign as %XX.
func escape(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c <= ' ' || c == 0x7f || c == '%' {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}

// unescape undoes escape; a percent sign without two hex digits is an error.
func unescape(s string) (string, error) {
	if strings.IndexByte(s, '%') < 0 {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", errors.New("cut escape")
		}
		c, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", errors.New("bad escape")
		}
		b = append(b, byte(c))
		i += 2
	}
	return string(b), nil
}

// parseRecords reads the records. The strings of the envelope share one copy of
// the text.
func parseRecords(b []byte, t tail) (*mail.Envelope, error) {
	if crc32.Checksum(b, castagnoli) != t.sum {
		return nil, errors.New("checksum of the envelope is wrong")
	}
	// A recipient takes 10 bytes at least: a lying count cannot make us allocate.
	env := &mail.Envelope{Rcpts: make([]mail.Rcpt, 0, min(t.rcpts, len(b)/10+1))}
	for text := string(b); text != ""; {
		line, rest, ok := strings.Cut(text, "\n")
		if !ok {
			return nil, errors.New("cut record")
		}
		if err := parseRecord(env, line); err != nil {
			return nil, err
		}
		text = rest
	}
	if len(env.Rcpts) != t.rcpts {
		return nil, errors.New("number of recipients is wrong")
	}
	return env, nil
}

// maxFields is the most fields that a record has (peer).
const maxFields = 10

// parseRecord reads one line into env.
func parseRecord(env *mail.Envelope, line string) error {
	key, rest, _ := strings.Cut(line, " ")
	var f [maxFields]string
	n := 0
	for more := true; more; n++ {
		if n == maxFields {
			return errors.New("too many fields: " + key)
		}
		var word string
		var err error
		word, rest, more = strings.Cut(rest, " ")
		if f[n], err = unescape(word); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	if want := fieldsOf(key); want != n {
		return fmt.Errorf("record %q has %d fields, not %d", key, n, want)
	}
	return setRecord(env, key, &f)
}

// fieldsOf is the number of fields of a record; 0 for an unknown one.
func fieldsOf(key string) int {
	switch key {
	case "rcpt":
		return 4
	case "peer":
		return maxFields
	case "origin":
		return 7
	case "sender", "arrived", "uid", "flags", "ret", "envid", "filter", "verp", "msgid":
		return 1
	}
	return 0
}

// setRecord stores one record's fields.
func setRecord(env *mail.Envelope, key string, f *[maxFields]string) (err error) {
	switch key {
	case "rcpt":
		return addRcpt(env, f)
	case "peer":
		return setPeer(&env.Peer, f)
	case "origin":
		env.Origin = mail.Origin{Name: f[0], Addr: f[1], Port: f[2], Helo: f[3], Proto: f[4], Ident: f[5], Source: f[6]}
	case "arrived":
		var us int64
		if us, err = strconv.ParseInt(f[0], 10, 64); us != math.MinInt64 {
			env.Arrived = time.UnixMicro(us)
		}
	case "uid":
		env.UID, err = strconv.Atoi(f[0])
	case "flags":
		err = setFlags(env, f[0])
	case "sender":
		env.Sender = mail.Address(f[0])
	case "ret":
		env.Ret = f[0]
	case "envid":
		env.EnvID = f[0]
	case "filter":
		env.Filter = f[0]
	case "verp":
		env.Verp = f[0]
	case "msgid":
		env.MessageID = f[0]
	}
	return err
}

// addRcpt appends a recipient; its state follows from the state bytes.
func addRcpt(env *mail.Envelope, f *[maxFields]string) error {
	n, err := strconv.ParseUint(f[3], 10, 8)
	if err != nil {
		return errors.New("bad notify of a recipient")
	}
	env.Rcpts = append(env.Rcpts, mail.Rcpt{
		Addr: mail.Address(f[0]), Orig: mail.Address(f[1]), ORCPT: f[2], Notify: mail.Notify(n), State: mail.Pending,
	})
	return nil
}

// setPeer stores who handed the message over.
func setPeer(p *mail.Peer, f *[maxFields]string) error {
	port, err := strconv.ParseUint(f[2], 10, 16)
	if err != nil {
		return errors.New("bad port of the peer")
	}
	if f[1] != "" {
		if p.Addr, err = netip.ParseAddr(f[1]); err != nil {
			return errors.New("bad address of the peer")
		}
	}
	p.Name, p.Port, p.Helo, p.Proto, p.Service = f[0], uint16(port), f[3], f[4], f[5]
	p.TLS, p.SASL, p.User, p.SASLFrom = f[6], f[7], f[8], f[9]
	return nil
}

// setFlags reads what flagsOf wrote.
func setFlags(e *mail.Envelope, s string) error {
	digits := strings.TrimRight(s, "utvo")
	body, err := strconv.ParseUint(digits, 10, 8)
	if err != nil {
		return errors.New("bad flags")
	}
	e.Body = mail.Body(body)
	for _, c := range s[len(digits):] {
		switch c {
		case 'u':
			e.SMTPUTF8 = true
		case 't':
			e.RequireTLS = true
		case 'v':
			e.Verify = true
		case 'o':
			e.VerifyOnly = true
		}
	}
	return nil
}
