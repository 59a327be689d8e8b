package policy

import (
	"packetboat/internal/receive/policy/netlist"
)

// Networks is a list such as mynetworks.
type Networks = netlist.List

// ParseNetworks reads a list; see netlist.Parse.
func ParseNetworks(words []string, open ...func(spec string) (Table, error)) (*Networks, error) {
	return netlist.Parse(words, open...)
}
