package wiring

import (
	"math"
	"net"
	"net/netip"
	"strings"

	"packetboat/internal/send/remote"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/disk"
	"packetboat/internal/sys/maillog"
)

// clientLog is where warnings about a client's configuration go.
func (k *Kit) clientLog() *maillog.Log { return k.Logs.Program("qmgr") }

// readKey reads a file that this process may not be able to read.
func (k *Kit) readKey(path string) ([]byte, error) {
	if k.ReadKey != nil {
		return k.ReadKey(path)
	}
	return disk.ReadFile(path)
}

// lmtpNames are the parameters of smtp(8) whose twins of lmtp(8) are decoded
// into the same options.
var lmtpNames = [...]string{"connect_timeout", "helo_timeout", "mail_timeout", "rcpt_timeout", "data_init_timeout",
	"data_xfer_timeout", "data_done_timeout", "quit_timeout", "mx_address_limit", "mx_session_limit", "line_length_limit",
	"address_preference", "bind_address", "bind_address6", "skip_5xx_greeting",
	"starttls_timeout", "tls_security_level", "tls_wrappermode", "tls_loglevel", "tls_protocols", "tls_mandatory_protocols",
	"tls_exclude_ciphers", "tls_mandatory_exclude_ciphers", "tls_verify_cert_match", "tls_secure_cert_match",
	"tls_fingerprint_cert_match", "tls_fingerprint_digest", "tls_scert_verifydepth", "tls_servername", "tls_policy_maps",
	"tls_per_site", "tls_trust_anchor_file", "tls_CAfile", "tls_CApath", "tls_cert_file", "tls_key_file", "tls_chain_files",
	"use_tls", "enforce_tls", "tls_enforce_peername", "sasl_auth_enable", "sasl_password_maps", "sasl_security_options",
	"sasl_tls_security_options", "sasl_tls_verified_security_options", "sasl_mechanism_filter", "sasl_type",
	"sasl_auth_soft_bounce", "sasl_auth_cache_name", "sasl_auth_cache_time", "sender_dependent_authentication", "rset_timeout", "xforward_timeout",
	"address_verify_target", "send_dummy_mail_auth", "cname_overrides_servername", "per_request_deadline", "min_data_rate",
	"tls_note_starttls_offer", "connection_cache_time_limit", "connection_reuse_time_limit", "connection_reuse_count_limit",
	"connection_cache_on_demand", "connection_cache_destinations", "fallback_relay", "tls_eccert_file", "tls_eckey_file"}

// Client returns the options of the smtp or lmtp service svc; m is main.cf with its
// own options.
func (k *Kit) Client(svc config.Service, m *config.Main) (o remote.Options, err error) {
	o.LMTP = svc.Command == "lmtp"
	if o.LMTP {
		var over []config.Setting
		for _, n := range lmtpNames {
			over = append(over, config.Setting{Name: "smtp_" + n, Value: m.Get("lmtp_" + strings.Replace(n, "helo", "lhlo", 1))})
		}
		m = m.With(over...)
	}
	if err := Decode(m, &o, &o.Cache); err != nil {
		return o, err
	}
	o.Log, o.Own = k.Logs, ownAddrs
	if err := k.tables(m, &o); err != nil {
		return o, err
	}
	if err := k.security(m, &o); err != nil {
		return o, err
	}
	k.trust(m, &o)
	if o.LineLimit == 0 { // postconf(5): 0 switches the limit off; in Options it is the default
		o.LineLimit = math.MaxInt
	}
	o.Program = ProgramName(k.Main, m, svc.Command)
	return o, nil
}

// trust has the client hold hosts against what their domains declare.
func (k *Kit) trust(m *config.Main, o *remote.Options) {
	if k.STS != nil && m.Get("smtp_tls_mta_sts") == "yes" {
		o.STS = k.STS
		if strings.EqualFold(o.TLSLevel, "none") && o.TLSPolicy == nil {
			k.clientLog().Warn("smtp_tls_mta_sts = yes means nothing without TLS: set smtp_tls_security_level = may")
		}
	}
	if k.TLSCount != nil && m.Get("smtp_tlsrpt_enable") == "yes" {
		o.Count, o.ReportFrom = k.TLSCount, k.TLSReports
	}
}

// ownAddrs returns the addresses of this machine, to find mail that comes back
// to us through the MX of another domain.
func ownAddrs() (out []netip.Addr) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			out = append(out, p.Addr().Unmap())
		}
	}
	return out
}
