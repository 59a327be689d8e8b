// Package order puts messages in order: SORT and THREAD of RFC 5256, with the
// display names of RFC 5957 and the algorithm REFS. It knows neither mailbox nor
// client: what it compares is asked of its caller once a message.
package order

import (
	"cmp"
	"slices"
)

// Field is what a sort key looks at.
type Field uint8

// The values of Field.
const (
	Arrival Field = iota // INTERNALDATE
	Cc                   // local part of the first address
	Date                 // of the Date field, in UTC; INTERNALDATE where that makes no sense
	From
	Size
	Subject // base subject
	To
	DisplayFrom // name of the first address, else the address (RFC 5957)
	DisplayTo
)

// Key is one key of SORT.
type Key struct {
	Field   Field
	Reverse bool
}

// ParseField returns the field of a word of SORT, in capitals.
func ParseField(word string) (Field, bool) {
	switch word {
	case "ARRIVAL":
		return Arrival, true
	case "CC":
		return Cc, true
	case "DATE":
		return Date, true
	case "FROM":
		return From, true
	case "SIZE":
		return Size, true
	case "SUBJECT":
		return Subject, true
	case "TO":
		return To, true
	case "DISPLAYFROM":
		return DisplayFrom, true
	case "DISPLAYTO":
		return DisplayTo, true
	}
	return 0, false
}

// Value is what a field of a message is: a number or a folded text.
type Value struct {
	Num  int64
	Text string
}

// Sort orders the messages at list, which rises: those that are equal in all keys
// stay in their order, also with REVERSE (RFC 5256 section 3). value is asked once
// for each message and key.
func Sort(list []int, keys []Key, value func(i int, f Field) Value) []int {
	type row struct {
		i    int
		vals []Value
	}
	rows := make([]row, len(list))
	all := make([]Value, len(list)*len(keys))
	for n, i := range list {
		rows[n] = row{i, all[n*len(keys) : (n+1)*len(keys)]}
		for k := range keys {
			rows[n].vals[k] = value(i, keys[k].Field)
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		for k := range keys {
			c := cmp.Or(cmp.Compare(a.vals[k].Num, b.vals[k].Num), cmp.Compare(a.vals[k].Text, b.vals[k].Text))
			if c == 0 {
				continue
			}
			if keys[k].Reverse {
				c = -c
			}
			return c
		}
		return 0
	})
	out := make([]int, len(list))
	for n := range rows {
		out[n] = rows[n].i
	}
	return out
}
