package table

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"packetboat/internal/route/table/mapfile"
)

// List is a list of patterns for names, as mydestination and relay_domains
// hold: names, "!" before what is left out, /file with more patterns, and
// type:table where the name is a key (match_list(3)). The first item that
// matches decides.
type List struct {
	items   []listItem
	parents bool
	subs    bool
}

type listItem struct {
	not   bool
	name  string              // in lower case
	table Table               // or
	file  *source[[]listItem] // or
}

// Matching says how the names of a List match.
type Matching uint8

// The values of Matching.
const (
	// Exact names only: mydestination, virtual_alias_domains.
	Exact Matching = iota
	// Subdomains match ".name": relay_domains and its like.
	Subdomains
	// Parents match "name" for all names below it too
	// (parent_domain_matches_subdomains).
	Parents
)

// maxListDepth bounds files that name files.
const maxListDepth = 8

// OpenList opens a list of patterns.
func OpenList(items []string, how Matching, o Options) (*List, error) {
	l := &List{parents: how == Parents, subs: how != Exact}
	for _, it := range items {
		li, err := openItem(it, o, 0)
		if err != nil {
			return nil, err
		}
		l.items = append(l.items, li)
	}
	return l, nil
}

func openItem(s string, o Options, depth int) (li listItem, err error) {
	for strings.HasPrefix(s, "!") {
		li.not = !li.not
		s = s[1:]
	}
	switch {
	case depth > maxListDepth:
		return li, fmt.Errorf("%s: more than %d files inside each other", s, maxListDepth)
	case s == "":
		return li, fmt.Errorf("no pattern after '!'")
	case s[0] == '/':
		li.file, err = openSource(s, o, func(f *os.File) ([]listItem, []string, error) {
			items, err := readPatterns(f, o, depth+1)
			return items, nil, err
		})
	case s[0] != '[' && strings.Contains(s, ":"):
		li.table, err = Open(s, o)
	default:
		li.name = strings.ToLower(s)
	}
	return li, err
}

// readPatterns reads a file of patterns: logical lines as in all files, items
// separated by blanks and commas.
func readPatterns(r io.Reader, o Options, depth int) ([]listItem, error) {
	var items []listItem
	for l := mapfile.NewLines(r); ; {
		line, _, err := l.Next()
		if err == io.EOF {
			return items, nil
		}
		if err != nil {
			return nil, err
		}
		words, err := mapfile.CutList(string(line))
		if err != nil {
			return nil, err
		}
		for _, w := range words {
			li, err := openItem(w, o, depth)
			if err != nil {
				return nil, err
			}
			items = append(items, li)
		}
	}
}

// Match tells whether name is in the list. An error means that a table could
// not tell.
func (l *List) Match(ctx context.Context, name string) (bool, error) {
	return l.match(ctx, l.items, strings.ToLower(name))
}

func (l *List) match(ctx context.Context, items []listItem, name string) (bool, error) {
	for i := range items {
		it := &items[i]
		hit, err := l.item(ctx, it, name)
		if err != nil {
			return false, err
		}
		if hit {
			return !it.not, nil
		}
	}
	return false, nil
}

func (l *List) item(ctx context.Context, it *listItem, name string) (bool, error) {
	switch {
	case it.table != nil:
		return l.inTable(ctx, it.table, name)
	case it.file != nil:
		items, err := it.file.get()
		if err != nil {
			return false, err
		}
		return l.match(ctx, items, name)
	case it.name == name:
		return true, nil
	case !l.subs:
		return false, nil
	case l.parents:
		return strings.HasSuffix(name, "."+it.name), nil
	}
	return it.name[0] == '.' && strings.HasSuffix(name, it.name), nil
}

// inTable asks for the name and, where the list matches domains, its parents.
func (l *List) inTable(ctx context.Context, t Table, name string) (bool, error) {
	keys := []Key{{Text: name}}
	if l.subs {
		keys = DomainKeys(name, l.parents)
	}
	for _, k := range keys {
		if k.Partial && t.Pattern() {
			continue
		}
		_, ok, err := t.Lookup(ctx, k.Text)
		if err != nil {
			return false, fmt.Errorf("%s: table lookup problem: %w", t.Name(), err)
		}
		if ok {
			return true, nil
		}
	}
	return false, nil
}
