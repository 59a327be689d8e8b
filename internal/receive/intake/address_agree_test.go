package intake

import (
	"testing"

	"packetboat/test/oracle"
)

// TestAddressesAgree compares canonical tables, masquerading and copies with
// Postfix.
func TestAddressesAgree(t *testing.T) {
	t.Parallel()
	dir := oracle.Folder(t)
	canon := writeTable(t, dir, "canon", "/^loop1@/ loop2@c.test\n/^loop2@/ loop1@c.test\n/^self@/ self@mail.example.org\n/^multi@/ one@m.test, two@m.test\n/^old@c.test$/ new.name@c.test\n/^plain@/ bare\n")
	tables := map[string]string{
		"canonical_maps":           canon + " inline:{ {old.bob@mail.example.org=bob} {@dom.test=@other.test} {ext=extended@e.test} {user=local.user} {x@loop.test=y@loop.test} }",
		"sender_canonical_maps":    "inline:{ {secret@s.test=public@s.test} }",
		"recipient_canonical_maps": "inline:{ {rsecret@s.test=rpublic@s.test} }",
		"masquerade_domains":       "!keep.masq.test masq.test $mydomain",
		"masquerade_exceptions":    "root",
		"always_bcc":               "archive@bcc.test",
		"sender_bcc_maps":          "inline:{ {a@b.test=frombcc@bcc.test} {@masq.test=masqbcc} }",
		"recipient_bcc_maps":       "inline:{ {bob@mail.example.org=bobbcc@bcc.test} {carol=carolbcc@bcc.test} }",
	}
	remote := map[string]string{"remote_header_rewrite_domain": "remote.invalid", "always_add_missing_headers": "yes",
		"undisclosed_recipients_header": "To: undisclosed-recipients:;", "masquerade_domains": "b.test", "masquerade_classes": "envelope_recipient",
		"canonical_maps": "inline:{ {to@x.test=changed@x.test} }", "canonical_classes": "header_recipient", "sender_canonical_classes": "envelope_sender",
		"message_drop_headers": "x-drop", "hopcount_limit": "4"}
	o := startOriginal(t, map[string]map[string]string{"canon": tables, "remote": remote})
	split := []string{canon, "inline:{ {old.bob@mail.example.org=bob} {@dom.test=@other.test} {ext=extended@e.test} {user=local.user} {x@loop.test=y@loop.test} }"}
	u := newOurs(t, Options{Maps: MapOptions{Canonical: split, Sender: []string{tables["sender_canonical_maps"]},
		Recipient: []string{tables["recipient_canonical_maps"]}, Masquerade: []string{"!keep.masq.test", "masq.test", "example.org"},
		MasqueradeExcept: []string{"root"}, AlwaysBCC: "archive@bcc.test", SenderBCC: []string{tables["sender_bcc_maps"]},
		RecipientBCC: []string{tables["recipient_bcc_maps"]}}})
	header := "From: old@c.test (x), secret@s.test\nReply-To: user@host.masq.test, root@host.masq.test\nTo: old.bob, rsecret@s.test, ext+tag, u@dom.test\nCc: multi@a.test, user@keep.masq.test, Self <self>\nSender: bob@deep.host.masq.test\nErrors-To: plain\n\nx\n"
	for _, c := range []struct {
		from string
		to   []string
	}{
		{"a@b.test", []string{"bob", "carol@mail.example.org"}}, {"secret@s.test", []string{"rsecret@s.test"}}, {"user@host.masq.test", []string{"ext+tag"}},
		{"root@host.masq.test", []string{"old.bob", "bob"}}, {"loop1@c.test", []string{"u@dom.test"}}, {"multi@a.test", []string{"user+x@mail.example.org"}},
		{"", []string{"archive@bcc.test"}}, {"mailer-daemon@mail.example.org", []string{"x@keep.masq.test"}}, {"x@loop.test", []string{"bob", "BOB", "bob@mail.example.org"}},
		{"user", []string{"x!y", "a%b", "carol+ext"}},
	} {
		agree(t, o, "canon", u, []string{header}, c.from, c.to...)
	}
	us := newOurs(t, Options{RemoteDomain: "remote.invalid", AlwaysAddMissing: true, Undisclosed: "To: undisclosed-recipients:;", HopcountLimit: 4,
		DropHeaders: []string{"x-drop"}, Maps: MapOptions{Masquerade: []string{"b.test"}, MasqueradeClasses: []string{"envelope_recipient"},
			Canonical: []string{remote["canonical_maps"]}, CanonicalClasses: []string{"header_recipient"}}})
	agree(t, o, "remote", us, []string{"From: a\nTo: to@x.test\nX-Drop: x\nReturn-Path: <x@y>\nBcc: b\n\nx\n", "Subject: nothing\n\nx\n", "Resent-To: r\nSubject: s\n\nx\n",
		"Received: 1\nReceived: 2\nReceived: 3\n\nx\n", "Received: 1\nReceived: 2\n\nx\n"}, "to@x.test", "to@x.test", "c@d.b.test")
}
