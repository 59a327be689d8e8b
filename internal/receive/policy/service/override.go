package service

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// override reads "name, option=value, { option = value } ...", where option is a
// parameter's name without "smtpd_policy_service_" (attr_override(3)), and
// returns the server's name.
func (c *Client) override(text string) (string, error) {
	words := split(text)
	if len(words) == 0 {
		return "", fmt.Errorf("empty policy service: \"{%s}\"", text)
	}
	for _, w := range words[1:] {
		if inner, ok := strings.CutPrefix(w, "{"); ok {
			w = strings.TrimSuffix(inner, "}")
		}
		name, value, ok := strings.Cut(w, "=")
		if !ok {
			return "", fmt.Errorf("malformed option: missing '=' after attribute name: %q", w)
		}
		if err := c.set(strings.TrimSpace(name), strings.TrimSpace(value)); err != nil {
			return "", err
		}
	}
	return words[0], nil
}

func (c *Client) set(name, value string) (err error) {
	switch name {
	case "timeout":
		c.Timeout, err = duration(value)
	case "max_idle":
		c.MaxIdle, err = duration(value)
	case "max_ttl":
		c.MaxTTL, err = duration(value)
	case "retry_delay":
		c.RetryDelay, err = duration(value)
	case "request_limit":
		c.RequestLimit, err = number(value, 0)
	case "try_limit":
		c.TryLimit, err = number(value, 1)
	case "default_action":
		c.DefaultAction = value
	case "policy_context":
		c.Context = value
	default:
		return fmt.Errorf("unknown option: \"%s = %s\"", name, value)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// duration reads a time with its unit, seconds without one; 1 second at least.
func duration(v string) (time.Duration, error) {
	unit := time.Second
	if n := len(v); n > 0 {
		if u, ok := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[v[n-1]]; ok {
			unit, v = u, v[:n-1]
		}
	}
	n, err := number(v, 1)
	if err != nil || time.Duration(n) > (1<<62)/unit {
		return 0, fmt.Errorf("bad time value or unit: %s", v)
	}
	return time.Duration(n) * unit, nil
}

func number(v string, least int) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < least || n > 1<<31-1 {
		return 0, fmt.Errorf("bad numerical configuration: %s", v)
	}
	return n, nil
}

// split cuts at commas and blanks outside of { }.
func split(s string) (out []string) {
	depth, from := 0, -1
	for i := 0; i <= len(s); i++ {
		end := i == len(s) || depth == 0 && strings.IndexByte(", \t\r\n", s[i]) >= 0
		switch {
		case end && from >= 0:
			out, from = append(out, s[from:i]), -1
		case !end && from < 0:
			from = i
		}
		if i < len(s) && s[i] == '{' {
			depth++
		} else if i < len(s) && s[i] == '}' && depth > 0 {
			depth--
		}
	}
	return out
}
