package main

import (
	"time"

	"packetboat/internal/route/alias"
	"packetboat/internal/send/local"
	"packetboat/internal/send/pipe"
	"packetboat/internal/sys/proc"
)

// The engine asks its parent for the few things that need root. All messages
// are small JSON over a socketpair that nobody else has.

// request is a message from the engine.
type request struct {
	ID   uint64 `json:"id,omitempty"`
	Op   string `json:"op"` // one of the op constants
	User string `json:"user,omitempty"`
	// UID, GID and Mailbox describe a virtual mailbox.
	UID     int    `json:"uid,omitempty"`
	GID     int    `json:"gid,omitempty"`
	Mailbox string `json:"mailbox,omitempty"`
	// Argv and Env are a command's; its standard input is the message's file.
	Argv    []string      `json:"argv,omitempty"`
	Env     []string      `json:"env,omitempty"`
	Via     local.Via     `json:"via,omitempty"` // who asks for the command
	Timeout time.Duration `json:"timeout,omitempty"`
	Path    string        `json:"path,omitempty"` // of a file to open
	// Service is the local or pipe service that asks. Query is the recipient, for
	// forward_path; Listed: his .forward names the command or the file.
	Service string             `json:"service,omitempty"`
	Query   alias.ForwardQuery `json:"query,omitzero"`
	Listed  bool               `json:"listed,omitempty"`
	Values  *pipe.Values       `json:"values,omitempty"` // for the arguments of a pipe service
}

// The operations that the parent knows.
const (
	opReady   = "ready"   // the engine answers; no reply
	opDeliver = "deliver" // a deliver process as User; reply carries its socket
	opVirtual = "virtual" // a deliver process as UID:GID on Mailbox; likewise
	opFile    = "file"    // append to the file Mailbox as User; likewise
	opCommand = "command" // run Argv as User; reply carries exit and output
	opPipe    = "pipe"    // run the command of the pipe service Service; likewise
	opForward = "forward" // open the .forward of Query.User; reply carries it with Path, UID, Extension
	opOpen    = "open"    // open a configured key file; reply carries it
	opInclude = "include" // open the :include: file Path with the rights of User; reply carries it
)

// parentMessage is a message from the parent: a socket, the reply to a request, or the
// disk.Watch of folders where a .forward may come.
type parentMessage struct {
	Announce *announce `json:"announce,omitempty"`
	Reply    *reply    `json:"reply,omitempty"`
	Watch    bool      `json:"watch,omitempty"`
}

// reply answers the request with the same ID.
type reply struct {
	ID      uint64 `json:"id"`
	Err     string `json:"err,omitempty"`
	Missing bool   `json:"missing,omitempty"` // the account does not exist
	Absent  bool   `json:"absent,omitempty"`  // the file does not exist
	Exit    int    `json:"exit,omitempty"`
	Output  string `json:"output,omitempty"`
	Late    bool   `json:"late,omitempty"` // the command was killed: its time was over
	// Of a .forward: its path, what is wrong with it, or with the home folder.
	Path      string `json:"path,omitempty"`
	UID       int    `json:"uid,omitempty"`
	Extension bool   `json:"extension,omitempty"`
	Odd       string `json:"odd,omitempty"`
	Watched   bool   `json:"watched,omitempty"` // the watch tells when one may have come
	Home      string `json:"home,omitempty"`
}

// The descriptors that an engine inherits: its end of the channel, the locked
// pid file (so that no second system starts on this queue while an engine
// lives), and the open maillog_file, if there is one.
const (
	channelFD = 3
	lockFD    = 4
	logFD     = 5
)

// inherit opens the engine's end of the channel.
func inherit() (*proc.Channel, error) { return proc.Inherited(channelFD) }
