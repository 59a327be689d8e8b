// Package queue keeps mail in transit: one message, one file, named by its
// queue id. A file's folder is its state, as in Postfix, because monitoring
// counts files there: incoming, active, deferred, hold, corrupt (and maildrop,
// see package maildrop). deferred and defer are hashed one level by the first
// character of the id, so 100,000 files are no burden.
//
// A file is written once, front to back: the message's bytes (LF line ends),
// then the envelope, then a trailer of fixed size that says where the envelope
// begins. Only the state bytes ever change, in place: one for the message (was
// the sender told of the delay) and one a recipient (Pending, Done). The file's
// modification time is the next try of a deferred message, its group execute
// bit says that "postsuper -e" expired it. Why recipients wait is told in
// defer/X/ID, which may be lost.
//
// # States
//
// Each step of a message's life, what is on disk after it, and what a crash of
// the machine right there leaves after the next Recover. "Sender" is whoever
// handed the message over and still waits for our answer until step 6.
//
//	step                      on disk                          a crash leaves
//	1 Create                  incoming/tmp.N, empty            nothing; the sender tries again
//	2 Write (64 KB each)      tmp.N, part of the message       nothing; the sender tries again
//	3 Commit: last write      tmp.N, complete, unflushed       nothing; the sender tries again
//	4 Commit: fsync file      tmp.N, complete, durable         nothing; the sender tries again
//	5 Commit: rename          incoming/ID, name unflushed      nothing or the whole message; unanswered, so
//	                                                           the sender tries again: perhaps twice, never half
//	6 Commit: fsync folder    incoming/ID, durable             the message. Only now Commit returns: "250"
//	7 Move to active          active/ID                        the message, in incoming again
//	8 Mark recipient Done     one state byte 'D'               the message; if the byte was lost, that
//	                                                           recipient gets it twice
//	9 bounce is committed     a second message, steps 1-6      both; the bounce may be sent twice, because
//	                                                           Mark follows only after its step 6
//	10 Defer: mtime           active/ID with a later mtime     the message, tried at once
//	11 Defer: reasons         defer/X/ID                       the message; reasons may be missing in mailq
//	12 Defer: rename          deferred/X/ID                    the message in active or deferred; both are tried
//	13 Remove                 nothing                          nothing, or the message: recipients whose Done
//	                                                           was lost get it twice
//
// So: no name that looks like an id is ever incomplete, nothing that was
// answered with 250 is ever lost, and the price is that a power cut can repeat
// what was delivered in its last moments. A file that cannot be read after all
// (a broken disk, a foreign file) is moved to corrupt and never deleted.
// TestCrash stops the writer at each step and looks at what Recover makes of it.
//
// # Cost
//
// A message up to 64 KB, envelope included, costs eight system calls from Create
// to the end of Commit: openat, fstat, write, fsync (file), fstatat and renameat
// (os.Rename looks first), fsync (folder; shared with everybody who commits at
// that moment), close; and the five with which the Go runtime finds out that a
// file cannot be polled (four fcntl, one epoll_ctl). Counted with strace over
// BenchmarkCommit1.
package queue
