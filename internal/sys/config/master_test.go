package config

import (
	"reflect"
	"testing"
	"time"
)

func TestMaster(t *testing.T) {
	text := "# comment\nsmtp inet n - y - - smtpd -vo a=b\n  # inside\n -o { c = d  e } -o{f=g} -v\n" +
		"pickup unix n - - 60? 1 pickup\nx unix - n n - 0 pipe\n flags=R argv=/bin/x ${sender} {a b}\n[::1]:25 inet n - - - 7 smtpd\n"
	list, warns, err := ParseMaster("/d/master.cf", text)
	if err != nil || len(warns) != 0 || len(list) != 4 {
		t.Fatal(err, warns, list)
	}
	want := []Setting{{"a", "b", "/d/master.cf", 2}, {"c", "d  e", "/d/master.cf", 2}, {"f", "g", "/d/master.cf", 2}}
	if s := list[0]; !reflect.DeepEqual(s.Options, want) || s.Verbose != 2 || s.Private || !s.Chroot || s.MaxProc != -1 || s.ID() != "smtp/inet" {
		t.Errorf("%+v", s)
	}
	if s := list[1]; s.Wakeup != time.Minute || !s.WakeupIfUsed || s.MaxProc != 1 {
		t.Errorf("%+v", s)
	}
	if s := list[2]; !reflect.DeepEqual(s.Args, []string{"flags=R", "argv=/bin/x", "${sender}", "a b"}) || s.MaxProc != 0 || !s.Private {
		t.Errorf("%+v", s)
	}
	if host, port := list[3].HostPort(); host != "::1" || port != "25" {
		t.Error(host, port)
	}
}

func TestMasterErrors(t *testing.T) {
	for text, want := range map[string]string{
		"smtp inet n - y - -\n":          "/d/master.cf:1: bad field count: 7 of 8 columns",
		"\nsmtp foo n - y - - smtpd\n":   "/d/master.cf:2: invalid type field \"foo\" in \"smtp foo n - y - - smtpd\"",
		"smtp inet n - yes - - smtpd\n":  "/d/master.cf:1: invalid chroot field \"yes\" in \"smtp inet n - yes - - smtpd\"",
		"smtp inet n - y 1m - smtpd\n":   "/d/master.cf:1: invalid wakeup field \"1m\" in \"smtp inet n - y 1m - smtpd\"",
		"smtp inet n - y - many smtpd\n": "/d/master.cf:1: invalid process_limit field \"many\" in \"smtp inet n - y - many smtpd\"",
	} {
		if _, _, err := ParseMaster("/d/master.cf", text); err == nil || err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	_, w, err := ParseMaster("/d/master.cf", "a unix - - - - - b -o {x\na unix - - - - - b\n")
	if err != nil || len(w) != 3 {
		t.Error(w, err)
	}
}
