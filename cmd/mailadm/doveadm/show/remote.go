package show

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// The marks of a result on its way between two processes.
const (
	markValue = 'v'
	markPiece = 'p'
	markDone  = 'd'
)

// maxPart bounds one part of a result on its way, in octets.
const maxPart = 16 << 20

// NewRemote returns a Formatter that writes a result for Replay in another
// process: doveadm works as each user in a process of its own, and prints all in one.
func NewRemote(w io.Writer) Formatter { return &remote{w: bufio.NewWriter(w)} }

type remote struct{ w *bufio.Writer }

func (r *remote) put(mark byte, s string) {
	r.w.WriteByte(mark)
	r.w.Write(binary.AppendUvarint(nil, uint64(len(s))))
	r.w.WriteString(s)
}

// Columns writes nothing: who replays has the same plan.
func (r *remote) Columns([]Column) {}

func (r *remote) Value(s string)       { r.put(markValue, s) }
func (r *remote) Piece(p []byte) error { r.put(markPiece, string(p)); return nil }
func (r *remote) Done()                { r.put(markDone, "") }
func (r *remote) Flush() error         { return r.w.Flush() }

// Merged is a Formatter's result that several users contribute to: the column
// "Username" stands before the others.
type Merged struct {
	Formatter
	cols int
}

// errReply says that the other process did not write a result.
var errReply = errors.New("the process of the user answered nonsense")

// Replay prints what a remote Formatter wrote for one user.
func (m *Merged) Replay(r io.Reader, user string) error {
	in := bufio.NewReader(r)
	at := 0
	for {
		mark, err := in.ReadByte()
		if err == io.EOF {
			return nil
		}
		s, err := readPart(in, err)
		if err != nil {
			return err
		}
		switch mark {
		case markValue, markPiece, markDone:
			if m.cols == 0 {
				return errReply
			}
			if at, err = m.replay(mark, s, at, user); err != nil {
				return err
			}
		default:
			return errReply
		}
	}
}

// readPart reads the rest of a part whose mark was read.
func readPart(in *bufio.Reader, err error) (string, error) {
	if err != nil {
		return "", err
	}
	n, err := binary.ReadUvarint(in)
	if err != nil || n > maxPart {
		return "", errReply
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(in, b); err != nil {
		return "", errReply
	}
	return string(b), nil
}

// Begin names the columns, before the first Replay; without any nothing is printed.
func (m *Merged) Begin(list []Column) {
	if len(list) == 0 {
		return
	}
	m.cols = len(list) + 1
	m.Columns(append([]Column{{Key: "username", Title: "Username", Hide: true}}, list...))
}

// replay prints one part; before the first of a row the user's name. at is the
// column, and the result the next one's.
func (m *Merged) replay(mark byte, s string, at int, user string) (int, error) {
	if at == 0 {
		m.Value(user)
		at = 1
	}
	switch mark {
	case markPiece:
		return at, m.Piece([]byte(s))
	case markDone:
		m.Done()
	default:
		m.Value(s)
	}
	return (at + 1) % m.cols, nil
}
