package uidlist

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"packetboat/internal/sys/disk"
)

// The file dovecot-keywords says which word a letter in a file's name stands
// for, one "INDEX WORD" a line; 0 is "a", 25 is "z". Words beyond 26 have no
// letter: they are kept in the cache alone, as Dovecot keeps them in its index.
const (
	KeywordsName = "dovecot-keywords"
	maxLetters   = 26
	MaxKeywords  = 64 // of one mailbox, store.Msg.Keywords
	maxKeyFile   = 64 << 10
)

// Keywords are the words of one mailbox: bit i of store.Msg.Keywords stands for
// words[i], and letter of a name for words[letter[l]].
type Keywords struct {
	Path   string
	ID     disk.ID
	Words  []string
	letter [maxLetters]int // index of words, -1 = the letter means nothing
}

// Load reads the file if it changed since it was read.
func (k *Keywords) Load() error {
	f, st, err := disk.OpenStat(k.Path, os.O_RDONLY, -1)
	if errors.Is(err, fs.ErrNotExist) {
		k.Clear()
		k.ID = disk.ID{}
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if st.ID == k.ID {
		return nil
	}
	k.Clear()
	sc := bufio.NewScanner(io.LimitReader(f, maxKeyFile))
	for sc.Scan() {
		num, word, ok := strings.Cut(sc.Text(), " ")
		i, err := strconv.Atoi(num)
		if ok && err == nil && i >= 0 && i < maxLetters && word != "" {
			k.letter[i] = k.index(word)
		}
	}
	k.ID = st.ID
	return sc.Err()
}

func (k *Keywords) Clear() {
	for i := range k.letter {
		k.letter[i] = -1
	}
}

// index returns the bit of a word, which is added if it is new; -1 when there
// is no room for it. Words differ by more than their case.
func (k *Keywords) index(word string) int {
	if i := slices.IndexFunc(k.Words, func(w string) bool { return strings.EqualFold(w, word) }); i >= 0 {
		return i
	}
	if len(k.Words) >= MaxKeywords {
		return -1
	}
	k.Words = append(k.Words[:len(k.Words):len(k.Words)], word) // snapshots hold the old one
	return len(k.Words) - 1
}

// Bits turns letters of a name into bits of store.Msg.Keywords.
func (k *Keywords) Bits(letters uint32) uint64 {
	var b uint64
	for l, i := range k.letter {
		if letters&(1<<l) != 0 && i >= 0 {
			b |= 1 << i
		}
	}
	return b
}

// Letters turns bits into letters.
func (k *Keywords) Letters(bits uint64) uint32 {
	var n uint32
	for l, i := range k.letter {
		if i >= 0 && bits&(1<<i) != 0 {
			n |= 1 << l
		}
	}
	return n
}

// Unknown are the letters of a name that no line of the file explains; they
// are kept when the name changes.
func (k *Keywords) Unknown(letters uint32) uint32 {
	for l, i := range k.letter {
		if i >= 0 {
			letters &^= 1 << l
		}
	}
	return letters
}

// Homeless returns the bits of words that have no letter.
func (k *Keywords) Homeless() uint64 {
	all := ^uint64(0)
	for _, i := range k.letter {
		if i >= 0 {
			all &^= 1 << i
		}
	}
	return all
}

// Claim gives letters to words, writing the file where it lacks them, and
// returns their bits.
func (k *Keywords) Claim(words []string, o disk.LockOptions) (uint64, error) {
	var bits uint64
	for _, w := range words {
		if i := k.index(w); i >= 0 {
			bits |= 1 << i
		}
	}
	if bits&k.Homeless() == 0 || !slices.Contains(k.letter[:], -1) {
		return bits, nil
	}
	l, err := disk.Dotlock(context.Background(), k.Path, o)
	if err != nil {
		return 0, err
	}
	defer l.Unlock()
	if err := k.Load(); err != nil {
		return 0, err
	}
	for i := range k.Words {
		if bits&k.Homeless()&(1<<i) == 0 {
			continue
		}
		if free := slices.Index(k.letter[:], -1); free >= 0 {
			k.letter[free] = i
		}
	}
	return bits, k.write()
}

func (k *Keywords) write() error {
	var b []byte
	for l, i := range k.letter {
		if i >= 0 {
			b = fmt.Appendf(b, "%d %s\n", l, k.Words[i])
		}
	}
	if err := disk.WriteFile(k.Path, b, 0o600); err != nil {
		k.ID = disk.ID{}
		return err
	}
	st, err := disk.StatPath(k.Path)
	k.ID = st.ID
	return err
}
