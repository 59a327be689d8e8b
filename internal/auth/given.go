package auth

import (
	"crypto/sha1"
	"fmt"
	"strconv"
	"strings"
)

// checkPasswords tells what is wrong with a value of auth_verbose_passwords.
func checkPasswords(value string) error {
	how, width, cut := strings.Cut(value, ":")
	n, err := strconv.Atoi(width)
	switch {
	case cut && (err != nil || n <= 0):
		return fmt.Errorf("auth_verbose_passwords: Invalid truncation number: %s", width)
	case how == "plain", how == "sha1", !cut && (how == "yes" || how == "no" || how == ""):
		return nil
	}
	return fmt.Errorf("auth_verbose_passwords: Invalid value: %s", value)
}

// given is what the log tells of a wrong password: nothing, unless
// auth_verbose_passwords asks for the password itself or for its SHA-1. A password
// that another user typed at the wrong prompt is in there, too: that is what the
// administrator chose.
func (a *Auth) given(password string) string {
	how, width, cut := strings.Cut(a.o.Passwords, ":")
	text := ""
	switch how {
	case "plain", "yes":
		text = "given password: "
	case "sha1":
		text, password = "SHA1 of given password: ", fmt.Sprintf("%x", sha1.Sum([]byte(password)))
	default:
		return ""
	}
	if n, err := strconv.Atoi(width); cut && err == nil && n < len(password) {
		password = password[:max(n, 0)]
	}
	return " (" + text + password + ")"
}
