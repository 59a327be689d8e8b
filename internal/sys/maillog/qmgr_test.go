package maillog

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestAppendDelay: figures as Postfix's format_tv(3) writes them with two
// significant digits and delay_logging_resolution_limit = 2.
func TestAppendDelay(t *testing.T) {
	for us, want := range map[time.Duration]string{
		-5: "0", 0: "0", 1: "0", 4999: "0", 5000: "0.01", 9999: "0.01", 10000: "0.01", 14999: "0.01", 15000: "0.02", 60000: "0.06",
		99999: "0.1", 100000: "0.1", 123456: "0.12", 999999: "1", 1000000: "1", 1049999: "1", 1050000: "1.1", 2345678: "2.3", 9949999: "9.9",
		9950000: "10", 10500000: "11", 15499999: "15", 123456789: "123", 432000000000: "432000",
	} {
		if got := string(AppendDelay(nil, us*time.Microsecond)); got != want {
			t.Errorf("%d us: %s, not %s", us, got, want)
		}
	}
}

// TestDeliveryGolden takes delivery lines of a real Postfix apart and writes them
// again.
func TestDeliveryGolden(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "shared", "golden", "mail.log"))
	if err != nil {
		t.Skip("../shared/golden/mail.log is absent: ", err)
	}
	re := regexp.MustCompile(`\]: (\w+): to=<(.*?)>(?:, orig_to=<(.*?)>)?, relay=(.*?), delay=([0-9.]+), delays=([0-9./]+), dsn=(.*?), status=(\w+) \((.*)\)$`)
	n := 0
	for line := range strings.SplitSeq(string(b), "\n") {
		m := re.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		n++
		d := DeliveryLine{ID: m[1], To: m[2], OrigTo: m[3], Relay: m[4], Total: seconds(t, m[5]), DSN: m[7], Status: m[8], Text: m[9]}
		for i, p := range strings.Split(m[6], "/") {
			d.Parts[i] = seconds(t, p)
		}
		var out bytes.Buffer
		To(&out, Options{}).Program("x").Delivery(&d)
		_, got, _ := strings.Cut(strings.TrimSuffix(out.String(), "\n"), "]: ")
		if want := line[strings.Index(line, "]: ")+3:]; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if n < 70 {
		t.Errorf("only %d delivery lines", n)
	}
}

func seconds(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s + "s")
	if err != nil {
		t.Fatal(err)
	}
	return d
}
