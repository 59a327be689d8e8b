package fetch

import (
	"html"
	"strings"
)

// textOfHTML returns what a reader sees of a page: no tags, no scripts and styles,
// entities decoded, without what is quoted.
func textOfHTML(s string) string {
	var b strings.Builder
	hidden := "" // the element whose end is waited for
	for s != "" {
		text, rest, ok := strings.Cut(s, "<")
		if hidden == "" {
			b.WriteString(text)
		}
		if !ok {
			break
		}
		tag, after, ok := strings.Cut(rest, ">")
		if strings.HasPrefix(rest, "!--") {
			_, after, ok = strings.Cut(rest, "-->")
			tag = "!"
		}
		if !ok {
			break
		}
		s = after
		name := strings.ToLower(strings.TrimRight(tag, "/"))
		if i := strings.IndexAny(name, " \t\r\n"); i >= 0 {
			name = name[:i]
		}
		switch {
		case hidden != "" && name == "/"+hidden:
			hidden = ""
		case hidden == "" && (name == "script" || name == "style" || name == "head" || name == "blockquote"):
			hidden = name
		case name == "br" || name == "p" || name == "/p" || name == "div" || name == "/div" || name == "tr" || name == "td" || name == "li":
			b.WriteByte(' ')
		}
	}
	return html.UnescapeString(b.String())
}
