package intake

import (
	"io"
)

// spoolMemory is how much of a text is kept in memory, in octets; the rest goes
// into an unfinished queue file, which is removed in the end.
const spoolMemory = 64 << 10

// spool is a text that is written once and read back.
type spool struct {
	in   *Intake
	mem  []byte
	file file
	size int64
}

// Write implements io.Writer.
func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && len(s.mem)+len(p) <= spoolMemory {
		s.mem = append(s.mem, p...)
		s.size += int64(len(p))
		return len(p), nil
	}
	if s.file == nil {
		f, err := s.in.create()
		if err != nil {
			return 0, err
		}
		if _, err := f.Write(s.mem); err != nil {
			f.Abort()
			return 0, err
		}
		s.file, s.mem = f, nil
	}
	n, err := s.file.Write(p)
	s.size += int64(n)
	return n, err
}

// ReadAt implements io.ReaderAt.
func (s *spool) ReadAt(p []byte, off int64) (int, error) {
	if s.file != nil {
		return s.file.ReadAt(p, off)
	}
	if off >= int64(len(s.mem)) {
		return 0, io.EOF
	}
	n := copy(p, s.mem[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// drop removes the text.
func (s *spool) drop() {
	if s.file != nil {
		s.file.Abort()
		s.file = nil
	}
}
