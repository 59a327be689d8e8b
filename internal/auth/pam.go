package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// PAM asks the system's authentication modules. Package auth/pamcall
// implements it through the program pamcheck; tests have their own.
type PAM interface {
	// Check asks whether password is user's. A nil error with OK false is a
	// refusal; an error means that nobody could be asked.
	Check(ctx context.Context, service, user, password, rip string) (PAMResult, error)
}

// PAMResult is what PAM said.
type PAMResult struct {
	OK   bool
	User string // as PAM_USER stands afterwards: a module may change it
	Step string // the call that failed: pam_authenticate, pam_acct_mgmt ...
	Code int    // its PAM return value
	Text string // pam_strerror(3) of it
}

// Return values of PAM that mean something here (Linux-PAM's _pam_types.h).
const (
	pamOpenErr     = 1
	pamSymbolErr   = 2
	pamServiceErr  = 3
	pamSystemErr   = 4
	pamBufErr      = 5
	pamNoAuthInfo  = 9
	pamAbort       = 26
	pamNoModule    = 28
	pamAuthErr     = 7
	pamUserUnknown = 10
	pamAcctExpired = 13
	pamAuthtokOld  = 12
)

// pamDB is the pam driver.
type pamDB struct {
	service string
	pam     PAM
}

func newPAMDB(args string, pam PAM) (*pamDB, error) {
	if pam == nil {
		return nil, errors.New("PAM is not available: the program pamcheck is missing")
	}
	service, err := pamService(args)
	return &pamDB{service, pam}, err
}

// pamService reads the args: options, then the service's name, "*" or "%s" for
// the protocol's, "dovecot" without one. Options that open PAM sessions are an
// error: mail processes are none of PAM's here.
func pamService(args string) (string, error) {
	service := "dovecot"
	for _, word := range strings.Fields(args) {
		key, value, option := strings.Cut(word, "=")
		switch {
		case key == "cache_key" || key == "max_requests" || word == "-session" || value == "no":
			// They spare Dovecot work, or ask for nothing.
		case option || word == "session" || word == "setcred":
			return "", fmt.Errorf("args: %s is not supported", word)
		default:
			service = word
		}
	}
	if service == "*" {
		service = "%s"
	}
	return service, nil
}

func (p *pamDB) name() string { return "pam" }

// errNoLookup is the answer of a passdb that shows no passwords.
var errNoLookup = errors.New("this passdb cannot look users up without their password")

func (p *pamDB) lookup(context.Context, *Query) (*account, error) { return nil, errNoLookup }

func (p *pamDB) verify(ctx context.Context, q *Query, password string) (Fields, error) {
	r, err := p.pam.Check(ctx, Expand(p.service, q), q.User, password, q.Remote)
	switch {
	case err != nil:
		return nil, err
	case r.OK && r.User != "" && r.User != q.User:
		return Fields{"user": r.User}, nil
	case r.OK:
		return Fields{}, nil
	}
	text := r.Step + "() failed: " + r.Text
	switch r.Code {
	case pamUserUnknown:
		return nil, errUnknown
	case pamAuthErr:
		return nil, &refusal{text: text + " (Password mismatch?)"}
	case pamAcctExpired, pamAuthtokOld:
		return nil, &refusal{text, "pass_expired"}
	case pamOpenErr, pamSymbolErr, pamServiceErr, pamSystemErr, pamBufErr, pamNoAuthInfo, pamAbort, pamNoModule:
		return nil, errors.New(text)
	}
	// PAM_MAXTRIES, PAM_PERM_DENIED and the like are a no. A temporary failure
	// would spare whoever guesses passwords the delay.
	return nil, &refusal{text: text}
}
