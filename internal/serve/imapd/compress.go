package imapd

import (
	"bytes"
	"io"

	"github.com/klauspost/compress/flate"

	"packetboat/internal/serve/imapd/syntax"
)

// compress: RFC 4978. The answer still goes out plain; all that follows, in both
// directions, is deflated. Clients that end their pieces with a partial flush are
// understood, too.
func (s *session) compress(args []syntax.Arg) error {
	switch {
	case len(args) != 1 || args[0].Kind != syntax.Atom:
		return syntax.Error("Invalid arguments")
	case s.out.Compressed():
		s.reply("NO [COMPRESSIONACTIVE] COMPRESSION=DEFLATE already enabled.")
		return nil
	case !args[0].Is("DEFLATE"):
		s.reply("NO Unknown compression mechanism.")
		return nil
	}
	s.reply("OK Begin compression.")
	if err := s.out.Compress(); err != nil {
		return err
	}
	// What has been read already was sent before the client could know the answer:
	// it is taken for deflated, and ends the session where it is not.
	early, _ := s.p.R.Peek(s.p.R.Buffered())
	early = append(bytes.Clone(early), s.in.Pending...)
	s.p.R.Discard(s.p.R.Buffered())
	s.in.Pending = nil
	s.in.Packed = flate.NewReaderOpts(io.MultiReader(bytes.NewReader(early), s.in.Conn), flate.WithPartialBlock())
	return nil
}
