package order

import (
	"cmp"
	"slices"
	"strings"
)

// maxRefs is how many references of one message count: the last ones.
const maxRefs = 1000

// Message is what THREAD looks at.
type Message struct {
	Num     uint32 // what is written for it
	Date    int64  // as Date sorts
	Subject string // base subject, folded
	Reply   bool   // the subject was one of a reply
	ID      string // Message-ID without brackets; empty = none
	Refs    []string
}

// Node is a message in its thread; the message of a node that stands for one
// that is not there is nil.
type Node struct {
	Msg      *Message
	Children []*Node
	parent   *Node
	depth    int // at least how many stand above it
}

// date is that of the message, or of the first child of one that is missing:
// RFC 5256 section 3, step 4.
func (n *Node) date() int64 {
	for n.Msg == nil && len(n.Children) > 0 {
		n = n.Children[0]
	}
	if n.Msg == nil {
		return 0
	}
	return n.Msg.Date
}

// OrderedSubject makes threads of messages with the same base subject: the
// oldest is the root, all others are its children (RFC 5256 section 3).
func OrderedSubject(msgs []Message) []*Node {
	sorted := make([]*Message, len(msgs))
	for i := range msgs {
		sorted[i] = &msgs[i]
	}
	slices.SortStableFunc(sorted, func(a, b *Message) int {
		return cmp.Or(cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Date, b.Date))
	})
	var roots []*Node
	for i, m := range sorted {
		if i > 0 && sorted[i-1].Subject == m.Subject {
			last := roots[len(roots)-1]
			last.Children = append(last.Children, &Node{Msg: m})
			continue
		}
		roots = append(roots, &Node{Msg: m})
	}
	sortNodes(roots)
	return roots
}

func sortNodes(list []*Node) {
	slices.SortStableFunc(list, func(a, b *Node) int {
		return cmp.Or(cmp.Compare(a.date(), b.date()), cmp.Compare(a.first(), b.first()))
	})
}

// first is the number of the first message of a node.
func (n *Node) first() uint32 {
	for n.Msg == nil && len(n.Children) > 0 {
		n = n.Children[0]
	}
	if n.Msg == nil {
		return 0
	}
	return n.Msg.Num
}

// References makes threads by Message-ID, References and In-Reply-To: RFC 5256
// section 3. With subjects set, threads of one subject are joined (REFERENCES);
// without it they are not (REFS).
func References(msgs []Message, subjects bool) []*Node {
	nodes := link(msgs)
	var roots []*Node
	for _, n := range nodes {
		if n.parent == nil {
			roots = append(roots, n)
		}
	}
	roots = prune(roots)
	// Step 4: roots are put in order by date before subjects are gathered.
	for _, n := range roots {
		sortTree(n)
	}
	sortNodes(roots)
	if !subjects {
		// REFS (draft-ietf-morg-inthread): the thread with the newest message is last.
		newest := make(map[*Node]int64, len(roots))
		for _, n := range roots {
			newest[n] = n.newest()
		}
		slices.SortStableFunc(roots, func(a, b *Node) int { return cmp.Compare(newest[a], newest[b]) })
	}
	if subjects {
		roots = gather(roots)
		for _, n := range roots {
			sortTree(n)
		}
		sortNodes(roots)
	}
	return roots
}

// newest is the date of the newest message of a thread.
func (n *Node) newest() (date int64) {
	if n.Msg != nil {
		date = n.Msg.Date
	}
	for _, c := range n.Children {
		date = max(date, c.newest())
	}
	return date
}

// link is step 1: every ID that is named becomes a node, and finds its parent.
func link(msgs []Message) (nodes []*Node) {
	byID := make(map[string]*Node, len(msgs))
	node := func(id string) *Node {
		n := byID[id]
		if n == nil || id == "" {
			n = &Node{}
			nodes = append(nodes, n)
			if id != "" {
				byID[id] = n
			}
		}
		return n
	}
	for i := range msgs {
		m := &msgs[i]
		id := m.ID
		if n := byID[id]; n != nil && n.Msg != nil {
			id = "" // two messages of one ID: the second has none
		}
		n := node(id)
		n.Msg = m
		refs := m.Refs[max(0, len(m.Refs)-maxRefs):]
		var prev *Node
		for _, r := range refs {
			cur := node(r)
			if prev != nil && cur.parent == nil && !above(cur, prev) {
				adopt(prev, cur)
			}
			prev = cur
		}
		if n.parent != nil && n.parent == prev {
			continue
		}
		if n.parent != nil {
			drop(n)
		}
		if prev != nil && !above(n, prev) {
			adopt(prev, n)
		}
	}
	return nodes
}

// maxDepth is how deep threads go: what would hang deeper begins one of its own.
const maxDepth = 10000

// above tells whether a is b or stands above it, or b is too deep for a child.
func above(a, b *Node) bool {
	if len(a.Children) == 0 && a.parent == nil && b.depth < maxDepth-1 {
		return a == b
	}
	for n := 0; b != nil; b = b.parent {
		if n++; a == b || n >= maxDepth {
			return true
		}
	}
	return false
}

func adopt(parent, child *Node) {
	child.parent, child.depth = parent, max(child.depth, parent.depth+1)
	parent.Children = append(parent.Children, child)
}

func drop(n *Node) {
	p := n.parent
	p.Children = slices.DeleteFunc(p.Children, func(c *Node) bool { return c == n })
	n.parent = nil
}

// prune is step 3: nodes without message go, their children move up, but for a
// root that would leave several.
func prune(roots []*Node) (out []*Node) {
	for _, r := range roots {
		r.Children = pruneBelow(r.Children)
		switch {
		case r.Msg != nil || len(r.Children) > 1:
			out = append(out, r)
		case len(r.Children) == 1:
			out = append(out, r.Children[0])
		}
	}
	return out
}

func pruneBelow(list []*Node) (out []*Node) {
	for _, n := range list {
		n.Children = pruneBelow(n.Children)
		if n.Msg == nil {
			out = append(out, n.Children...)
		} else {
			out = append(out, n)
		}
	}
	return out
}

func sortTree(n *Node) {
	for _, c := range n.Children {
		sortTree(c)
	}
	sortNodes(n.Children)
}

// subject is that of the message, or of the first child of a missing one.
func (n *Node) subject() (string, bool) {
	for n.Msg == nil && len(n.Children) > 0 {
		n = n.Children[0]
	}
	if n.Msg == nil {
		return "", false
	}
	return n.Msg.Subject, n.Msg.Reply
}

// gather is step 5: threads with the same base subject become one.
func gather(roots []*Node) []*Node {
	table := map[string]*Node{}
	for _, n := range roots {
		s, reply := n.subject()
		if s == "" {
			continue
		}
		have := table[s]
		_, haveReply := false, false
		if have != nil {
			_, haveReply = have.subject()
		}
		if have == nil || n.Msg == nil && have.Msg != nil || haveReply && !reply && have.Msg != nil {
			table[s] = n
		}
	}
	var out []*Node
	merged := map[*Node]*Node{} // a dummy that took the place of a table's node
	for _, n := range roots {
		s, reply := n.subject()
		first := table[s]
		if s == "" || first == n {
			if d := merged[n]; d == nil {
				out = append(out, n)
			}
			continue
		}
		if join(first, n, reply) {
			continue
		}
		dummy := merged[first]
		if dummy == nil {
			dummy = &Node{Children: []*Node{first}}
			merged[first] = dummy
			out = slices.DeleteFunc(out, func(x *Node) bool { return x == first })
			out = append(out, dummy)
			table[s] = dummy
		}
		dummy.Children = append(dummy.Children, n)
	}
	return out
}

// join puts n below, or beside, the thread of its subject; false = both are
// messages of equal rank, and a dummy must hold them.
func join(first, n *Node, reply bool) bool {
	_, firstReply := first.subject()
	switch {
	case first.Msg == nil && n.Msg == nil:
		first.Children = append(first.Children, n.Children...)
	case first.Msg == nil:
		first.Children = append(first.Children, n)
	case reply && !firstReply:
		first.Children = append(first.Children, n)
	default:
		return false
	}
	return true
}

// Append writes threads as RFC 5256 section 5: "(1 2 (3)(4 5))".
func Append(dst []byte, roots []*Node, num func([]byte, uint32) []byte) []byte {
	for _, n := range roots {
		dst = append(dst, '(')
		dst = appendNode(dst, n, num)
		dst = append(dst, ')')
	}
	return dst
}

func appendNode(dst []byte, n *Node, num func([]byte, uint32) []byte) []byte {
	for first := true; ; first = false {
		if n.Msg != nil {
			if !first {
				dst = append(dst, ' ')
			}
			dst = num(dst, n.Msg.Num)
		}
		if len(n.Children) != 1 {
			break
		}
		n = n.Children[0]
	}
	if len(n.Children) == 0 {
		return dst
	}
	if n.Msg != nil {
		dst = append(dst, ' ')
	}
	return Append(dst, n.Children, num)
}

// IDs returns the message IDs of a field, without their brackets; blanks inside
// are left out.
func IDs(field string) (ids []string) {
	for {
		_, rest, ok := strings.Cut(field, "<")
		if !ok {
			return ids
		}
		id, after, ok := strings.Cut(rest, ">")
		if !ok {
			return ids
		}
		if id = strings.Join(strings.Fields(id), ""); strings.Contains(id, "@") {
			ids = append(ids, id)
		}
		field = after
	}
}
