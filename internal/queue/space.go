package queue

import "packetboat/internal/sys/disk"

// Free returns the octets that are free where new messages are written.
func (q *Queue) Free() (int64, error) { return disk.Free(q.root + "/" + Incoming.String()) }
