package wire

import "time"

// Progress tells how far a long command has come: INPROGRESS, RFC 9585.
type Progress struct {
	Every time.Duration
	From  time.Time // when the client heard of it last
	Tag   string
}

// Tell says that n of total messages are done, if it is time to.
func (p *Progress) Tell(o *Output, n, total int) {
	now := time.Now()
	if now.Sub(p.From) < p.Every {
		return
	}
	p.From = now
	o.Text(`* OK [INPROGRESS ("`, p.Tag, `" `)
	o.Num(int64(n))
	o.Text(" ")
	o.Num(int64(total))
	o.Text(")] Still at it")
	o.Line()
	o.Flush()
}
