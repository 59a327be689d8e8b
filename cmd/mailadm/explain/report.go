package explain

import (
	"encoding/json"
	"io"

	"packetboat/cmd/mailadm/where"
)

// Report is the whole explanation.
type Report struct {
	Address     string     `json:"address"`
	Sender      string     `json:"sender"`
	Service     *Service   `json:"service,omitempty"` // nil: master.cf has no smtpd
	Dialogue    []Exchange `json:"dialogue,omitempty"`
	Accepted    bool       `json:"accepted"`    // smtpd takes the recipient
	Reply       string     `json:"reply"`       // the reply that decided
	Rewriting   []Step     `json:"rewriting"`   // from the address to what is queued
	Deliveries  []Delivery `json:"deliveries"`  // where it goes from there
	Deliverable bool       `json:"deliverable"` // no delivery ends in a bounce or waits
	Notes       []string   `json:"notes,omitempty"`
}

// Entry is an answer of a table.
type Entry struct {
	Table string `json:"table"`
	Key   string `json:"key"`
	Value string `json:"value"`
	File  string `json:"file,omitempty"`
	Line  int    `json:"line,omitempty"`
}

// Service is the smtpd service that was asked.
type Service struct {
	Name string `json:"name"`
	File string `json:"file"`
	Line int    `json:"line"`
}

// Exchange is one command of the client, with what it made the access lists do.
type Exchange struct {
	Command string        `json:"command"` // "" = the greeting
	Reply   string        `json:"reply"`   // its last line
	Asked   []Restriction `json:"restrictions,omitempty"`
}

// Restriction is one that was asked.
type Restriction struct {
	Name   string        `json:"name"`
	Arg    string        `json:"argument,omitempty"`
	Warn   bool          `json:"warn_if_reject,omitempty"`
	Result string        `json:"result"` // permit, reject, dunno, defer_if_permit ...
	Reply  string        `json:"reply,omitempty"`
	Place  where.Place   `json:"place"`
	Found  []Entry       `json:"found,omitempty"`
	Inner  []Restriction `json:"inner,omitempty"` // of a table's result or a class
	Notes  []string      `json:"notes,omitempty"`
}

// Step is one rewriting of an address, or the expansion of an alias.
type Step struct {
	From  string      `json:"from"`
	To    []string    `json:"to"`
	Place where.Place `json:"place"`
	Entry *Entry      `json:"entry,omitempty"`
}

// Delivery is one recipient after all rewriting.
type Delivery struct {
	Address   string      `json:"address"`
	Class     string      `json:"class,omitempty"`
	ClassBy   where.Place `json:"class_by"`
	Transport string      `json:"transport,omitempty"`
	Nexthop   string      `json:"nexthop,omitempty"`
	// Choices are the parameters that gave transport and next hop, the one that
	// counts last.
	Choices []Choice    `json:"choices,omitempty"`
	Agent   where.Place `json:"agent"` // the transport's line in master.cf
	Program string      `json:"program,omitempty"`
	Aliases []Step      `json:"aliases,omitempty"`
	Ends    []End       `json:"ends,omitempty"`
	Result  string      `json:"result,omitempty"` // of a delivery from here: "sent: 2.0.0 delivers to mailbox"
	Then    []Step      `json:"then,omitempty"`   // rewriting of what is forwarded
	Next    []Delivery  `json:"next,omitempty"`   // what is forwarded
}

// Choice is a parameter that gave transport or next hop.
type Choice struct {
	where.Place
	Value string `json:"value"`
	Entry *Entry `json:"entry,omitempty"`
}

// End is where an alias leads to.
type End struct {
	Kind string `json:"kind"` // mailbox, command, file, forward, failed
	Text string `json:"text"`
}

func (r *Report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}
