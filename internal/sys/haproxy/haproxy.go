// Package haproxy reads the header with which a load balancer hands a client's
// connection on: the PROXY protocol, versions 1 and 2 (haproxy's
// proxy-protocol.txt; smtpd_upstream_proxy_protocol and
// postscreen_upstream_proxy_protocol of postconf(5)). receive/smtpd and
// receive/gate call it before they say anything.
//
// Not a byte behind the header is taken from the connection: what follows may
// be a TLS handshake.
package haproxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Header says who is at the other end of the balancer's connection.
type Header struct {
	// Local tells that the balancer speaks for itself (a health check): the
	// connection's own addresses hold.
	Local          bool
	Client, Server netip.AddrPort
}

// The sizes of headers in octets: the longest of version 1 with its line end,
// the fixed part of version 2, and the most that is read of its variable part.
const (
	maxV1   = 107
	fixedV2 = 16
	maxV2   = 4096
)

// signature begins a header of version 2.
const signature = "\r\n\r\n\x00\r\nQUIT\n"

var errSyntax = errors.New("bad protocol header")

// Read reads the header within timeout. The deadline of conn is gone afterwards.
func Read(conn net.Conn, timeout time.Duration) (Header, error) {
	conn.SetReadDeadline(time.Now().Add(timeout))
	defer conn.SetReadDeadline(time.Time{})
	var b [fixedV2]byte
	// The shortest header of version 1, "PROXY UNKNOWN\r\n", has 15 octets.
	if _, err := io.ReadFull(conn, b[:fixedV2-1]); err != nil {
		return Header{}, err
	}
	if string(b[:len(signature)]) == signature {
		return readV2(conn, b[:])
	}
	if !bytes.HasPrefix(b[:], []byte("PROXY ")) {
		return Header{}, errSyntax
	}
	return readV1(conn, b[:fixedV2-1])
}

// readV1 reads on octet by octet: nobody knows where the line ends.
func readV1(r io.Reader, begun []byte) (Header, error) {
	line := append(make([]byte, 0, maxV1), begun...)
	for line[len(line)-1] != '\n' {
		if len(line) == maxV1 {
			return Header{}, errSyntax
		}
		line = line[:len(line)+1]
		if _, err := io.ReadFull(r, line[len(line)-1:]); err != nil {
			return Header{}, err
		}
	}
	text, ok := strings.CutSuffix(string(line), "\r\n")
	if !ok || strings.ContainsAny(text, "\r\n") {
		return Header{}, errSyntax
	}
	return parseV1(strings.Split(text, " "))
}

func parseV1(f []string) (Header, error) {
	if len(f) >= 2 && f[1] == "UNKNOWN" {
		return Header{Local: true}, nil
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return Header{}, errSyntax
	}
	var ends [2]netip.AddrPort
	for i := range ends {
		addr, err := netip.ParseAddr(f[2+i])
		port, perr := strconv.ParseUint(f[4+i], 10, 16)
		if err != nil || perr != nil || addr.Zone() != "" || addr.Is4() != (f[1] == "TCP4") {
			return Header{}, fmt.Errorf("%w: address %q, port %q", errSyntax, f[2+i], f[4+i])
		}
		ends[i] = netip.AddrPortFrom(addr.Unmap(), uint16(port))
	}
	return Header{Client: ends[0], Server: ends[1]}, nil
}

// readV2 reads the rest: the last octet of the fixed part, the addresses, and
// the TLV fields, which nobody needs.
func readV2(r io.Reader, fixed []byte) (Header, error) {
	if _, err := io.ReadFull(r, fixed[fixedV2-1:]); err != nil {
		return Header{}, err
	}
	size := int(binary.BigEndian.Uint16(fixed[14:]))
	if fixed[12]>>4 != 2 || size > maxV2 {
		return Header{}, errSyntax
	}
	rest := make([]byte, size)
	if _, err := io.ReadFull(r, rest); err != nil {
		return Header{}, err
	}
	switch fixed[12] & 0xf {
	case 0: // LOCAL
		return Header{Local: true}, nil
	case 1: // PROXY
		return parseV2(fixed[13], rest)
	}
	return Header{}, errSyntax
}

func parseV2(family byte, b []byte) (Header, error) {
	n := 0
	switch family {
	case 0x11: // TCP over IPv4
		n = 4
	case 0x21: // TCP over IPv6
		n = 16
	default:
		return Header{}, fmt.Errorf("%w: address family %#x", errSyntax, family)
	}
	if len(b) < 2*n+4 {
		return Header{}, errSyntax
	}
	from, _ := netip.AddrFromSlice(b[:n])
	to, _ := netip.AddrFromSlice(b[n : 2*n])
	return Header{
		Client: netip.AddrPortFrom(from.Unmap(), binary.BigEndian.Uint16(b[2*n:])),
		Server: netip.AddrPortFrom(to.Unmap(), binary.BigEndian.Uint16(b[2*n+2:])),
	}, nil
}
