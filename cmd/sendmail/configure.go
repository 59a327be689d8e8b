package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"packetboat/internal/sys/config"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/proc"
)

// configure finds and reads main.cf. dir is the value of -C, which wins over
// MAIL_CONFIG.
func (p *program) configure(dir string) {
	p.dir = os.Getenv("MAIL_CONFIG")
	if dir != "" {
		// Sendmail's -C names a file.
		if filepath.Base(dir) == "main.cf" {
			dir = filepath.Dir(dir)
		}
		p.dir = dir
	}
	if p.dir == "" {
		p.dir = config.DefaultDir
	}
	if filepath.Clean(p.dir) != config.DefaultDir {
		p.authorize()
	}
	conf, _, err := config.LoadMain(p.dir)
	if err != nil {
		p.fatal("%s", reason(err))
	}
	p.conf = conf
	if err := os.Chdir(conf.Get("queue_directory")); err != nil {
		p.fatal("%s", reason(err))
	}
	p.user, err = proc.LookupUID(os.Getuid())
	if err != nil {
		p.fatal("no login name found for user ID %d", os.Getuid())
	}
}

// reason writes an error of os as "open /etc/postfix/main.cf: no such file".
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Op + " " + pe.Path + ": " + pe.Err.Error()
	}
	return err.Error()
}

// authorize refuses a configuration directory that is not the system's,
// unless the administrator lists it, root asks, or it is the caller's own: then
// nothing in it can reach further than the caller does.
func (p *program) authorize() {
	if os.Geteuid() == 0 {
		p.private = p.ownedBy(0)
		return
	}
	if sys, _, err := config.LoadMain(""); err == nil {
		list := config.Fields(sys.Get("alternate_config_directories") + " " + sys.Get("multi_instance_directories"))
		if slices.Contains(list, p.dir) {
			return
		}
	}
	if p.private = p.ownedBy(os.Geteuid()); p.private {
		return
	}
	p.say("error: ", "unauthorized configuration directory name: %s", p.dir)
	p.fatal(`specify "alternate_config_directories = %s" or "multi_instance_directories = %s" in %s/main.cf`,
		p.dir, p.dir, config.DefaultDir)
}

// ownedBy tells whether the directory's main.cf is a plain file of that user.
func (p *program) ownedBy(uid int) bool {
	f, err := disk.OpenTrusted(filepath.Join(p.dir, "main.cf"), os.O_RDONLY, uid)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// find returns the path of a program of ours. In a private system the one
// beside this executable comes first, unless it is set-id: that one knows only
// the system's configuration.
func (p *program) find(name string) string {
	installed := filepath.Join(p.conf.Get("command_directory"), name)
	beside := ""
	if self, err := os.Executable(); err == nil {
		beside = filepath.Join(filepath.Dir(self), name)
	}
	if fi, err := os.Stat(beside); err == nil {
		if p.private && fi.Mode()&(fs.ModeSetgid|fs.ModeSetuid) == 0 {
			return beside
		}
		if _, err := os.Stat(installed); err != nil {
			return beside
		}
	}
	return installed
}

// environment returns what a program of ours is started with.
func (p *program) environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "MAIL_CONFIG=") })
	return append(env, "MAIL_CONFIG="+p.dir)
}

// replace runs another program in our place and returns its exit code.
func (p *program) replace(name string, args ...string) int {
	path := p.find(name)
	argv := []string{name}
	argv = append(argv, args...)
	code, err := proc.Run(context.Background(), proc.Role{Path: path, Args: argv, Env: p.environment(),
		Dir: p.conf.Get("queue_directory"), Stdin: os.Stdin, Stdout: p.stdout, Stderr: p.stderr})
	if err != nil {
		p.fatal("execvp %s: %s", path, reason(err))
	}
	return code
}
