package syntax

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// ItemKind is what one item of FETCH asks for.
type ItemKind uint8

// The values of ItemKind. The first six are written before all others, as
// Dovecot does, because they cost nothing.
const (
	ItemUID ItemKind = iota
	ItemFlags
	ItemDate
	ItemModSeq
	ItemSaveDate // RFC 8514
	ItemSize
	ItemEnvelope
	ItemBody
	ItemBodyStructure
	ItemSection
	ItemBinarySize // BINARY.SIZE (RFC 3516)
	ItemPreview    // RFC 8970
	ItemEmailID    // RFC 8474
	ItemThreadID
)

// Item is one item of FETCH.
type Item struct {
	Kind    ItemKind
	Name    string                    // what stands before the value in the answer
	Section imap.FetchItemBodySection // of ItemSection
	Missing bool                      // the section can be in no message: "BODY[0]"
	Binary  bool                      // the section comes without its transfer encoding
}

// maxItems is the number of items of one FETCH.
const maxItems = 256

// ParseFetch reads the items of FETCH (RFC 3501 section 6.4.5): a macro, an
// item, or a list of items.
func ParseFetch(arg []Arg) ([]Item, error) {
	if len(arg) == 0 {
		return nil, Error("Invalid arguments")
	}
	list := arg
	if arg[0].Kind == List {
		if len(arg) > 1 {
			return nil, Error("Unknown FETCH modifier")
		}
		if list = arg[0].List; len(list) == 0 {
			return nil, Error("FETCH list is empty")
		}
	} else if items := macro(&arg[0]); items != nil || arg[0].Kind != Atom {
		if len(arg) > 1 || items == nil {
			return nil, Error("Invalid arguments")
		}
		return items, nil
	}
	var items []Item
	for len(list) > 0 {
		item, n, err := parseItem(list)
		if err != nil {
			return nil, err
		}
		if arg[0].Kind != List && n < len(list) {
			return nil, Error("Invalid arguments")
		}
		items, list = add(items, item), list[n:]
		if len(items) > maxItems {
			return nil, Error("Too many FETCH items")
		}
	}
	return items, nil
}

// add appends an item unless it is a simple one that is there already.
func add(items []Item, item Item) []Item {
	for _, have := range items {
		if have.Kind == item.Kind && item.Kind != ItemSection && item.Kind != ItemBinarySize {
			return items
		}
	}
	return append(items, item)
}

func macro(a *Arg) []Item {
	fast := []Item{{Kind: ItemFlags, Name: "FLAGS"}, {Kind: ItemDate, Name: "INTERNALDATE"}, {Kind: ItemSize, Name: "RFC822.SIZE"}}
	switch {
	case a.Is("FAST"):
		return fast
	case a.Is("ALL"):
		return append(fast, Item{Kind: ItemEnvelope, Name: "ENVELOPE"})
	case a.Is("FULL"):
		return append(fast, Item{Kind: ItemEnvelope, Name: "ENVELOPE"}, Item{Kind: ItemBody, Name: "BODY"})
	}
	return nil
}

// parseItem reads one item and returns how many arguments it took.
func parseItem(list []Arg) (item Item, n int, err error) {
	if list[0].Kind != Atom {
		return item, 0, Error("FETCH list contains non-atoms")
	}
	name := strings.ToUpper(string(list[0].Text))
	switch name {
	case "UID":
		return Item{Kind: ItemUID, Name: name}, 1, nil
	case "FLAGS":
		return Item{Kind: ItemFlags, Name: name}, 1, nil
	case "INTERNALDATE":
		return Item{Kind: ItemDate, Name: name}, 1, nil
	case "MODSEQ":
		return Item{Kind: ItemModSeq, Name: name}, 1, nil
	case "RFC822.SIZE":
		return Item{Kind: ItemSize, Name: name}, 1, nil
	case "ENVELOPE":
		return Item{Kind: ItemEnvelope, Name: name}, 1, nil
	case "BODY":
		return Item{Kind: ItemBody, Name: name}, 1, nil
	case "BODYSTRUCTURE":
		return Item{Kind: ItemBodyStructure, Name: name}, 1, nil
	case "EMAILID":
		return Item{Kind: ItemEmailID, Name: name}, 1, nil
	case "THREADID":
		return Item{Kind: ItemThreadID, Name: name}, 1, nil
	case "SAVEDATE":
		return Item{Kind: ItemSaveDate, Name: name}, 1, nil
	}
	if strings.HasPrefix(name, "RFC822") {
		item, err = rfc822(name)
		return item, 1, err
	}
	if strings.HasPrefix(name, "BODY[") || strings.HasPrefix(name, "BODY.") {
		return section(list, name)
	}
	if strings.HasPrefix(name, "BINARY") {
		item, err = binary(name)
		return item, 1, err
	}
	if name == "PREVIEW" {
		n, err = preview(list)
		return Item{Kind: ItemPreview, Name: name}, n, err
	}
	return item, 0, Error("Unknown parameter: " + name)
}

// rfc822 reads the old names of sections.
func rfc822(name string) (Item, error) {
	item := Item{Kind: ItemSection, Name: name}
	switch name {
	case "RFC822":
	case "RFC822.HEADER":
		item.Section.Specifier, item.Section.Peek = imap.PartSpecifierHeader, true
	case "RFC822.TEXT":
		item.Section.Specifier = imap.PartSpecifierText
	default:
		return item, Error("Unknown parameter " + name)
	}
	return item, nil
}

// section reads BODY[...]<...> and BODY.PEEK[...]<...>. The names of
// HEADER.FIELDS make it three arguments: atom, list, atom.
func section(list []Arg, name string) (item Item, n int, err error) {
	item.Kind = ItemSection
	rest, peek := strings.CutPrefix(name, "BODY.PEEK[")
	if !peek {
		var ok bool
		if rest, ok = strings.CutPrefix(name, "BODY["); !ok {
			return item, 0, badBody("Missing '['")
		}
	}
	item.Section.Peek = peek
	spec, partial, closed := strings.Cut(rest, "]")
	n = 1
	label := spec
	if !closed {
		if len(list) < 3 || list[1].Kind != List || list[2].Kind != Atom || list[2].Text[0] != ']' {
			return item, 0, badBody("Missing ']'")
		}
		partial, n = string(list[2].Text[1:]), 3
		label += " " + fieldList(list[1].List)
	}
	if err := sectionSpec(&item, spec, list[1:n]); err != nil {
		return item, 0, err
	}
	item.Name = "BODY[" + label + "]"
	if partial != "" {
		if err := sectionPartial(&item, partial); err != nil {
			return item, 0, err
		}
	}
	return item, n, nil
}

func badBody(text string) Error { return Error("Invalid BODY[..] parameter: " + text) }

const errSection = Error("Invalid BODY[..] section")

// fieldList writes the names of HEADER.FIELDS back as Dovecot does: upper
// case, strings in quotes.
func fieldList(names []Arg) string {
	b := []byte{'('}
	for i, a := range names {
		if i > 0 {
			b = append(b, ' ')
		}
		if up := bytes.ToUpper(a.Text); a.Kind == Atom {
			b = append(b, up...)
		} else {
			b = AppendNString(b, up)
		}
	}
	return string(append(b, ')'))
}

// sectionSpec reads what stands between the brackets; fields is the list and
// the bracket behind it, for HEADER.FIELDS.
func sectionSpec(item *Item, spec string, fields []Arg) error {
	s := &item.Section
	spec, err := sectionPart(item, spec)
	if err != nil {
		return err
	}
	isFields := false
	switch spec {
	case "":
	case "TEXT":
		s.Specifier = imap.PartSpecifierText
	case "HEADER":
		s.Specifier = imap.PartSpecifierHeader
	case "MIME":
		s.Specifier = imap.PartSpecifierMIME
		if len(s.Part) == 0 {
			return errSection
		}
	case "HEADER.FIELDS", "HEADER.FIELDS.NOT":
		s.Specifier, isFields = imap.PartSpecifierHeader, true
	default:
		return errSection
	}
	if isFields != (len(fields) > 0) || isFields && len(fields[0].List) == 0 {
		return errSection
	}
	if isFields {
		return sectionFields(s, fields[0].List, strings.HasSuffix(spec, ".NOT"))
	}
	return nil
}

// sectionPart reads the part numbers "1.2.3" and returns what follows them.
func sectionPart(item *Item, spec string) (rest string, err error) {
	for spec != "" && spec[0] >= '0' && spec[0] <= '9' {
		digits, after, dot := strings.Cut(spec, ".")
		n, err := strconv.ParseUint(digits, 10, 31)
		if err != nil || dot && after == "" || len(item.Section.Part) > 1000 {
			return "", errSection
		}
		if n == 0 {
			item.Missing = true
		}
		item.Section.Part = append(item.Section.Part, int(n))
		spec = after
	}
	return spec, nil
}

func sectionFields(s *imap.FetchItemBodySection, list []Arg, not bool) error {
	names := make([]string, len(list))
	for i := range list {
		if !list[i].IsString() {
			return errSection
		}
		names[i] = string(list[i].Text)
	}
	if not {
		s.HeaderFieldsNot = names
	} else {
		s.HeaderFields = names
	}
	return nil
}

// sectionPartial reads "<start.size>"; without ".size" it runs to the end, as
// Dovecot allows.
func sectionPartial(item *Item, text string) error {
	if text[0] != '<' {
		return badBody("Unexpected data after ']'")
	}
	inner, ok := strings.CutSuffix(text[1:], ">")
	if !ok {
		return badBody("Missing '>' in partial")
	}
	start, size, sized := strings.Cut(inner, ".")
	p := &imap.SectionPartial{Size: -1}
	var err error
	if p.Offset, err = strconv.ParseInt(start, 10, 63); err != nil || p.Offset < 0 {
		return badBody("Too big partial start")
	}
	if sized {
		if p.Size, err = strconv.ParseInt(size, 10, 63); err != nil || p.Size < 0 {
			return badBody("Too big partial end")
		}
	}
	item.Section.Partial = p
	item.Name += "<" + strconv.FormatInt(p.Offset, 10) + ">"
	return nil
}
