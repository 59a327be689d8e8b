// Package subs keeps the list of a user's subscriptions in the file that
// Dovecot keeps it in, for every kind of store.
package subs

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"packetboat/internal/store/names"
	"packetboat/internal/sys/disk"
)

// maxSize bounds the list's size in octets.
const maxSize = 8 << 20

// Read reads the list at path: one name a line in modified UTF-7, or, behind
// the line "V\t2", one name a line with its parts between tabs. sep is what
// stands between the parts in the older form: "/" in the tree of an mbox store,
// "." in a Maildir++. A file that is not there is an empty list.
func Read(path string, sep string) ([]string, error) {
	f, err := disk.OpenTrusted(path, os.O_RDONLY, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []string
	v2 := false
	sc := bufio.NewScanner(io.LimitReader(f, maxSize))
	for first := true; sc.Scan(); first = false {
		line := sc.Text()
		if first && line == "V\t2" {
			v2 = true
		} else if name, ok := readLine(line, v2, sep); ok {
			list = append(list, name)
		}
	}
	return list, sc.Err()
}

// readLine reads one line. Version 2 holds the parts between tabs.
func readLine(line string, v2 bool, sep string) (string, bool) {
	if line == "" {
		return "", false
	}
	if v2 {
		sep = "\t"
	}
	parts := strings.Split(line, sep)
	for i, p := range parts {
		n, ok := names.Decode(p)
		switch {
		case ok:
			parts[i] = n
		case !v2:
			return "", false
		}
	}
	return strings.Join(parts, "/"), true
}

// Change adds name to the list at path or takes it away, and returns when that
// is on disk. Callers let only one Change run at a time.
func Change(path, sep, name string, on bool) error {
	list, err := Read(path, sep)
	if err != nil {
		return err
	}
	have := slices.Contains(list, name)
	switch {
	case have == on:
		return nil
	case on:
		list = append(list, name)
	default:
		list = slices.DeleteFunc(list, func(n string) bool { return n == name })
	}
	return write(path, list)
}

// write writes version 2, as Dovecot 2.3 does.
func write(path string, list []string) error {
	b := []byte("V\t2\n\n")
	for _, n := range list {
		for i, p := range strings.Split(n, "/") {
			if i > 0 {
				b = append(b, '\t')
			}
			b = append(b, names.Encode(p)...)
		}
		b = append(b, '\n')
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return disk.WriteFile(path, b, 0o600)
}
