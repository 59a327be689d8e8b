package mbox

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/store/mbox/format"
	"packetboat/internal/sys/disk"
)

// status makes an answer of an error, with the texts of Postfix's local(8).
// Nothing is bounced but what no later try can change: a mailbox that is no
// file. A full disk or quota stays in the queue.
func (o DeliverOptions) status(path string, err error) *mail.Status {
	var unt *disk.UntrustedError
	if errors.As(err, &unt) {
		return o.refusal(path)
	}
	code, text := "4.2.0", ""
	var rerr *format.ReadError
	switch {
	case errors.As(err, &rerr):
		return mail.Defer("4.3.0", "%s", rerr.Error())
	case errors.Is(err, errTooBig), disk.TooLarge(err):
		code, text = "4.2.2", "error writing message: File too large"
	case disk.OverQuota(err):
		code, text = "4.2.2", "error writing message: Disk quota exceeded"
	case disk.Full(err):
		code, text = "4.3.1", "error writing message: No space left on device"
	case disk.IsLink(err):
		text = "file is a symbolic link"
	case errors.Is(err, disk.ErrLocked):
		text = "unable to create lock file " + path + ".lock: File exists"
	case errors.Is(err, errUnwanted):
		return mail.Defer("4.4.2", "%v", err)
	case errors.Is(err, errReplaced):
		text = err.Error()
	default:
		text = "cannot open file: " + reason(err)
	}
	return o.cannot(code, path, text)
}

// refusal says why OpenTrusted refused the file.
func (o DeliverOptions) refusal(path string) *mail.Status {
	st, err := disk.StatPath(path)
	switch {
	case err == nil && !st.Regular:
		return o.cannot("5.2.0", path, "destination "+path+" is not a regular file")
	case err == nil && st.Links != 1:
		return o.cannot("4.2.0", path, fmt.Sprintf("file has %d hard links", st.Links))
	}
	return o.cannot("4.2.0", path, "destination "+path+" is not owned by recipient")
}

func (o DeliverOptions) cannot(code, path, text string) *mail.Status {
	text = "cannot update mailbox " + path + " for user " + o.User + ". " + text
	if code[0] == '5' {
		return mail.Bounce(code, "%s", text)
	}
	return mail.Defer(code, "%s", text)
}

// reason returns the last part of a system error, as strerror(3) begins it.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	s := err.Error()
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
