package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"

	"packetboat/internal/sys/disk"
)

// CutBase in place of a base says that the journal's tail is a list of cuts, and
// then one of patches. A cut takes whole blocks out of the file, and what stands
// behind them moves down without being written; the patches, whose places are
// those after all cuts, put in order what the blocks' borders leave.
//
// Cuts rise, and are made from the last one to the first, so that the places of
// those to come stay right. After a crash each cut is known to be made by what
// stands at a place where something else stands before it: so if one is made, all
// behind it are, too, and if the first one is not, no patch has been written. What
// other programs append meanwhile changes nothing of this. A kernel that was
// stopped in the middle of a cut may leave a hole in the file in its stead, at
// any place behind: it is what is still to be taken out.
const CutBase = -2

// Mark is how many octets tell whether a cut is made; they stand in one sector.
const Mark = 64

// MaxCuts is how many cuts one journal holds.
const MaxCuts = 64

// ErrNoCut says that the file system makes no cuts, and that the mailbox is as it
// was; the journal is gone.
var ErrNoCut = errors.New("ranges of this file cannot be collapsed")

// Cut is one of them: Len octets at Off. At is a multiple of Mark where Was stands
// as long as the cut is not made, and never afterwards.
type Cut struct {
	Off, Len, At int64
	Was          [Mark]byte
}

const cutSize = 3*8 + Mark

// Cuts begins the tail.
func (j *Journal) Cuts(list []Cut) error {
	b := binary.BigEndian.AppendUint64(nil, uint64(len(list)))
	for i := range list {
		for _, v := range []int64{list[i].Off, list[i].Len, list[i].At} {
			b = binary.BigEndian.AppendUint64(b, uint64(v))
		}
		b = append(b, list[i].Was[:]...)
	}
	_, err := j.Write(b)
	return err
}

// readCuts reads them, and returns where the patches begin.
func readCuts(j io.ReaderAt) (list []Cut, at int64, err error) {
	var head [8]byte
	if err := ReadFull(j, head[:], journalHeader); err != nil {
		return nil, 0, err
	}
	n := binary.BigEndian.Uint64(head[:])
	if n > MaxCuts {
		return nil, 0, errors.New("a journal has too many cuts")
	}
	b := make([]byte, n*cutSize)
	if err := ReadFull(j, b, journalHeader+8); err != nil {
		return nil, 0, err
	}
	list = make([]Cut, n)
	for i := range list {
		c := b[i*cutSize:]
		num := func(k int) int64 { return int64(binary.BigEndian.Uint64(c[8*k:])) }
		list[i].Off, list[i].Len, list[i].At = num(0), num(1), num(2)
		copy(list[i].Was[:], c[24:])
	}
	return list, journalHeader + 8 + int64(len(b)), nil
}

// made tells whether a cut was made, where none before it was.
func (c *Cut) made(f *os.File) (bool, error) {
	var b [Mark]byte
	err := ReadFull(f, b[:], c.At)
	return !bytes.Equal(b[:], c.Was[:]), err
}

// applyCuts makes what is still to be made of a journal's cuts, and then writes
// its patches.
func (p plan) applyCuts(sys Files, j io.ReaderAt, f *os.File) error {
	cuts, at, err := readCuts(j)
	if err != nil {
		return err
	}
	if err := finishCut(sys, f, cuts); err != nil {
		return err
	}
	todo := 0
	for ; todo < len(cuts); todo++ {
		if made, err := cuts[todo].made(f); err != nil {
			return err
		} else if made {
			break
		}
	}
	for i := todo - 1; i >= 0; i-- {
		err := sys.Collapse(f, cuts[i].Off, cuts[i].Len)
		if i == len(cuts)-1 && disk.NoCollapse(err) {
			return ErrNoCut
		}
		if err != nil {
			return err
		}
	}
	st, err := disk.StatFile(f)
	if err != nil {
		return err
	}
	return p.applyPatches(sys, j, at, f, st.Size)
}

// finishCut takes out the hole that a cut has left which was not made to its end.
func finishCut(sys Files, f *os.File, cuts []Cut) error {
	if len(cuts) == 0 {
		return nil
	}
	off, n, err := disk.Hole(f, cuts[0].Off)
	if err != nil || n == 0 {
		return err
	}
	for i := range cuts {
		if n != cuts[i].Len || off < cuts[i].Off {
			continue
		}
		st, err := disk.StatFile(f)
		if err == nil && off+n == st.Size {
			return sys.Truncate(f, off)
		}
		return errors.Join(err, sys.Collapse(f, off, n))
	}
	return nil
}
