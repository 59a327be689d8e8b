package local

import (
	"context"
	"strings"

	"packetboat/internal/mail"
	"packetboat/internal/route/table"
	"packetboat/internal/sys/maillog"
)

// StatusFilter is a delivery_status_filter of postconf(5): a table that changes
// the code and text of an answer before anything is done about it. The zero value
// changes nothing.
type StatusFilter struct {
	param string // its name, for warnings
	maps  table.Maps
}

// OpenFilter opens the tables of the filter that the parameter param names.
func OpenFilter(param string, specs []string, o table.Options) (StatusFilter, error) {
	maps, err := table.OpenAll(specs, o)
	return StatusFilter{param, maps}, err
}

// Apply returns st as the filter has it. A success stays one and a failure stays
// one, whatever the table says; a table that cannot be asked defers the mail.
func (f StatusFilter) Apply(ctx context.Context, st *mail.Status, log *maillog.Log) *mail.Status {
	if len(f.maps) == 0 {
		return st
	}
	value, found, err := f.maps.Lookup(ctx, st.Code+" "+st.Text)
	switch {
	case err != nil:
		log.LocalWarning("%s: %v", f.param, err)
		return st
	case !found:
		return st
	}
	code, text, _ := strings.Cut(strings.TrimSpace(value), " ")
	text = strings.TrimSpace(text)
	if !isCode(code) && (code == "" || code[0] != '2') || text == "" {
		log.LocalWarning("%s: bad status code: %s", f.param, value)
		return st
	}
	if (code[0] == '2') != (st.Outcome == mail.Sent) {
		log.LocalWarning("%s: bad status code: %s", f.param, value)
		return st
	}
	out := *st
	out.Code, out.Text = code, text
	switch code[0] {
	case '4':
		out.Outcome, out.Reply = mail.Deferred, 451
	case '5':
		out.Outcome, out.Reply = mail.Bounced, 550
	}
	return &out
}
