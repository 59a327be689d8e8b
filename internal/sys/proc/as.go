package proc

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Account is whose rights As takes.
type Account struct {
	UID    int   `json:"uid"`
	GID    int   `json:"gid"`
	Groups []int `json:"groups,omitempty"` // further ones
}

// Switcher lets a process act on files in the name of other accounts, one thread
// at a time: for setfsuid(2) each thread has its own answer to who it is. The
// process itself stays who it is, so nobody it works for can send it a signal or
// look into its memory. It needs CAP_SETUID and CAP_SETGID, which Role.Switch
// gives, and no other right: with neither CAP_DAC_OVERRIDE nor CAP_SYS_RESOURCE
// an account's permissions and quotas bind us as they bind the account.
type Switcher struct {
	own  Account
	able bool
}

// NewSwitcher returns the Switcher of this process. Without the capabilities it
// works for the account that the process has.
func NewSwitcher() (*Switcher, error) {
	groups, err := unix.Getgroups()
	if err != nil {
		return nil, os.NewSyscallError("getgroups", err)
	}
	var data [2]unix.CapUserData // version 3 has two
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&head, &data[0]); err != nil {
		return nil, os.NewSyscallError("capget", err)
	}
	const need = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID
	return &Switcher{own: Account{os.Geteuid(), os.Getegid(), groups}, able: data[0].Effective&need == need}, nil
}

// As runs fn with the rights on files of a. Only what fn does in its own
// goroutine has them. The error says that fn was not run. A panic of fn passes
// through. When the way back fails the program ends: nothing more may happen in
// the wrong name.
func (s *Switcher) As(a Account, fn func()) error {
	if !s.able {
		if a.UID != s.own.UID {
			return fmt.Errorf("cannot act as uid %d: only root changes users", a.UID)
		}
		fn()
		return nil
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer func() {
		if err := become(s.own); err != nil {
			os.Exit(exitLost)
		}
	}()
	if err := become(a); err != nil {
		return err
	}
	fn()
	return nil
}

// exitLost is the exit code of a process that could not become itself again
// (EX_OSERR of sysexits.h).
const exitLost = 71

// errNotBecome says that a system call had no effect; setfsuid(2) does not tell.
var errNotBecome = errors.New("setfsuid and setfsgid had no effect")

// become changes what the calling thread may do with files.
func become(a Account) error {
	if err := unix.Setgroups(a.Groups); err != nil {
		return os.NewSyscallError("setgroups", err)
	}
	// The second call returns what the first one left. Errors are told so only.
	unix.SetfsgidRetGid(a.GID)
	gid, _ := unix.SetfsgidRetGid(a.GID)
	unix.SetfsuidRetUid(a.UID)
	uid, _ := unix.SetfsuidRetUid(a.UID)
	if gid != a.GID || uid != a.UID {
		return errNotBecome
	}
	return nil
}
