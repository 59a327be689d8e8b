package grants

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"packetboat/internal/send/pipe"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/proc"
)

// deliverParams are the parameters that deliver reads, which an option of the
// service in master.cf may change.
var deliverParams = [...]string{"mail_spool_directory", "home_mailbox", "mailbox_size_limit", "virtual_mailbox_limit",
	"strict_mailbox_ownership", "stale_lock_time", "deliver_lock_attempts", "deliver_lock_delay", "myhostname",
	"mailbox_delivery_lock", "virtual_mailbox_lock"}

// DeliverOptions returns the options for the deliver processes of each service.
func DeliverOptions(services []config.Service) map[string][]string {
	out := map[string][]string{}
	for _, svc := range services {
		for _, o := range svc.Options {
			if svc.Type == "unix" && slices.Contains(deliverParams[:], o.Name) {
				out[svc.Name] = append(out[svc.Name], "-o", o.Name+"="+o.Value)
			}
		}
	}
	return out
}

// ReadPipes reads the pipe services of master.cf; the engine tells what is wrong
// with the others.
func ReadPipes(services []config.Service) map[string]*pipe.Attrs {
	out := map[string]*pipe.Attrs{}
	for _, svc := range services {
		if svc.Type == "unix" && svc.Command == "pipe" {
			if a, err := pipe.Parse(svc.Args); err == nil {
				out[svc.Name] = a
			}
		}
	}
	return out
}

// PipeUser returns the account of user= of a pipe service, which must be none of the mail system's
// and not root (pipe(8)).
func PipeUser(a *pipe.Attrs, lookup func(string) (*proc.User, error), owner string) (*proc.User, error) {
	u, err := lookup(a.User)
	if err != nil {
		return nil, fmt.Errorf("user= command-line attribute: unknown user name: %s", a.User)
	}
	gid := u.GID
	if a.Group != "" {
		if gid, err = proc.LookupGroup(a.Group); err != nil {
			return nil, fmt.Errorf("user= command-line attribute: unknown group name: %s", a.Group)
		}
	}
	switch {
	case os.Geteuid() != 0:
	case u.UID == 0:
		return nil, errors.New("user= command-line attribute specifies root privileges")
	case gid == 0:
		return nil, errors.New("user= command-line attribute specifies privileged group 0")
	case u.Name == owner:
		return nil, fmt.Errorf("user= command-line attribute specifies mail system owner %s", u.Name)
	}
	return &proc.User{Name: u.Name, UID: u.UID, GID: gid}, nil
}
