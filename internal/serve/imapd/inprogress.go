package imapd

import (
	"time"

	"packetboat/internal/serve/imapd/wire"
)

// progress tells how far a long command has come: INPROGRESS, RFC 9585.
type progress struct {
	every time.Duration
	from  time.Time // when the client heard of it last
	tag   string
}

// tell says that n of total messages are done, if it is time to.
func (p *progress) tell(o *wire.Output, n, total int) {
	now := time.Now()
	if now.Sub(p.from) < p.every {
		return
	}
	p.from = now
	o.Text(`* OK [INPROGRESS ("`, p.tag, `" `)
	o.Num(int64(n))
	o.Text(" ")
	o.Num(int64(total))
	o.Text(")] Still at it")
	o.Line()
	o.Flush()
}
