package imapd

import (
	"slices"
	"strconv"
	"strings"

	"packetboat/internal/serve/imapd/syntax"
	"packetboat/internal/serve/imapd/tree"
)

// capabilities is what the client may use after login, in Dovecot's order. A word
// stands here only when all of it works.
func (s *session) capabilities() string {
	words := "IMAP4rev1 IMAP4rev2 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE SORT SORT=DISPLAY THREAD=REFERENCES THREAD=REFS THREAD=ORDEREDSUBJECT " +
		"MULTIAPPEND URL-PARTIAL CATENATE UNSELECT CHILDREN NAMESPACE UIDPLUS LIST-EXTENDED I18NLEVEL=1 CONDSTORE QRESYNC ESEARCH ESORT SEARCHRES WITHIN CONTEXT=SEARCH " +
		"LIST-STATUS BINARY MOVE PREVIEW STATUS=SIZE LITERAL+ COMPRESS=DEFLATE PARTIAL REPLACE " +
		"SAVEDATE OBJECTID UTF8=ACCEPT UIDONLY MULTISEARCH NOTIFY INPROGRESS " + s.appendLimit()
	if s.user.Attributes != nil {
		words += " METADATA LIST-METADATA SPECIAL-USE CREATE-SPECIAL-USE"
	} else if s.hasUses() {
		words += " SPECIAL-USE" // Dovecot, too, offers it only where a folder has a use
	}
	if s.user.Quota != nil {
		words += " QUOTA"
	}
	if more, plus := strings.CutPrefix(s.opts.Capability, "+"); plus {
		words += " " + strings.TrimSpace(more)
	} else if more != "" {
		words = more
	}
	return words
}

// hasUses tells whether some folder has a special use by configuration.
func (s *session) hasUses() bool {
	return slices.ContainsFunc(s.user.Namespaces, func(n tree.Namespace) bool {
		return slices.ContainsFunc(n.Mailboxes, func(m tree.Mailbox) bool { return len(m.Use) > 0 })
	})
}

// appendLimit: RFC 7889 section 2. Without a figure the client may ask for that of a mailbox.
func (s *session) appendLimit() string {
	if s.opts.MaxMessage > 0 {
		return "APPENDLIMIT=" + strconv.FormatInt(s.opts.MaxMessage, 10)
	}
	return "APPENDLIMIT"
}

// capability: RFC 3501 section 6.1.1.
func (s *session) capability([]syntax.Arg) error {
	s.out.Text("* CAPABILITY ", s.capabilities())
	s.out.Line()
	return s.done("OK Capability completed")
}
