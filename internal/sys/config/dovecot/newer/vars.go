package newer

import (
	"fmt"
	"strconv"
	"strings"
)

// letters are the one-letter variables of 2.3 and what 2.4 calls them.
var letters = map[byte]string{'u': "user", 'n': "user | username", 'd': "user | domain", 'h': "home", 's': "protocol", 'l': "local_ip", 'r': "remote_ip",
	'a': "local_port", 'b': "remote_port", 'm': "mechanism", 'c': "secured", 'k': "ssl_security", 'w': "password", 'p': "client_pid", 'i': "uid", 'e': "mail_pid"}

// longNames are the long variables of 2.3 that 2.4 calls otherwise.
var longNames = map[string]string{"username": "user | username", "domain": "user | domain", "auth_username": "auth_user | username",
	"auth_domain": "auth_user | domain", "lip": "local_ip", "rip": "remote_ip", "lport": "local_port", "rport": "remote_port", "mech": "mechanism",
	"orig_user": "original_user", "orig_username": "original_user | username", "orig_domain": "original_user | domain", "real_lip": "real_local_ip",
	"real_rip": "real_remote_ip", "real_lport": "real_local_port", "real_rport": "real_remote_port", "service": "protocol", "pid": "process:pid",
	"owner_username": "owner_user | username", "owner_domain": "owner_user | domain",
	"login_username": "login_user | username", "login_domain": "login_user | domain"}

// owners are the variables of shared namespaces: those of the mailbox's owner.
var owners = map[string]string{"owner_user": "%%u", "owner_user | username": "%%n", "owner_user | domain": "%%d", "owner_home": "%%h"}

// formats are the variables of the settings whose text is made by the program
// that logs or answers: letter and long name, for each setting.
var formats = map[string]string{
	"deliver_log_format":         "m=msgid s=subject f=from e=from_envelope p=size w=vsize $=message",
	"imap_logout_format":         "i=input o=output",
	"imap_urlauth_logout_format": "i=input o=output",
	"managesieve_logout_format":  "i=input o=output",
	"submission_logout_format":   "i=input o=output",
	"pop3_logout_format":         "t=top_count p=top_bytes r=retr_count b=retr_bytes d=deleted_count m=message_count s=message_bytes o=deleted_bytes i=input u=uidl_change",
	"login_log_format":           "$=message s=elements",
	"rejection_reason":           "n=literal('\\r\\n') r=reason s=subject t=to",
	"rejection_subject":          "n=literal('\\r\\n') r=reason s=subject t=to",
}

// formatLetter finds the long name of a letter, or the letter of a long name, of
// a format setting.
func formatLetter(setting, want string, long bool) string {
	for pair := range strings.FieldsSeq(formats[setting]) {
		letter, name, _ := strings.Cut(pair, "=")
		if long && letter == want {
			return name
		}
		if !long && name == want {
			return letter
		}
	}
	return ""
}

// modifiers are the one-letter modifiers of 2.3 and the filters that do the same.
var modifiers = map[byte]string{'L': "lower", 'U': "upper", 'R': "reverse", 'M': "md5", 'D': "ldap_dn", 'X': "hex", 'T': "rtrim"}

// Expression writes a value of 2.4 with variables in the words of 2.3. setting
// names it, for those that have variables of their own.
func Expression(setting, value string) (string, error) {
	var b strings.Builder
	for {
		text, rest, ok := strings.Cut(value, "%")
		b.WriteString(text)
		switch {
		case !ok:
			return b.String(), nil
		case !strings.HasPrefix(rest, "{"):
			// A lone percent sign stands for itself; "%%{x}" is the text %{x}.
			if n := strings.IndexFunc(rest, func(c rune) bool { return c != '%' }); n > 0 && rest[n] == '{' {
				b.WriteString(strings.Repeat("%%", n))
				value = rest[n:]
				if end := strings.IndexByte(value, '}'); end >= 0 {
					b.WriteString(value[:end+1])
					value = value[end+1:]
				}
				continue
			}
			b.WriteString("%%")
			value = rest
			continue
		}
		end := closing(rest)
		if end < 0 {
			return "", fmt.Errorf("missing } in %%%s", rest)
		}
		old, err := expression(setting, rest[1:end])
		if err != nil {
			return "", err
		}
		b.WriteString(old)
		value = rest[end+1:]
	}
}

// closing finds the } of a variable; quotes protect one.
func closing(s string) int {
	quote := byte(0)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
		case c == '\'' || c == '"':
			quote = c
		case c == '}':
			return i
		}
	}
	return -1
}

// expression writes one %{name | filter ...} in the words of 2.3.
func expression(setting, text string) (string, error) {
	var parts []string
	for p := range strings.SplitSeq(text, "|") {
		parts = append(parts, strings.TrimSpace(p))
	}
	if letter := formatLetter(setting, strings.ReplaceAll(parts[0], " ", ""), false); letter != "" && len(parts) == 1 {
		return "%" + letter, nil
	}
	if old, ok := hashed(parts); ok {
		return old, nil
	}
	name, filters := parts[0], parts[1:]
	if len(filters) > 0 && (filters[0] == "username" || filters[0] == "domain") {
		name, filters = name+" | "+filters[0], filters[1:]
	}
	if owner, ok := owners[name]; ok && len(filters) == 0 {
		return owner, nil
	}
	cut, mods, fallback := "", "", ""
	for i, f := range filters {
		word, args := call(f)
		switch {
		case word == "substr" && cut == "" && i == len(filters)-1:
			cut = substr(args)
		case word == "default" && i == len(filters)-1:
			fallback = args
		case oldModifier(word) != "" && cut == "":
			mods += oldModifier(word)
		default:
			return "", fmt.Errorf("the filter %q of %%{%s} has no equal here", f, text)
		}
	}
	old := oldName(name, mods != "" || cut != "")
	if old == "" {
		return "", fmt.Errorf("the variable %%{%s} has no equal here", text)
	}
	if fallback != "" {
		if strings.HasPrefix(fallback, "'") || strings.HasPrefix(fallback, "\"") {
			fallback = strings.Trim(fallback, "'\"")
		} else {
			fallback = "%{" + fallback + "}"
		}
		v := "%" + cut + mods + old
		return "%{if;" + v + ";ne;;" + v + ";" + fallback + "}", nil
	}
	return "%" + cut + mods + old, nil
}

// hashed reads the way in which 2.4 says %2.256Nu:
// %{user | md5 | substr(0, 8) % 256 | hex(2)}.
func hashed(parts []string) (string, bool) {
	n := len(parts)
	if n < 4 || parts[n-3] != "md5" || !strings.HasPrefix(parts[n-1], "hex") {
		return "", false
	}
	first, mod, ok := strings.Cut(parts[n-2], "%")
	if _, args := call(strings.TrimSpace(first)); !ok || substr(args) != "8" {
		return "", false
	}
	_, width := call(parts[n-1])
	if width != "" {
		width += "."
	}
	name := oldName(strings.Join(parts[:n-3], " | "), true)
	return "%" + width + strings.TrimSpace(mod) + "N" + name, name != ""
}

// call takes "name(arguments)" apart.
func call(f string) (name, args string) {
	name, args, _ = strings.Cut(f, "(")
	return strings.TrimSpace(name), strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(args), ")"))
}

// substr writes substr(offset, width) as 2.3 does: [offset.]width.
func substr(args string) string {
	offset, width, two := strings.Cut(strings.ReplaceAll(args, " ", ""), ",")
	if !two {
		return offset + "."
	}
	if offset == "0" {
		return width
	}
	return offset + "." + width
}

func oldModifier(filter string) string {
	for c, f := range modifiers {
		if f == filter {
			return string(c)
		}
	}
	return ""
}

// oldName returns a variable's letter or its long name in braces; without
// modifiers a name that both versions share stays as it is.
func oldName(name string, short bool) string {
	for c, n := range letters {
		if n == name {
			return string(c)
		}
	}
	for old, n := range longNames {
		if n == name {
			return "{" + old + "}"
		}
	}
	if name == "" || strings.ContainsAny(name, "|'\"()% ") {
		return ""
	}
	return "{" + name + "}"
}

// uidl turns the variables of pop3_uidl_format.
func uidl(value string) (string, error) {
	var b strings.Builder
	for {
		text, rest, ok := strings.Cut(value, "%{")
		b.WriteString(text)
		if !ok {
			return b.String(), nil
		}
		inner, after, ok := strings.Cut(rest, "}")
		name, filter, _ := strings.Cut(inner, "|")
		letter := map[string]string{"uid": "u", "uidvalidity": "v", "md5": "m", "filename": "f", "guid": "g"}[strings.TrimSpace(name)]
		word, args := call(filter)
		if !ok || letter == "" || word != "" && word != "hex" {
			return "", fmt.Errorf("the variable %%{%s} has no equal here", inner)
		}
		b.WriteByte('%')
		if word == "hex" {
			if n, err := strconv.Atoi(args); err == nil {
				fmt.Fprintf(&b, "%02d", n)
			}
			b.WriteByte('X')
		}
		b.WriteString(letter)
		value = after
	}
}
