package upgrade

import (
	"reflect"
	"strings"
	"testing"

	"packetboat/internal/sys/config/dovecot"
)

const newSample = `dovecot_config_version = 2.4.1
dovecot_storage_version = 2.4.0
protocols {
  imap = yes
}
mail_driver = mbox
mail_path = ~/mail
mail_plugins = $SET:mail_plugins quota
ssl_server {
  cert_file = /c
}
group @g one {
  mail_home = /x
}
@g = one
passdb passwd-file {
  passwd_file_path = /etc/%{user | domain | default('x')}/users
  fields {
    a:default = b
  }
}
namespace inbox {
  inbox = yes
  mailbox "Sent Messages" {
    special_use = \Sent
  }
}
service imap-login {
  inet_listener imap {
    listen = 127.0.0.1
  }
}
sieve_script before {
  type = before
  path = /x
}
protocol imap {
  mail_plugins {
    acl = yes
    quota = no
  }
}
`

// FuzzNewer feeds the reader of the 2.4 syntax; what it reads can be written in
// that syntax again and comes back the same.
func FuzzNewer(f *testing.F) {
	for _, s := range []string{newSample, "dovecot_config_version = 2.4.0\n\"a b\" = c\n", "dovecot_config_version = 2.4.0\ngroup @a b {\n}\nnamespace x {\n@a = b\n}\n",
		"dovecot_config_version = 2.4.0\nhostname = $SET:hostname $ENV:HOME\n", "dovecot_config_version = 2.4.0\nmail_home = %{user|x('}'|}\n",
		"dovecot_config_version = 2.4.0\nauth_mechanisms {\n plain = no\n}\nprotocol imap {\n protocol pop3 {\n auth_mechanisms {\n a = yes\n}\n}\n}\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "!include") || strings.Contains(text, "$ENV") {
			return // must not read the machine
		}
		d, err := dovecot.Parse("/nonexistent/dovecot.conf", text)
		if err != nil {
			return
		}
		again(t, d)
	})
}

// FuzzOlder feeds the translation with configurations of 2.3.
func FuzzOlder(f *testing.F) {
	for _, s := range []string{"mail_location = maildir:~/M:LAYOUT=fs:INBOX=%h\n", "passdb {\n driver = pam\n args = session=yes x\n}\n", "plugin {\n sieve = file:a;active=b\n x = %u\n}\n",
		"service a/b {\n unix_listener c/d {\n mode = 0\n}\n}\n", "remote 10.0.0.0/8 {\n protocol imap {\n mail_plugins = a\n}\n}\n", "namespace {\n prefix = %%u/\n location = x:y:z\n}\n",
		"hostname = \"a # b \\\" $c\"\n", "login_greeting = %{if;%u;eq;a;b;c}\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "!include") || strings.Contains(text, "$ENV") {
			return
		}
		if d, err := dovecot.Parse("/nonexistent/dovecot.conf", text); err == nil {
			again(t, d)
		}
	})
}

// again writes a configuration in the syntax of 2.4, reads it back and compares.
func again(t *testing.T, d *dovecot.Config) {
	want := Flatten(d)
	text, err := Newer(d, nil)
	if err != nil {
		return // a name or value that 2.4 cannot hold is an error, not a loss
	}
	back, err := dovecot.Parse("/nonexistent/dovecot.conf", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	Older(back)
	if got := Flatten(back); !reflect.DeepEqual(got, want) {
		t.Fatalf("want %q\ngot  %q\n%s", want, got, text)
	}
}
