package mbox

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"packetboat/internal/store"
)

// fill makes an mbox of n messages of 2 kB.
func fill(b *testing.B, path string, n int) {
	b.Helper()
	var out bytes.Buffer
	text := strings.Repeat("The quick brown fox jumps over the lazy dog, now and then, as it may.\n", 24)
	for i := range n {
		fmt.Fprintf(&out, "From a@example.org  Mon Nov 23 14:03:58 2026\nReturn-Path: <a@example.org>\nFrom: a@example.org\n"+
			"To: b@example.org\nSubject: message %d\nMessage-ID: <%d@example.org>\nDate: Mon, 23 Nov 2026 14:03:58 +0000\n\n%s\n", i, i, text)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		b.Fatal(err)
	}
}

func openBench(b *testing.B, dir string) store.Mailbox {
	b.Helper()
	s, _ := Open(Options{Inbox: dir + "/spool", Folders: dir + "/mail"})
	m, err := s.Open("INBOX")
	if err != nil {
		b.Fatal(err)
	}
	m.ClaimRecent()
	return m
}

// BenchmarkSelect opens a mailbox of 100,000 messages, without and with a cache.
func BenchmarkSelect(b *testing.B) {
	dir := b.TempDir()
	fill(b, dir+"/spool", 100000)
	m := openBench(b, dir)
	m.Close()
	for _, cached := range []bool{false, true} {
		b.Run(fmt.Sprintf("cached=%v", cached), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !cached {
					b.StopTimer()
					os.RemoveAll(dir + "/mail")
					b.StartTimer()
				}
				s, _ := Open(Options{Inbox: dir + "/spool", Folders: dir + "/mail"})
				m, err := s.Open("INBOX")
				if err != nil || len(m.Snapshot().Msgs) != 100000 {
					b.Fatal(err)
				}
				m.Close()
			}
		})
	}
}

// BenchmarkStoreAll sets a flag of 10,000 messages and writes it.
func BenchmarkStoreAll(b *testing.B) {
	dir := b.TempDir()
	fill(b, dir+"/spool", 10000)
	m := openBench(b, dir)
	defer m.Close()
	uids := all(m)
	m.Flush()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.SetFlags(uids, store.Op(1+i%2), store.Seen|store.Flagged, nil)
		if err := m.Flush(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStoreOne sets a flag of one message among 10,000 and writes it.
func BenchmarkStoreOne(b *testing.B) {
	dir := b.TempDir()
	fill(b, dir+"/spool", 10000)
	m := openBench(b, dir)
	defer m.Close()
	uids := all(m)[5000:5001]
	m.Flush()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		m.SetFlags(uids, store.Op(1+i%2), store.Seen, nil)
		if err := m.Flush(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkExpungeHalf removes every second of 10,000 messages.
func BenchmarkExpungeHalf(b *testing.B) {
	dir := b.TempDir()
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		fill(b, dir+"/spool", 10000)
		os.RemoveAll(dir + "/mail")
		m := openBench(b, dir)
		m.Flush()
		var half []uint32
		for i, uid := range all(m) {
			if i%2 == 0 {
				half = append(half, uid)
			}
		}
		b.StartTimer()
		if _, err := m.Expunge(half); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		m.Close()
		b.StartTimer()
	}
}

// BenchmarkFetch reads 10,000 messages one after the other.
func BenchmarkFetch(b *testing.B) {
	dir := b.TempDir()
	fill(b, dir+"/spool", 10000)
	m := openBench(b, dir)
	defer m.Close()
	uids := all(m)
	buf := make([]byte, 64<<10)
	b.ReportAllocs()
	for b.Loop() {
		for _, uid := range uids {
			r, err := m.Read(uid, 0, -1)
			if err != nil {
				b.Fatal(err)
			}
			for {
				if _, err := r.Read(buf); err != nil {
					break
				}
			}
		}
	}
}

func all(m store.Mailbox) []uint32 {
	var uids []uint32
	for _, msg := range m.Snapshot().Msgs {
		uids = append(uids, msg.UID)
	}
	return uids
}
