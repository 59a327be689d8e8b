package config

import (
	"fmt"
	"os"
	"strings"

	"packetboat/internal/sys/config/base"
)

// Fields splits a list as Postfix does: at commas and white space, which count
// as part of an item inside { }.
func Fields(s string) []string {
	var list []string
	for {
		item, rest := cutField(s)
		if item == "" {
			return list
		}
		list = append(list, item)
		s = rest
	}
}

func isSeparator(c byte) bool {
	return c == ',' || c == ' ' || c == '\t' || c == '\r' || c == '\n'
}

// cutField takes the first item off a list.
func cutField(s string) (item, rest string) { return cutAt(s, isSeparator) }

// cutAt takes the first item off s, whose items sep separates outside { }.
func cutAt(s string, sep func(byte) bool) (item, rest string) {
	i := 0
	for i < len(s) && sep(s[i]) {
		i++
	}
	s = s[i:]
	level := 0
	for i = 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '{':
			level++
		case level > 0 && c == '}':
			level--
		case level == 0 && sep(c):
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// maxFileItems bounds how deep one list may name files that name files.
const maxFileItems = 10

// Patterns splits a list of patterns (mydestination, mynetworks and the other
// parameters of type match) and puts the items of /files in their place; !/file
// negates every item of it. Items of the kind type:table stay as they are.
func Patterns(list string) ([]string, error) { return Opener(nil).patterns(nil, list, false, 0) }

func (open Opener) patterns(out []string, list string, negate bool, depth int) ([]string, error) {
	if depth > maxFileItems {
		return nil, fmt.Errorf("files name each other more than %d deep", maxFileItems)
	}
	for {
		var item string
		if item, list = cutField(list); item == "" || item[0] == '#' {
			return out, nil
		}
		bare := strings.TrimLeft(item, "!")
		not := negate != ((len(item)-len(bare))%2 == 1)
		if bare == "" {
			return nil, fmt.Errorf("no pattern after '!'")
		}
		if bare[0] == '/' {
			var err error
			if out, err = open.patternFile(out, bare, not, depth); err != nil {
				return nil, err
			}
			continue
		}
		if not {
			bare = "!" + bare
		}
		out = append(out, bare)
	}
}

// patternFile appends the patterns of a file: one list a line, lines that start
// with # ignored.
func (open Opener) patternFile(out []string, path string, negate bool, depth int) ([]string, error) {
	text, err := open.Read(path)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(text) {
		if line[0] == '#' {
			continue
		}
		if out, err = open.patterns(out, line, negate, depth+1); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Read returns the text of a file of at most base.MaxFile bytes.
func (open Opener) Read(path string) (string, error) {
	text, err := base.Read(path)
	if open == nil || !os.IsPermission(err) {
		return text, err
	}
	f, err := open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return base.ReadFrom(f, path)
}
