package queue

import "io"

// What receive/intake needs for milters: the message is read back before it is
// committed, and written anew if a milter changed it. The file, and so the id,
// stay the same.

// ReadAt implements io.ReaderAt over the bytes of the message written so far. A
// message that fits into the buffer has not been written to the file yet, and is
// not for this.
func (w *Writer) ReadAt(p []byte, off int64) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if off >= w.size {
		return 0, io.EOF
	}
	short := int64(len(p)) > w.size-off
	if short {
		p = p[:w.size-off]
	}
	n, err := 0, error(nil)
	if int64(w.n) == w.size {
		n = copy(p, w.buf[off:w.n])
	} else if w.flush(); w.err != nil {
		return 0, w.err
	} else {
		n, err = w.f.ReadAt(p, off)
	}
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

// Restart forgets what was written: the next Write is the message's beginning.
func (w *Writer) Restart() error {
	if w.err == nil && int64(w.n) != w.size {
		w.err = full(w.f.Restart())
	}
	w.n, w.seen, w.sum, w.size = 0, 0, 0, 0
	return w.err
}
