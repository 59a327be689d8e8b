package main

import (
	"fmt"
	"slices"
	"strings"

	"packetboat/internal/mail"
)

// mode is what the program is asked to do.
type mode uint8

const (
	modeEnqueue mode = iota
	modeNewaliases
	modeMailq
	modeDaemon
	modeSMTP
	modeFlush
	modeIgnore
)

// options are the command line.
type options struct {
	mode       mode
	sender     *string // -f, -r
	fullName   *string // -F
	encoding   string  // -B: 8bit, 7bit
	envID      string  // -V
	ret        int     // -R: 1 full, 2 headers
	notify     mail.Notify
	verp       *string // -XV
	extract    bool    // -t
	gateway    bool    // -G
	keepDots   bool    // -i, -oi
	verifyOnly bool    // -bv
	report     bool    // -v
	verbose    int
	qtime      bool   // -q30m
	site       string // -qR
	queueID    string // -qI
	aliases    string // -oA
}

// letters are the options in the form of getopt(3): a colon stands behind
// those with a value. E is Sendmail's alone and ignored.
const letters = "A:B:C:EF:GIL:N:O:R:UV:X:b:ce:f:h:imno:p:r:q:tvx"

// getopt walks over argv as getopt(3) does: POSIX order, bundles, values
// attached or apart.
type getopt struct {
	args  []string
	index int // of the word that is looked at
	char  int // in that word, 0 = at its beginning
	bad   func(text string, c byte)
}

// next returns the next option and its value; '?' stands for a wrong one, and
// 0 for the end.
func (g *getopt) next() (c byte, value string) {
	if g.char == 0 {
		if g.index >= len(g.args) {
			return 0, ""
		}
		word := g.args[g.index]
		if word == "--" {
			g.index++
			return 0, ""
		}
		if len(word) < 2 || word[0] != '-' {
			return 0, ""
		}
		g.char = 1
	}
	word := g.args[g.index]
	c = word[g.char]
	g.char++
	at := strings.IndexByte(letters, c)
	takes := at >= 0 && at+1 < len(letters) && letters[at+1] == ':'
	if g.char == len(word) || takes {
		value = word[g.char:]
		g.index, g.char = g.index+1, 0
	}
	switch {
	case at < 0 || c == ':':
		g.bad("invalid option -- '%c'\n", c)
		return '?', ""
	case takes && value == "" && g.index >= len(g.args):
		g.bad("option requires an argument -- '%c'\n", c)
		return '?', ""
	case takes && value == "":
		value = g.args[g.index]
		g.index++
	}
	return c, value
}

func (p *program) getopt(args []string) *getopt {
	return &getopt{args: args, bad: func(text string, c byte) {
		fmt.Fprintf(p.stderr, p.name+": "+text, c)
	}}
}

// atWord tells whether the walk is at the beginning of exactly this word.
func (g *getopt) atWord(word string) bool {
	return g.char == 0 && g.index < len(g.args) && g.args[g.index] == word
}

// prescan looks for -C only: the configuration must be known before the other
// options are. Like Postfix it complains here already about wrong ones.
func (p *program) prescan(args []string) (dir string) {
	g := p.getopt(args)
	for {
		if g.atWord("-q") { // alone it has no value
			g.index++
			continue
		}
		c, value := g.next()
		if c == 0 {
			return dir
		}
		if c == 'C' {
			dir = value
		}
	}
}

// parse reads the options and returns the operands.
func (p *program) parse(args []string) []string {
	switch p.name {
	case "mailq":
		p.opts.mode = modeMailq
	case "newaliases":
		p.opts.mode = modeNewaliases
	case "smtpd":
		p.opts.mode = modeDaemon
	}
	args = slices.Clone(args)
	g := p.getopt(args)
	for {
		if p.special(g) {
			continue
		}
		c, value := g.next()
		if c == 0 {
			return args[g.index:]
		}
		p.option(c, value)
	}
}

// special takes the words that getopt(3) cannot read.
func (p *program) special(g *getopt) bool {
	if g.char != 0 || g.index >= len(g.args) {
		return false
	}
	switch word := g.args[g.index]; {
	case word == "-q":
		if p.opts.mode == modeDaemon {
			p.warn("ignoring -q option in daemon mode")
		} else {
			p.opts.mode = modeFlush
		}
		g.index++
		return true
	case word == "-V" && g.index+1 < len(g.args) && len(g.args[g.index+1]) == 2:
		p.warn("option -V is deprecated with Postfix 2.3; specify -XV instead")
		p.opts.verp = new(p.conf.Get("default_verp_delimiters"))
		g.index++
		return true
	case strings.HasPrefix(word, "-V") && len(word) == 4:
		p.warn("option %s is deprecated with Postfix 2.3; specify -X%s instead", word, word[1:])
		g.args[g.index] = "-X" + word[1:]
	case word == "-XV":
		p.opts.verp = new(p.conf.Get("default_verp_delimiters"))
		g.index++
		return true
	}
	return false
}

// option takes one option. Those that are not named here are Sendmail's, and
// mean nothing to us.
func (p *program) option(c byte, value string) {
	o := &p.opts
	switch c {
	case '?':
		p.fatal("usage: %s [options]", p.name)
	case 'n':
		p.fatal("-%c option not supported", c)
	case 'B':
		p.encoding(value)
	case 'F':
		o.fullName = &value
	case 'G':
		o.gateway = true
	case 'I':
		o.mode = modeNewaliases
	case 'N':
		p.notify(value)
	case 'R':
		p.ret(value)
	case 'V':
		p.envID(value)
	case 'X':
		p.verp(value)
	case 'b':
		p.operation(value)
	case 'f', 'r':
		o.sender = &value
	case 'i':
		o.keepDots = true
	case 'o':
		p.setting(value)
	case 'q':
		p.queueRun(value)
	case 't':
		o.extract = true
	case 'v':
		o.verbose++
	}
}

func (p *program) encoding(value string) {
	switch value {
	case "8BITMIME":
		p.opts.encoding = "8bit"
	case "7BIT":
		p.opts.encoding = "7bit"
	default:
		p.fatal("-B option needs 8BITMIME or 7BIT")
	}
}

// notify reads -N (RFC 3461 section 4.1).
func (p *program) notify(value string) {
	set, bad := notifySet(value)
	if bad != "" {
		p.warn("unknown DSN NOTIFY command value \"%s\" in \"%s\"", bad, value)
	}
	if bad != "" || set == 0 || set&mail.NotifyNever != 0 && set != mail.NotifyNever {
		p.warn("bad -N option value -- ignored")
		return
	}
	p.opts.notify = set
}

// notifySet reads a list of words of RFC 3461 section 4.1; bad is the first
// word that is none.
func notifySet(value string) (set mail.Notify, bad string) {
	words := map[string]mail.Notify{"never": mail.NotifyNever, "success": mail.NotifySuccess,
		"failure": mail.NotifyFailure, "delay": mail.NotifyDelay}
	for _, word := range strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }) {
		bit, ok := words[strings.ToLower(word)]
		if !ok {
			return 0, word
		}
		set |= bit
	}
	return set, ""
}

func (p *program) ret(value string) {
	switch strings.ToLower(value) {
	case "full":
		p.opts.ret = 1
	case "hdrs":
		p.opts.ret = 2
	default:
		p.warn("bad -R option value -- ignored")
	}
}

func (p *program) envID(value string) {
	switch {
	case len(value) > 100:
		p.warn("too long -V option value -- ignored")
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }):
		p.warn("bad syntax in -V option value -- ignored")
	default:
		p.opts.envID = value
	}
}

// verp reads -XV+=; Sendmail's -X FILE asks for a traffic log, which is ignored.
func (p *program) verp(value string) {
	delims, ok := strings.CutPrefix(value, "V")
	if !ok {
		return
	}
	filter := p.conf.Get("verp_delimiter_filter")
	if len(delims) != 2 || strings.Trim(delims, filter) != "" {
		p.fatal("-V requires two characters from %s", filter)
	}
	p.opts.verp = &delims
}

// operation reads -b.
func (p *program) operation(value string) {
	o := &p.opts
	switch first(value) {
	case 'd', 'D', 'l':
		if o.mode == modeFlush {
			p.warn("ignoring -q option in daemon mode")
		}
		o.mode = modeDaemon
	case 'h', 'H':
		o.mode = modeIgnore
	case 'i':
		o.mode = modeNewaliases
	case 'm':
		o.mode = modeEnqueue
	case 'p':
		o.mode = modeMailq
	case 's':
		o.mode = modeSMTP
	case 'v':
		o.verifyOnly = true
	default:
		p.fatal("unsupported: -b%c", first(value))
	}
}

func first(s string) byte {
	if s == "" {
		return ' '
	}
	return s[0]
}

// setting reads -o; all but -oA and -oi is ignored.
func (p *program) setting(value string) {
	switch first(value) {
	case 'A':
		if len(value) < 2 {
			p.fatal("-oA requires pathname")
		}
		p.opts.aliases = value[1:]
	case 'i':
		p.opts.keepDots = true
	}
}

// queueRun reads -q with a value.
func (p *program) queueRun(value string) {
	o := &p.opts
	switch c := first(value); {
	case c >= '0' && c <= '9':
		o.qtime = true
	case c == 'R':
		if o.site = value[1:]; o.site == "" {
			p.fatal("specify: -qRsitename")
		}
	case c == 'I':
		if o.queueID = value[1:]; o.queueID == "" {
			p.fatal("specify: -qIqueueid")
		}
	default:
		p.fatal("-q%c is not implemented", c) // sendmail(1)'s words for a letter that it does not know
	}
}

// check refuses what does not go together.
func (p *program) check() {
	o := &p.opts
	switch {
	case o.extract && o.mode != modeEnqueue:
		p.fatal("-t can be used only in delivery mode")
	case o.site != "" && o.mode != modeEnqueue:
		p.fatal("-qR can be used only in delivery mode")
	case o.queueID != "" && o.mode != modeEnqueue:
		p.fatal("-qI can be used only in delivery mode")
	case o.verifyOnly && o.extract:
		p.fatal("-t option cannot be used with -bv")
	case o.verifyOnly && o.notify != 0:
		p.fatal("-N option cannot be used with -bv")
	case o.verifyOnly && o.ret != 0:
		p.fatal("-R option cannot be used with -bv")
	case o.verifyOnly && o.verbose == 1:
		p.fatal("-v option cannot be used with -bv")
	}
	// One -v asks for a delivery report, more for chatter of ours.
	o.report = o.verbose == 1 && o.mode == modeEnqueue
}
