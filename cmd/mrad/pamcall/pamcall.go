// Package pamcall asks PAM for mrad's auth process through the program pamcheck,
// the one of the house that links C.
package pamcall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"packetboat/internal/auth"
	"packetboat/internal/sys/proc"
)

// Caller asks PAM through the program pamcheck, at most pamAtOnce at a time.
type Caller struct {
	path string
	slot chan struct{}
}

// Limits of PAM: a module may hang, and each call is a process of some MB.
const (
	pamTimeout = 60 * time.Second
	pamAtOnce  = 16
)

// New returns a Caller, or an error where there is no pamcheck beside the program.
func New() (*Caller, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(filepath.Dir(self), "pamcheck")
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	return &Caller{path, make(chan struct{}, pamAtOnce)}, nil
}

// Check implements auth.PAM. The password goes through a pipe: arguments and
// environment can be read by others.
func (p *Caller) Check(ctx context.Context, service, user, password, rip string) (auth.PAMResult, error) {
	var none auth.PAMResult
	ctx, cancel := context.WithTimeout(ctx, pamTimeout)
	defer cancel()
	select {
	case p.slot <- struct{}{}:
		defer func() { <-p.slot }()
	case <-ctx.Done():
		return none, errors.New("too many PAM conversations at once")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return none, err
	}
	defer r.Close()
	// Less than a pipe's buffer: the write does not wait for pamcheck.
	_, err = w.WriteString(service + "\x00" + user + "\x00" + rip + "\x00" + password + "\x00")
	w.Close()
	if err != nil {
		return none, err
	}
	var out bytes.Buffer
	code, err := proc.Run(ctx, proc.Role{Path: p.path, Args: []string{"pamcheck"}, Env: proc.CleanEnv(), Stdin: r, Stdout: &out, Stderr: os.Stderr})
	if err != nil {
		return none, fmt.Errorf("pamcheck: %w", err)
	}
	return parsePAM(code, out.String())
}

// parsePAM reads pamcheck's answer: "ok USER" or "fail STEP CODE TEXT".
func parsePAM(code int, out string) (auth.PAMResult, error) {
	line, _, _ := strings.Cut(out, "\n")
	f := strings.SplitN(line, " ", 4)
	switch {
	case code == 0 && f[0] == "ok" && len(f) >= 2:
		return auth.PAMResult{OK: true, User: strings.TrimPrefix(line, "ok ")}, nil
	case code == 0 && f[0] == "fail" && len(f) == 4:
		n, err := strconv.Atoi(f[2])
		return auth.PAMResult{Step: f[1], Code: n, Text: f[3]}, err
	}
	return auth.PAMResult{}, fmt.Errorf("pamcheck ended with %d", code)
}
