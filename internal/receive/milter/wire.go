package milter

import (
	"fmt"
	"strings"
)

// The commands of the protocol, as Sendmail's mfdef.h has them.
const (
	cmdAbort   byte = 'A'
	cmdBody    byte = 'B'
	cmdConnect byte = 'C'
	cmdMacro   byte = 'D'
	cmdEnd     byte = 'E'
	cmdHelo    byte = 'H'
	cmdHeader  byte = 'L'
	cmdMail    byte = 'M'
	cmdEOH     byte = 'N'
	cmdOptions byte = 'O'
	cmdQuit    byte = 'Q'
	cmdRcpt    byte = 'R'
	cmdData    byte = 'T'
	cmdUnknown byte = 'U'
)

// The answers.
const (
	ansAddRcpt    byte = '+'
	ansDelRcpt    byte = '-'
	ansAddRcptPar byte = '2'
	ansShutdown   byte = '4'
	ansAccept     byte = 'a'
	ansBody       byte = 'b'
	ansContinue   byte = 'c'
	ansDiscard    byte = 'd'
	ansChgFrom    byte = 'e'
	ansConnFail   byte = 'f'
	ansAddHeader  byte = 'h'
	ansInsHeader  byte = 'i'
	ansChgHeader  byte = 'm'
	ansProgress   byte = 'p'
	ansQuarantine byte = 'q'
	ansReject     byte = 'r'
	ansSkip       byte = 's'
	ansTempfail   byte = 't'
	ansReplyCode  byte = 'y'
)

// What a milter does not want to be sent, or does not answer.
const (
	noConnect uint32 = 1 << iota
	noHelo
	noMail
	noRcpt
	noBody
	noHeaders
	noEOH
	quietHeader // no answer to each header
	noUnknown
	noData
	canSkip
	wantRejected // RCPTs that the MTA refuses are sent, too
	quietConnect
	quietHelo
	quietMail
	quietRcpt
	quietData
	quietUnknown
	quietEOH
	quietBody
	leadingSpace // header values keep their first blank

	// noSend are the bits that keep an event back.
	noSend = noConnect | noHelo | noMail | noRcpt | noBody | noHeaders | noEOH | noUnknown | noData
	// quiet are the bits that keep an answer back.
	quiet = quietConnect | quietHelo | quietMail | quietRcpt | quietData | quietUnknown | quietEOH | quietBody | quietHeader
)

// ourActions are all the modifications that a milter may ask for: add, change
// and insert headers, body, recipients with and without parameters, sender,
// quarantine, its own list of macros.
const ourActions uint32 = 1<<9 - 1

// The sizes of the protocol, in octets.
const (
	chunkSize = 65535         // of a piece of a body
	maxAnswer = 2 * chunkSize // of an answer
)

// eventsOf are the bits that a version of the protocol knows.
func eventsOf(version uint32) uint32 {
	bits := noConnect | noHelo | noMail | noRcpt | noBody | noHeaders | noEOH
	if version >= 3 {
		bits |= noUnknown
	}
	if version >= 4 {
		bits |= noData
	}
	if version >= 6 {
		bits |= canSkip | wantRejected | quiet | leadingSpace
	}
	return bits
}

// version reads milter_protocol: one version, and "no_header_reply".
func version(protocol string) (v, events uint32, err error) {
	for word := range strings.FieldsFuncSeq(protocol, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' }) {
		switch {
		case word == "no_header_reply":
			events |= quietHeader
		case v == 0 && (word == "2" || word == "3" || word == "4" || word == "6"):
			v = uint32(word[0] - '0')
			events |= eventsOf(v)
		default:
			return 0, 0, fmt.Errorf("bad protocol information: %s", word)
		}
	}
	if v == 0 {
		return 0, 0, fmt.Errorf("no protocol version information")
	}
	return v, events, nil
}

// commandName is Sendmail's name of a command, for the log.
func commandName(c byte) string {
	name := map[byte]string{cmdAbort: "ABORT", cmdBody: "BODY", cmdConnect: "CONNECT", cmdMacro: "MACRO", cmdEnd: "BODYEOB",
		cmdHelo: "HELO", cmdHeader: "HEADER", cmdMail: "MAIL", cmdEOH: "EOH", cmdOptions: "OPTNEG", cmdQuit: "QUIT",
		cmdRcpt: "RCPT", cmdData: "DATA", cmdUnknown: "UNKNOWN"}[c]
	if name == "" {
		return "(unknown MTA event)"
	}
	return "SMFIC_" + name
}

// answerName is Sendmail's name of an answer, for the log.
func answerName(c byte) string {
	name := map[byte]string{ansAddRcpt: "ADDRCPT", ansDelRcpt: "DELRCPT", ansAddRcptPar: "ADDRCPT_PAR", ansShutdown: "SHUTDOWN",
		ansAccept: "ACCEPT", ansBody: "REPLBODY", ansContinue: "CONTINUE", ansDiscard: "DISCARD", ansChgFrom: "CHGFROM",
		ansConnFail: "CONN_FAIL", ansAddHeader: "ADDHEADER", ansInsHeader: "INSHEADER", ansChgHeader: "CHGHEADER",
		ansProgress: "PROGRESS", ansQuarantine: "QUARANTINE", ansReject: "REJECT", ansSkip: "SKIP", ansTempfail: "TEMPFAIL",
		ansReplyCode: "REPLYCODE"}[c]
	if name == "" {
		return "(unknown filter reply)"
	}
	return "SMFIR_" + name
}
