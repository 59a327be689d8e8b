package table

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

const ldif = `dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: cn=admin,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: admin
userPassword: se cret

dn: uid=alice,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
mail: alice@example.org
mail: al@example.org
description: alice@inner.example

dn: uid=bob,dc=example,dc=org
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: B
mail: bob@example.org
description: bob@inner.example
title: bob@terminal.example

dn: uid=star,dc=example,dc=org
objectClass: inetOrgPerson
uid: a*b(c)
cn: Star
sn: S
mail: a*b(c)\d@example.org
description: star@inner.example

dn: cn=team,dc=example,dc=org
objectClass: groupOfURLs2
objectClass: inetOrgPerson
cn: team
sn: T
mail: team@example.org
seeAlso: uid=alice,dc=example,dc=org
seeAlso: uid=bob,dc=example,dc=org
seeAlso: uid=gone,dc=example,dc=org
labeledURI: ldap:///dc=example,dc=org?description?sub?(uid=star)
description: team@inner.example

dn: cn=loop,dc=example,dc=org
objectClass: inetOrgPerson
cn: loop
sn: L
mail: loop@example.org
seeAlso: cn=loop,dc=example,dc=org
`

func TestLDAP(t *testing.T) {
	t.Parallel()
	bin := find(t, "/usr/sbin/slapd")
	schemas := filepath.Dir(find(t, "/etc/ldap/schema/core.schema"))
	add := find(t, "/usr/sbin/slapadd")
	dir := scratch(t, "openldap")
	data := filepath.Join(dir, "data")
	os.Mkdir(data, 0o700)
	if c := credential(t, "openldap"); c != nil {
		os.Chown(data, int(c.Uid), int(c.Gid))
	}
	conf := filepath.Join(dir, "slapd.conf")
	text := "modulepath /usr/lib/ldap\nmoduleload back_mdb\n"
	for _, s := range []string{"core", "cosine", "inetorgperson"} {
		text += "include " + schemas + "/" + s + ".schema\n"
	}
	text += "pidfile " + dir + "/pid\ndatabase mdb\nmaxsize 10485760\nsuffix dc=example,dc=org\nrootdn cn=root,dc=example,dc=org\nrootpw root\ndirectory " + data +
		"\naccess to attrs=userPassword by anonymous auth\naccess to * by dn.exact=\"cn=admin,dc=example,dc=org\" read by anonymous auth\n"
	os.WriteFile(conf, []byte(text), 0o644)
	entries := filepath.Join(dir, "ldif")
	os.WriteFile(entries, []byte(strings.ReplaceAll(ldif, "objectClass: groupOfURLs2\n", "")), 0o644)
	run(t, "openldap", "", add, "-f", conf, "-l", entries)
	sock := filepath.Join(dir, "s")
	port := freePort(t)
	server(t, "openldap", answersUnix(sock), bin, "-f", conf, "-d", "0", "-h", "ldapi://"+strings.ReplaceAll(sock, "/", "%2F")+" ldap://127.0.0.1:"+port)

	common := "server_host = 127.0.0.1\nserver_port = " + port + "\nversion = 3\nsearch_base = dc=example,dc=org\nbind = yes\nbind_dn = cn=admin,dc=example,dc=org\nbind_pw = se cret\n"
	settings := []string{
		"query_filter = (mail=%s)\nresult_attribute = uid",
		"query_filter = mail=%u@%d\nresult_attribute = description\nresult_format = %u<%s>%D",
		"query_filter = (&(mail=%s)(objectclass=*))\nresult_attribute = mail",
		"query_filter = (mail=%s)\nresult_attribute = description\nspecial_result_attribute = seeAlso, labeledURI",
		"query_filter = (mail=%s)\nresult_attribute =\nleaf_result_attribute = description\nspecial_result_attribute = seeAlso, labeledURI",
		"query_filter = (mail=%s)\nresult_attribute = description\nterminal_result_attribute = title",
		"query_filter = (mail=%s)\nresult_attribute = mail\nexpansion_limit = 1",
		"query_filter = (mail=*)\nresult_attribute = uid\nsize_limit = 2",
		"query_filter = (objectclass=*)\nresult_attribute = uid\nscope = one\nresult_format = [%s]",
		"search_base = uid=%u,dc=example,dc=org\nquery_filter = (objectclass=*)\nscope = base\nresult_attribute = cn",
		"query_filter = (mail=%s)\nresult_attribute = uid\ndomain = example.org",
		"search_base = dc=nowhere\nquery_filter = (mail=%s)\ndomain = example.org, other.example",
		"query_filter = (mail=%s)\nresult_filter = %s!\nresult_attribute = uid",
		"query_filter = (mail=%s)\nresult_attribute = description\nspecial_result_attribute = seeAlso\nrecursion_limit = 5",
	}
	keys := append([]string{"team@example.org", "al@example.org", "loop@example.org", `a*b(c)\d@example.org`, `a,b+c"@example.org`}, trickyKeys...)
	var fit []string
	for _, k := range keys {
		if k != "loop@example.org" { // without a limit of its own it goes on to 1,000
			fit = append(fit, k)
		}
	}
	dirOf := scratch(t, "")
	compareLDAP(t, dirOf, common, settings, fit)
	path := write(t, "l.cf", common+settings[13]+"\n")
	if got := ask(t, "ldap:"+path, Options{}, "loop@example.org"); !strings.Contains(got, "recursion limit") {
		t.Error(got)
	}
	// The settings in main.cf, a socket, a wrong password, a server that is down.
	params := map[string]string{"dir_server_host": "ldapi://" + strings.ReplaceAll(sock, "/", "%2F"), "dir_search_base": "dc=example,dc=org",
		"dir_query_filter": "mail=%s", "dir_result_attribute": "uid", "dir_bind_dn": "cn=admin,dc=example,dc=org", "dir_bind_pw": "se cret"}
	o := Options{Param: func(name string) (string, bool) { v, ok := params[name]; return v, ok }}
	if got := ask(t, "ldap:dir", o, "bob@example.org", "none@example.org"); got != "bob@example.org=bob none@example.org!" {
		t.Error(got)
	}
	params["dir_bind_pw"] = "wrongword"
	if got := ask(t, "ldap:dir", o, "bob@example.org"); !strings.HasPrefix(got, "bob@example.org?") || strings.Contains(got, "wrongword") {
		t.Error(got)
	}
	params["dir_bind_pw"], params["dir_server_host"] = "se cret", "127.0.0.1:1 127.0.0.1:"+port
	if got := ask(t, "ldap:dir", o, "bob@example.org"); got != "bob@example.org=bob" {
		t.Error(got)
	}
	params["dir_server_host"] = "127.0.0.1:1"
	if got := ask(t, "ldap:dir", o, "bob@example.org"); !strings.HasPrefix(got, "bob@example.org?") {
		t.Error(got)
	}
}

// compareLDAP is compare for a directory: it answers values of one entry in an
// order that both see alike.
func compareLDAP(t *testing.T, dir, common string, settings, keys []string) {
	t.Helper()
	have, compared := hasPostmap("ldap"), 0
	var wg sync.WaitGroup
	for i, s := range settings {
		path := filepath.Join(dir, string(rune('a'+i))+".cf")
		os.WriteFile(path, []byte(common+s+"\n"), 0o644)
		tab, err := Open("ldap:"+path, Options{})
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		var good, bad []string
		var ours strings.Builder
		for _, k := range keys {
			v, found, err := tab.Lookup(context.Background(), k)
			if err != nil {
				bad = append(bad, k)
				continue
			}
			if good = append(good, k); found {
				ours.WriteString(k + "\t" + v + "\n")
			}
		}
		if i == 0 && !strings.HasPrefix(ours.String(), "al@example.org\talice\n") {
			t.Errorf("ours: %s", ours.String())
		}
		if !have {
			continue
		}
		compared += len(good)
		wg.Go(func() { likePostfix(t, "ldap:"+path, s, good, bad, ours.String()) })
	}
	wg.Wait()
	t.Logf("ldap: %d answers compared with Postfix", compared)
}
