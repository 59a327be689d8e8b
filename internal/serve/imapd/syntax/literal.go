package syntax

import "io"

// LiteralBody is the message on its way. It ends with io.EOF only when the whole
// literal has come and what follows it has been read: a message cut short by a
// lost connection is an error, and never saved.
type LiteralBody struct {
	P    *Parser
	Left int64
	end  bool  // what stands behind the literal has been read:
	Next []Arg // up to the next message, or nothing
	err  error // the connection's, or what was wrong with the line
}

// Read gives the octets of the literal.
func (l *LiteralBody) Read(b []byte) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	if l.Left == 0 {
		if l.lineEnd(); l.err != nil {
			return 0, l.err
		}
		return 0, io.EOF
	}
	if int64(len(b)) > l.Left {
		b = b[:l.Left]
	}
	n, err := l.P.R.Read(b)
	l.Left -= int64(n)
	if err == io.EOF && l.Left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && l.Left > 0 {
		l.err = err
		return n, err
	}
	return n, nil
}

// lineEnd reads what follows the literal: the line's end, or another message.
func (l *LiteralBody) lineEnd() {
	if l.end {
		return
	}
	l.end = true
	l.P.Resume()
	l.Next, l.err = l.P.Args(true)
}

// Finish swallows what has not been read. Its error is one of the connection or
// of syntax.
func (l *LiteralBody) Finish() error {
	if _, err := io.Copy(io.Discard, l); err != nil {
		return err
	}
	return l.err
}
