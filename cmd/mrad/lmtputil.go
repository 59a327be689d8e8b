package main

import (
	"bufio"
	"io"
	"strings"

	"packetboat/internal/deliver/lmtpd"
)

// copyTo copies with one buffer, never a whole message.
func copyTo(w io.Writer, r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 32<<10))
}

// maxIDLine bounds how far into a header the Message-ID is looked for, in bytes.
const maxIDLine = 64 << 10

// messageID returns the Message-ID of a message for the log.
func messageID(m *lmtpd.Message) string {
	r := bufio.NewReaderSize(io.LimitReader(m.Reader(), maxIDLine), 4096)
	for {
		line, err := r.ReadString('\n')
		name, value, ok := strings.Cut(line, ":")
		if ok && strings.EqualFold(strings.TrimSpace(name), "Message-ID") {
			return strings.TrimSpace(value)
		}
		if err != nil || strings.TrimRight(line, "\r\n") == "" {
			return ""
		}
	}
}
