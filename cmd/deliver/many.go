package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"packetboat/internal/deliver"
	"packetboat/internal/deliver/lmtpd"
	"packetboat/internal/mail"
	"packetboat/internal/sys/proc"
)

// Figures of deliver -z --many.
const (
	manyMemory  = 64 << 20         // at which garbage is collected at once
	manyTalks   = 1000             // conversations at once; what is above ends at once
	manyBatches = 16               // batches that are written at once: so many threads wait for the disk
	manyIdle    = 60 * time.Second // without a conversation, then the process ends
)

// many is deliver -z --many: conversations for many accounts at once, whose
// sockets come over the channel at descriptor 3.
type many struct {
	local, virtual deliver.Options
	as             *proc.Switcher
	batches        chan struct{} // a place for each
	mu             sync.Mutex
	talks          int
	idle           *time.Timer
	done           sync.WaitGroup
}

// serveMany serves until the parent closes the channel, or nothing was to do for
// a while; conversations that have begun are led to their end.
func (c *call) serveMany() error {
	debug.SetMemoryLimit(manyMemory)
	ch, err := proc.Inherited(3)
	if err != nil {
		return &failure{exNoPerm, "descriptor 3 is no channel", "deliver -z --many is started by mtad"}
	}
	m := &many{batches: make(chan struct{}, manyBatches)}
	if m.as, err = proc.NewSwitcher(); err != nil {
		return err
	}
	if m.local, err = c.options(); err != nil {
		return err
	}
	c.as = "virtual"
	if m.virtual, err = c.options(); err != nil {
		return err
	}
	m.idle = time.AfterFunc(manyIdle, func() { m.rest(ch) })
	for {
		var t lmtpd.Talk
		files, err := ch.Recv(&t)
		if err != nil {
			m.done.Wait()
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		for _, f := range files {
			m.begin(t, f)
		}
	}
}

// rest closes the channel when nothing is under way; the parent starts another
// process when there is mail.
func (m *many) rest(ch *proc.Channel) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.talks == 0 {
		ch.Close()
	}
}

// begin leads one conversation in a goroutine of its own.
func (m *many) begin(t lmtpd.Talk, f *os.File) {
	conn, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return // the engine finds its end closed and keeps the mail
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.talks >= manyTalks {
		conn.Close()
		return
	}
	m.talks++
	m.done.Go(func() {
		defer m.end()
		m.lead(t, conn)
	})
}

func (m *many) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.talks--; m.talks == 0 {
		m.idle.Reset(manyIdle)
	}
}

// lead is one conversation. A panic ends it alone.
func (m *many) lead(t lmtpd.Talk, conn net.Conn) {
	defer func() {
		if v := recover(); v != nil {
			conn.Close()
			fmt.Fprintln(os.Stderr, "deliver: internal error in a conversation")
		}
	}()
	o := m.local
	if t.Virtual {
		o = m.virtual
	}
	a := deliver.Account{User: t.User, UID: t.Account.UID, Home: t.Home, Inbox: t.Inbox}
	b := &asAccount{m: m, account: t.Account, LMTP: deliver.NewLMTP(o, deliver.Everyone(a), nil)}
	if err := lmtpd.Serve(conn, lmtpd.Options{Host: o.Host, Raw: true}, b); err != nil {
		fmt.Fprintf(os.Stderr, "deliver: %s: %s\n", t.User, err)
	}
}

// asAccount delivers with the rights of an account.
type asAccount struct {
	*deliver.LMTP
	m       *many
	account proc.Account
}

// Deliver implements lmtpd.Backend.
func (b *asAccount) Deliver(batch []*lmtpd.Message) {
	b.m.batches <- struct{}{}
	defer func() { <-b.m.batches }()
	err := b.m.as.As(b.account, func() { b.LMTP.Deliver(batch) })
	if err == nil {
		return
	}
	for _, msg := range batch {
		for _, r := range msg.Rcpts {
			r.Status = mail.Defer("4.3.0", "mailbox delivery process: %v", err)
		}
	}
}
