// Package dovecot reads the index files that a Dovecot 2.x has left beside a
// mailbox: dovecot.index and dovecot.index.log. They hold what the mailbox
// itself may lack: UIDs and UIDVALIDITY of an mbox that was only ever looked at,
// flags that were not written yet, keywords beyond a Maildir's 26, and
// mod-sequences. The stores ask once, when a mailbox has no cache of ours, so
// that no client has to learn its mail anew. Nothing is ever written here.
//
// What cannot be understood to its end is not believed at all: the mailbox is
// the truth, and goes without.
package dovecot

import (
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"packetboat/internal/store"
	"packetboat/internal/sys/disk"
)

// Names of the files.
const (
	indexName = "dovecot.index"
	logName   = "dovecot.index.log"
	oldLog    = "dovecot.index.log.2"
)

// Limits of what is believed.
const (
	maxFile     = 256 << 20 // octets of one file
	maxMessages = 8 << 20
	maxExts     = 64
	maxKeywords = 64 // of one mailbox, store.Msg.Keywords; what comes behind them is not taken
	maxName     = 255
)

// Index is what Dovecot knew of a mailbox.
type Index struct {
	Validity, Next, FirstRecent uint32
	ModSeq                      uint64
	Keywords                    []string
	Msgs                        []Msg // rising by UID

	// What the file of an mbox was when Dovecot had brought it and the index
	// together; zero for a Maildir. Seconds since 1970.
	MboxSize, MboxTime int64
}

// Msg is one message.
type Msg struct {
	UID      uint32
	Flags    store.Flag
	Dirty    bool   // Flags and Keywords are newer than the mailbox
	Keywords uint64 // bit i stands for Index.Keywords[i]
	ModSeq   uint64 // 0 = not known
	Offset   int64  // of the message in an mbox; -1 = not known
}

// errBroken says that a file is not what Dovecot writes, or is not whole.
var errBroken = errors.New("dovecot: the index cannot be read")

// Load reads the index in a folder, nil when there is none that can be believed.
func Load(dir string) *Index {
	if dir == "" {
		return nil
	}
	log, err := read(filepath.Join(dir, logName))
	if err != nil {
		return nil
	}
	t := &table{}
	le.PutUint32(t.head[atNext:], 1)
	le.PutUint32(t.head[atFirstRecent:], 1)
	if file, err := read(filepath.Join(dir, indexName)); err == nil {
		if t.open(file) != nil {
			return nil
		}
	}
	logs, err := t.chain(dir, log)
	if err != nil {
		return nil
	}
	for _, b := range logs {
		if t.replay(b) != nil {
			return nil
		}
	}
	return t.result()
}

// Remove removes the index in a folder, which Dovecot makes anew out of the
// mailbox. An mbox asks for it once it holds the flags that stood in the index
// alone.
func Remove(dir string) {
	for _, name := range []string{logName, oldLog, indexName} { // without its log an index is not believed
		os.Remove(filepath.Join(dir, name))
	}
}

// read returns a file's octets. It is the mailbox owner's, whom nobody else
// could deceive with it.
func read(path string) ([]byte, error) {
	f, st, err := disk.OpenStat(path, os.O_RDONLY, -1)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st.Size > maxFile {
		return nil, errBroken
	}
	b := make([]byte, st.Size)
	_, err = io.ReadFull(f, b)
	return b, err
}

// chain returns the logs that lead from the state of dovecot.index to now. A log
// that was begun after another one needs either the index or the older one.
func (t *table) chain(dir string, log []byte) ([][]byte, error) {
	now, err := readLogHead(log)
	if err != nil {
		return nil, err
	}
	switch {
	case t.logSeq == now.seq, t.logSeq == 0 && now.prev == 0:
		return [][]byte{log}, nil
	case t.logSeq > now.seq:
		return nil, errBroken
	}
	b, err := read(filepath.Join(dir, oldLog))
	if err != nil {
		return nil, err
	}
	old, err := readLogHead(b)
	if err != nil || old.seq != now.prev || t.logSeq != 0 && old.seq != t.logSeq || t.logSeq == 0 && old.prev != 0 {
		return nil, errBroken
	}
	return [][]byte{b, log}, nil
}

// table is the index while it is put together.
type table struct {
	id     uint32 // of the index; its logs have the same one
	logSeq uint32 // the log that what follows stands in; 0 = there is no dovecot.index
	logPos uint32 // up to where that log is known already
	head   [headSize]byte
	rows   []row
	exts   []*ext
	names  []string // keywords
	modseq uint64
}

// row is one message; flags are Dovecot's.
type row struct {
	uid    uint32
	flags  uint8
	gone   bool
	kw     uint64
	modseq uint64
	offset int64
}

// ext is one extension of the index: a name, and its own head.
type ext struct {
	name   string
	reset  uint32
	head   []byte
	record int // octets a message
}

// Offsets in the head of dovecot.index (mail-index.h).
const (
	headSize      = 120
	atHeaderSize  = 4
	atRecordSize  = 8
	atID          = 16
	atValidity    = 24
	atNext        = 28
	atCount       = 32
	atFirstRecent = 48
	atLogSeq      = 60
	atLogHead     = 68
)

// Flags of a row beside those of IMAP.
const flagDirty = 0x80

var le = binary.LittleEndian

func (t *table) get(at int) uint32 { return le.Uint32(t.head[at:]) }

// row returns the index of a UID in rows, or of the next one.
func (t *table) at(uid uint32) (int, bool) {
	return slices.BinarySearchFunc(t.rows, uid, func(r row, uid uint32) int { return cmp.Compare(r.uid, uid) })
}

// span returns the rows of a range of UIDs.
func (t *table) span(from, to uint32) []row {
	i, _ := t.at(from)
	j, ok := t.at(to)
	if ok {
		j++
	}
	if i >= j {
		return nil
	}
	return t.rows[i:j]
}

// ext returns an extension by its name.
func (t *table) ext(name string) *ext {
	i := slices.IndexFunc(t.exts, func(e *ext) bool { return e.name == name })
	if i < 0 {
		return nil
	}
	return t.exts[i]
}

// result turns the table into what the stores want.
func (t *table) result() *Index {
	x := &Index{Validity: t.get(atValidity), Next: t.get(atNext), FirstRecent: t.get(atFirstRecent), ModSeq: t.modseq, Keywords: t.names}
	if x.Validity == 0 || slices.ContainsFunc(t.names, func(n string) bool { return !isAtom(n) }) {
		return nil
	}
	if e := t.ext("mbox"); e != nil && len(e.head) >= 12 {
		x.MboxSize, x.MboxTime = int64(le.Uint64(e.head)), int64(le.Uint32(e.head[8:]))
	}
	x.Msgs = make([]Msg, 0, len(t.rows))
	for i := range t.rows {
		r := &t.rows[i]
		if r.gone {
			continue
		}
		x.Msgs = append(x.Msgs, Msg{UID: r.uid, Flags: flags(r.flags), Dirty: r.flags&flagDirty != 0, Keywords: r.kw, ModSeq: r.modseq, Offset: r.offset})
		x.Next, x.ModSeq = max(x.Next, r.uid+1), max(x.ModSeq, r.modseq)
	}
	return x
}

// isAtom tells whether a keyword can be one (RFC 3501 section 9, flag-keyword).
func isAtom(n string) bool {
	bad := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`(){%*"\]`, r) }
	return n != "" && !strings.ContainsFunc(n, bad)
}

// flags turns Dovecot's bits into ours.
func flags(b uint8) (f store.Flag) {
	for i, g := range [...]store.Flag{store.Answered, store.Flagged, store.Deleted, store.Seen, store.Draft} {
		if b&(1<<i) != 0 {
			f |= g
		}
	}
	return f
}
