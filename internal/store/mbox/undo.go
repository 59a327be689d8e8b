package mbox

import (
	"fmt"
	"os"
	"strings"

	"packetboat/internal/store/mbox/format"
	"packetboat/internal/store/mbox/journal"
	"packetboat/internal/sys/disk"
)

// An append that a crash interrupts leaves a part of a message. While one is
// under way its dotlock says, behind the process number, where the file ended
// and which dates the From_ lines have that are being written:
//
//	4711
//	append 12345 BOOT 3x1795445464 1x1795445465
//
// No answer is given before the dotlock is gone, so whoever breaks the dotlock
// of a dead process may cut the file back: the sender still has the mail. What
// another program appended behind it has other dates; then nothing is cut. Nor is
// it after another start of the machine, which BOOT tells: the removal of the
// dotlock is not flushed, so that it may stand again after a power cut, when the
// mail has long been answered for.

// maxRuns bounds the note; a batch of more different dates has none.
const maxRuns = 16

// appendNote returns the note for an append to the mailbox f at path. There is
// none while a journal waits: what it does to the size is no append.
func appendNote(path, control string, f *os.File, dates []int64) string {
	st, err := disk.StatFile(f)
	boot := bootID()
	if err != nil || boot == "" || journal.Pending(path, control) {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "append %d %s", st.Size, boot)
	runs := 0
	for i := 0; i < len(dates); runs++ {
		n := 1
		for i+n < len(dates) && dates[i+n] == dates[i] {
			n++
		}
		fmt.Fprintf(&b, " %dx%d", n, dates[i])
		i += n
	}
	if runs > maxRuns {
		return ""
	}
	return b.String() + "\n"
}

// bootID names this start of the machine (random(4)); empty where nobody knows.
func bootID() string {
	b, err := disk.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// undoAppend cuts f back to where a dead process began to append, if what
// stands behind is that process's alone. What fails leaves the part of a
// message there, for people to see.
func undoAppend(sys journal.Files, f *os.File, note string) {
	size, dates, ok := readNote(note)
	st, err := disk.StatFile(f)
	if !ok || err != nil || st.Size <= size {
		return
	}
	from, known := size, len(dates)
	var lead [2]byte
	n, _ := f.ReadAt(lead[:], size)
	for _, c := range lead[:n] {
		if c == '\n' {
			from++
		}
	}
	i := 0
	s := format.NewScanner(f, st.Size, &format.Keywords{}, func(c *format.Scanned) {
		if i >= known || c.Msg.Date != dates[i] {
			ok = false
		}
		i++
	})
	// A From_ line that is cut short is no From_ line: nothing of it is foreign.
	if err := s.Run(from); ok && (err == nil || i == 0 && st.Size-from < format.MaxFrom) {
		if sys.Truncate(f, size) == nil {
			sys.Sync(f)
		}
	}
}

// readNote reads what appendNote wrote.
func readNote(note string) (size int64, dates []int64, ok bool) {
	words := strings.Fields(note)
	if len(words) < 4 || words[0] != "append" || words[2] != bootID() {
		return 0, nil, false
	}
	if _, err := fmt.Sscanf(words[1], "%d", &size); err != nil || size < 0 {
		return 0, nil, false
	}
	for _, w := range words[3:] {
		var n, date int64
		if _, err := fmt.Sscanf(w, "%dx%d", &n, &date); err != nil || n < 1 || n > 10000 {
			return 0, nil, false
		}
		for range n {
			dates = append(dates, date)
		}
	}
	return size, dates, true
}
