package auth

import (
	"errors"
	"slices"
	"strings"
)

// The drivers, for people.
const (
	passdbDrivers = "passwd-file, static, pam, shadow, sql, ldap, oauth2"
	userdbDrivers = "passwd-file, static, passwd, prefetch, sql, ldap"
)

// Mechanisms names the mechanisms, for people.
const Mechanisms = "plain, login, cram-md5, scram-sha-1, scram-sha-256, oauthbearer, xoauth2"

// Drivers names the drivers of passdb or userdb, whichever kind is.
func Drivers(kind string) string {
	if kind == "userdb" {
		return userdbDrivers
	}
	return passdbDrivers
}

var errDriver = errors.New("unknown driver")

// CheckPassdb tells what New would refuse of a passdb {} block, without opening
// any file: mrad's parent, which must not, says it with the place.
func (d DB) CheckPassdb() error {
	if !slices.Contains(strings.Split(passdbDrivers, ", "), d.Driver) {
		return errDriver
	}
	if err := d.check("authenticated", "unauthenticated"); err != nil {
		return err
	}
	if d.Driver != "pam" {
		return d.checkArgs()
	}
	_, err := pamService(d.Args)
	return err
}

// CheckUserdb is CheckPassdb for a userdb {} block.
func (d DB) CheckUserdb() error {
	if !slices.Contains(strings.Split(userdbDrivers, ", "), d.Driver) {
		return errDriver
	}
	if err := d.check("found", "notfound"); err != nil {
		return err
	}
	return d.checkArgs()
}

func (d DB) checkArgs() error {
	if slices.Contains([]string{"passwd-file", "sql", "ldap", "oauth2"}, d.Driver) && d.Args == "" {
		return errNoFile
	}
	return nil
}

// CheckPasswords tells what New would refuse of auth_verbose_passwords.
func CheckPasswords(value string) error { return checkPasswords(value) }

// KnowsMechanism tells whether auth_mechanisms may hold name.
func KnowsMechanism(name string) bool {
	_, ok := mechanismNamed(strings.ToUpper(name))
	return ok
}
