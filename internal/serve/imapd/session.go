package imapd

import "net"

func serve(conn net.Conn, u User, o Options, s Start) error { return conn.Close() }
