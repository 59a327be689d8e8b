package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"packetboat/cmd/internal/wiring"
	"packetboat/internal/queue"
	"packetboat/internal/sys/proc"
)

// serveControl answers on the sockets that sendmail, mailq, postqueue, postsuper
// and monitoring use.
func (e *engine) serveControl() error {
	dir := e.main.Get("queue_directory")
	drop := func(fn func(*queue.Listing) error) error { return queue.ListMaildrop(dir, fn) }
	showq := func(c net.Conn) { queue.ServeShowq(c, e.queue, drop) }
	for name, serve := range map[string]func(net.Conn){
		"showq":  wiring.ForUsers(e.main, e.log, "authorized_mailq_users", showq),
		"qmgr":   wiring.ForUsers(e.main, e.log, "authorized_flush_users", e.sched.ServeControl),
		"submit": wiring.ForUsers(e.main, e.log, "authorized_submit_users", e.pickup.Serve),
	} {
		l, err := unixSocket(filepath.Join(dir, "public", name))
		if err != nil {
			return err
		}
		e.sockets = append(e.sockets, l)
		go e.acceptUnix(l, serve)
	}
	return nil
}

// unixSocket listens at path for everyone; what a killed engine left there goes.
func unixSocket(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %s", path, proc.ErrText(err))
	}
	return l, os.Chmod(path, 0o666)
}

// maxControl is the number of control conversations at once; more wait.
const maxControl = 50

func (e *engine) acceptUnix(l net.Listener, serve func(net.Conn)) {
	slots := make(chan struct{}, maxControl)
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			e.log.Warn("accept on a control socket: %s", proc.ErrText(err))
			time.Sleep(100 * time.Millisecond) // no descriptors: it passes
			continue
		}
		slots <- struct{}{}
		go func() {
			defer func() {
				if r := recover(); r != nil {
					e.log.Error("panic on a control socket: %v", r)
				}
				c.Close()
				<-slots
			}()
			serve(c)
		}()
	}
}

// sandbox takes the engine's rights on files away, but for the queue and what
// DNS, TLS and tables read.
func (e *engine) sandbox() error {
	ro := []string{"/etc", "/usr/share/zoneinfo", "/usr/share/ca-certificates", "/usr/lib/ssl", "/run/systemd/resolve",
		"/run/resolvconf", "/proc/self", "/proc/sys/net", "/usr/bin/getent", "/lib", "/lib64", "/usr/lib", "/var/lib/postfix",
		e.main.Dir()}
	ro = append(ro, wiring.TableFolders(wiring.TableFiles(e.main, e.services, e.link.openTable))...)
	rw := []string{e.main.Get("queue_directory"), e.main.Get("data_directory"), "/dev/null", "/dev/log", "/run/systemd/journal"}
	return proc.Confine(ro, rw)
}
