package proc

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
)

// maxMessage is the largest message on a Channel in bytes.
const maxMessage = 64 << 10

// maxFiles is the number of descriptors that one message may carry.
const maxFiles = 8

// Channel carries small JSON messages with open files between two of our
// processes: one message, one datagram (SOCK_SEQPACKET). Send and Recv may run
// at once, but each in one goroutine at a time.
type Channel struct {
	conn *net.UnixConn
	in   []byte // of Recv
	oob  []byte
}

// Pair returns a Channel and the file of its other end, which the caller hands
// to a child through Role.Files and then closes.
func Pair() (*Channel, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	near, err := FromFile(os.NewFile(uintptr(fds[0]), "channel"))
	far := os.NewFile(uintptr(fds[1]), "channel")
	if err != nil {
		far.Close()
		return nil, nil, err
	}
	return near, far, nil
}

// Inherited returns the Channel that a parent left at descriptor fd.
func Inherited(fd int) (*Channel, error) {
	syscall.CloseOnExec(fd)
	return FromFile(os.NewFile(uintptr(fd), "channel"))
}

// FromFile makes a Channel of f and closes f.
func FromFile(f *os.File) (*Channel, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	uc, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("descriptor %s is no unix socket", f.Name())
	}
	return &Channel{conn: uc, in: make([]byte, maxMessage), oob: make([]byte, syscall.CmsgSpace(4*maxFiles))}, nil
}

// Send sends v as JSON with files. The caller keeps its files and closes them.
func (c *Channel) Send(v any, files ...*os.File) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > maxMessage || len(files) > maxFiles {
		return fmt.Errorf("message of %d bytes and %d files does not fit a channel", len(b), len(files))
	}
	return withFDs(files, nil, func(fds []int) error {
		var oob []byte
		if len(fds) > 0 {
			oob = syscall.UnixRights(fds...)
		}
		_, _, err := c.conn.WriteMsgUnix(b, oob, nil)
		return err
	})
}

// withFDs calls fn with the descriptors of files, which stay open meanwhile.
// File.Fd would not do: it makes a socket blocking for every process that has it.
func withFDs(files []*os.File, fds []int, fn func([]int) error) error {
	if len(files) == 0 {
		return fn(fds)
	}
	raw, err := files[0].SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = raw.Control(func(fd uintptr) { inner = withFDs(files[1:], append(fds, int(fd)), fn) })
	if err != nil {
		return err
	}
	return inner
}

// Recv receives one message into v and the files that came with it. It returns
// io.EOF when the other end is gone.
func (c *Channel) Recv(v any) ([]*os.File, error) {
	n, oobn, _, _, err := c.conn.ReadMsgUnix(c.in, c.oob)
	if err == nil && n == 0 && oobn == 0 {
		err = io.EOF
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed) {
		err = io.EOF
	}
	if err != nil {
		return nil, err
	}
	files, err := rights(c.oob[:oobn])
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(c.in[:n], v); err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

// rights takes the descriptors out of a control message.
func rights(oob []byte) ([]*os.File, error) {
	msgs, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, m := range msgs {
		fds, err := syscall.ParseUnixRights(&m)
		if err != nil {
			continue // another kind of control message
		}
		for _, fd := range fds {
			syscall.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Close closes this end; the other end's Recv returns io.EOF.
func (c *Channel) Close() error { return c.conn.Close() }

// SocketPair returns two connected stream sockets as files, for a conversation
// between two processes.
func SocketPair() (a, b *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "pair"), os.NewFile(uintptr(fds[1]), "pair"), nil
}
