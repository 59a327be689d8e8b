// Package queue keeps mail in transit: one message, one file, named by its
// queue id. A file's folder is its state, as in Postfix, because monitoring
// counts files there: incoming, active, deferred, hold, corrupt (and maildrop,
// see package maildrop).
//
// A file is written once, front to back: the message's bytes (LF line ends),
// then the envelope, then a trailer of fixed size that says where the envelope
// begins. A file without a whole trailer was never acknowledged. Only one
// thing in a file ever changes: the state byte of each recipient, in place.
// The last reason for a delay is told in defer/ID, which may be lost.
package queue
