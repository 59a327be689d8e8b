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
// defer/ledger (ledger.go), which may be lost.
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
//	4 Commit: rename          incoming/ID, unflushed           nothing, the whole message, or a torn file
//	                                                           (below); unanswered, so the sender tries again
//	5 Commit: fsync file      incoming/ID, durable; its name   the message; where the file system does not
//	                          too on ext4 and XFS              promise the name, as after step 4
//	6 Commit: fsync folder    incoming/ID, durable             the message. Only now Commit returns: "250"
//	  (left out on ext4, XFS)
//	7 Move to active, when    active/ID                        the message, in incoming again
//	  delivery takes longer
//	8 Mark recipient Done     one state byte 'D'               the message; if the byte was lost, that
//	                                                           recipient gets it twice
//	9 bounce is committed     a second message, steps 1-6      both; the bounce may be sent twice, because
//	                                                           Mark follows only after its step 6
//	10 Defer: mtime           active/ID with a later mtime     the message, tried at once
//	11 Defer: reasons         a line of defer/ledger           the message; reasons may be missing in mailq
//	12 Defer: rename          deferred/X/ID                    the message in active or deferred; both are tried
//	13 Remove                 nothing                          nothing, or the message: recipients whose Done
//	                                                           was lost get it twice
//
// The name comes before the fsync (steps 4 and 5), since one write of the file
// system's journal then carries both. What a crash between the two leaves may
// be short, or have holes of zeros: blocks reach the disk in any order. It is
// found by the trailer, which ends the file, and by the two checksums in it: of
// the envelope, which every reader holds against it, and of the message's bytes,
// which Check reads once for each file that Recover finds in incoming. (What a
// stranger writes in his message cannot pass for a trailer where the file was
// torn: he does not know the Received: line above it, which the checksum covers.)
// Only there can a file be torn: the scheduler is told of a message after step 6,
// so what has reached active, deferred or hold is whole, and hold itself gets
// files in the order fsync, rename, fsync of the folder.
//
// A torn file was never answered for. But it cannot be told from one that was
// and that a broken disk has damaged since, so it is moved to corrupt like every
// other file that cannot be read, and the log says so: nothing is deleted but
// what still has its temporary name.
//
// So: nothing that was answered with 250 is ever lost, nothing that is half there
// is ever delivered, and the price is that a power cut can repeat what was
// delivered in its last moments. TestCrash stops the writer at each step and looks
// at what Recover makes of it, TestTorn tears files, and disk.TestNamesFollow
// pulls the plug of a file system.
//
// # Cost
//
// A message up to 64 KB, envelope included, costs six system calls from Create
// to the end of Commit: openat, fstat, write, renameat, fsync, close; and where
// the file system does not promise names the fsync of the folder, which those
// share who commit at that moment. Counted with strace over BenchmarkCommit1.
package queue
