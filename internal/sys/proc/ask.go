package proc

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// Ask sends question to whoever listens on the unix socket at path and returns
// all that it answers, at most limit octets, until it closes. No single step
// may take longer than wait. It is for programs that start, ask once and end:
// package net and its poller would cost them more than the conversation.
func Ask(path string, question []byte, limit int, wait time.Duration) ([]byte, error) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer syscall.Close(fd)
	tv := syscall.NsecToTimeval(int64(wait))
	for _, opt := range []int{syscall.SO_SNDTIMEO, syscall.SO_RCVTIMEO} { // the first bounds connect, too
		if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, opt, &tv); err != nil {
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	if err := syscall.Connect(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	for len(question) > 0 {
		// No signal for a listener that has gone.
		n, err := syscall.SendmsgN(fd, question, nil, nil, syscall.MSG_NOSIGNAL)
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return nil, fmt.Errorf("write to %s: %w", path, err)
		}
		question = question[max(n, 0):]
	}
	return hear(fd, path, limit)
}

// hear reads until the other side closes.
func hear(fd int, path string, limit int) ([]byte, error) {
	answer, n := make([]byte, limit), 0
	for n < limit {
		k, err := syscall.Read(fd, answer[n:])
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return nil, fmt.Errorf("read from %s: %w", path, err)
		case k == 0:
			return answer[:n], nil
		}
		n += k
	}
	return nil, fmt.Errorf("read from %s: %w", path, io.ErrShortBuffer)
}
