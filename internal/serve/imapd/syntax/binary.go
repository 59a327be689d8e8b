package syntax

import "strings"

// binary reads BINARY[...]<...>, BINARY.PEEK[...]<...> and BINARY.SIZE[...]: RFC
// 3516 section 7. As in Dovecot the section may be any of BODY's without fields.
func binary(name string) (item Item, err error) {
	item = Item{Kind: ItemSection, Binary: true}
	word, rest, ok := strings.Cut(name, "[")
	switch {
	case ok && word == "BINARY":
	case ok && word == "BINARY.PEEK":
		item.Section.Peek = true
	case ok && word == "BINARY.SIZE":
		item.Kind, item.Section.Peek = ItemBinarySize, true
	default:
		return item, Error("Invalid BINARY[..] parameter: Missing '['")
	}
	spec, partial, closed := strings.Cut(rest, "]")
	if !closed {
		return item, Error("Invalid BINARY[..] parameter: Missing ']'")
	}
	if err := sectionSpec(&item, spec, nil); err != nil {
		return item, err
	}
	item.Name = strings.TrimSuffix(word, ".PEEK") + "[" + spec + "]"
	if item.Kind == ItemBinarySize || partial == "" {
		return item, nil
	}
	return item, sectionPartial(&item, partial)
}

// preview reads PREVIEW and its modifiers: RFC 8970 section 3. LAZY allows NIL, but
// previews are quick here.
func preview(list []Arg) (n int, err error) {
	if len(list) < 2 || list[1].Kind != List {
		return 1, nil
	}
	for i := range list[1].List {
		if a := &list[1].List[i]; !a.Is("LAZY") {
			return 0, Error("'" + strings.ToUpper(string(a.Text)) + "' is not a supported PREVIEW modifier")
		}
	}
	return 2, nil
}
