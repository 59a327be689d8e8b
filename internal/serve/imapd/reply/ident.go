package reply

import (
	"packetboat/internal/serve/imapd/ident"
	"packetboat/internal/store"
)

func (f *Fetcher) ident() *ident.Messages {
	f.ids.Box, f.ids.Index = f.Box, f.Index
	return &f.ids
}

// emailID writes EMAILID: RFC 8474 section 5.1.
func (f *Fetcher) emailID(m *store.Msg) error {
	id, err := f.ident().EmailID(m)
	if err != nil {
		return f.nothing(err)
	}
	f.Out.Text("(", id, ")")
	return nil
}

// saveDate writes SAVEDATE: RFC 8514 section 4.1.
func (f *Fetcher) saveDate(m *store.Msg) error {
	t, err := f.ident().SaveDate(m)
	if err != nil {
		return f.nothing(err)
	}
	f.Out.Buf = t.AppendFormat(append(f.Out.Buf, '"'), dateTime)
	f.Out.Text(`"`)
	return nil
}
