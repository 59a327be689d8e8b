package wiring

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"packetboat/internal/sys/config"
)

// TestIntakeNetworks: whose headers are completed may stand in a table, too.
func TestIntakeNetworks(t *testing.T) {
	dir := t.TempDir()
	nets := filepath.Join(dir, "nets")
	os.WriteFile(nets, []byte("192.0.2.0/24 ok\n"), 0o644)
	for list, want := range map[string]bool{"cidr:" + nets: true, "cidr:{{192.0.2.0/25 x}}": true,
		"127.0.0.0/8, !192.0.2.1, cidr:" + nets: false, "127.0.0.0/8": false} {
		os.WriteFile(filepath.Join(dir, "main.cf"), []byte("compatibility_level = 3.6\nmynetworks = "+list+"\n"), 0o644)
		m, _, err := config.LoadMain(dir)
		if err != nil {
			t.Fatal(err)
		}
		o, err := (&Kit{Main: m}).IntakeOptions(m)
		if err != nil {
			t.Fatal(err)
		}
		if got := o.Networks(netip.MustParseAddr("192.0.2.1")); got != want {
			t.Errorf("%s holds the client: %v", list, got)
		}
	}
}
