package render

import (
	"bytes"
	"html"
	"strings"
	"unicode"
)

// maxPreview is the length of a preview in characters: RFC 8970 section 3.2 says
// at most 256; Dovecot's are as long as this.
const maxPreview = 200

// Preview makes the preview of a text of UTF-8: without markup where it is HTML,
// without quoted lines where something else is there, blanks made one.
func Preview(text []byte, subtype string) []byte {
	s := strings.ToValidUTF8(string(text), "\uFFFD")
	if strings.EqualFold(subtype, "html") {
		s = html.UnescapeString(stripTags(s))
	} else if own := withoutQuotes(s); strings.TrimSpace(own) != "" {
		s = own
	}
	out := make([]byte, 0, maxPreview)
	count, blank := 0, false
	for _, r := range s {
		if unicode.IsSpace(r) || unicode.IsControl(r) || r == 0xa0 {
			blank = len(out) > 0
			continue
		}
		if blank {
			out, blank, count = append(out, ' '), false, count+1
		}
		if count >= maxPreview {
			break
		}
		out, count = append(out, string(r)...), count+1
	}
	return bytes.TrimRight(out, " ")
}

// withoutQuotes leaves lines that begin with ">" out.
func withoutQuotes(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, ">") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// stripTags takes the markup out of HTML, with all of style, script and title. It
// walks over the text once.
func stripTags(s string) string {
	var b strings.Builder
	hidden := ""
	for s != "" {
		i := strings.IndexByte(s, '<')
		if i < 0 {
			i = len(s)
		}
		if hidden == "" {
			b.WriteString(s[:i])
		}
		if s = s[i:]; s == "" {
			break
		}
		if strings.HasPrefix(s, "<!--") {
			_, s, _ = strings.Cut(s[4:], "-->")
			continue
		}
		tag, rest, _ := strings.Cut(s[1:], ">")
		s = rest
		name := tagName(tag)
		switch {
		case hidden != "" && name == "/"+hidden:
			hidden = ""
		case hidden == "" && (name == "style" || name == "script" || name == "title" || name == "head"):
			hidden = name
		}
		b.WriteByte(' ')
	}
	return b.String()
}

// tagName returns the name of a tag in small letters, with the "/" of one that ends.
func tagName(tag string) string {
	n := 0
	for n < len(tag) && n < 16 && (tag[n] == '/' && n == 0 || tag[n] >= '0' && tag[n] <= '9' || tag[n]|0x20 >= 'a' && tag[n]|0x20 <= 'z') {
		n++
	}
	return strings.ToLower(tag[:n])
}
