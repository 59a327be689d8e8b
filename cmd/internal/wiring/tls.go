package wiring

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"

	"packetboat/internal/receive/smtpd"
	"packetboat/internal/route/table"
	"packetboat/internal/sys/cert"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/maillog"
)

// tlsParams are what a door itself needs to know of a service's TLS.
type tlsParams struct {
	Level      string   `main:"smtpd_tls_security_level"`
	UseTLS     bool     `main:"smtpd_use_tls"`
	Enforce    bool     `main:"smtpd_enforce_tls"`
	Wrapper    bool     `main:"smtpd_tls_wrappermode"`
	Cert       string   `main:"smtpd_tls_cert_file"`
	Key        string   `main:"smtpd_tls_key_file"`
	ECCert     string   `main:"smtpd_tls_eccert_file"`
	ECKey      string   `main:"smtpd_tls_eckey_file"`
	DCert      string   `main:"smtpd_tls_dcert_file"`
	DKey       string   `main:"smtpd_tls_dkey_file"`
	Chain      []string `main:"smtpd_tls_chain_files"`
	Protocols  []string `main:"smtpd_tls_protocols"`
	Mandatory  []string `main:"smtpd_tls_mandatory_protocols"`
	Ciphers    string   `main:"smtpd_tls_ciphers"`
	MustCipher string   `main:"smtpd_tls_mandatory_ciphers"`
	Exclude    []string `main:"smtpd_tls_exclude_ciphers"`
	MustExcl   []string `main:"smtpd_tls_mandatory_exclude_ciphers"`
	CurveGrade string   `main:"smtpd_tls_eecdh_grade"`
	Curves     []string `main:"tls_eecdh_auto_curves"`
	CAFile     string   `main:"smtpd_tls_CAfile"`
	CAPath     string   `main:"smtpd_tls_CApath"`
	DefaultCA  bool     `main:"tls_append_default_CA"`
	Depth      int      `main:"smtpd_tls_ccert_verifydepth"`
	AskCert    bool     `main:"smtpd_tls_ask_ccert"`
	NeedCert   bool     `main:"smtpd_tls_req_ccert"`
	SNI        []string `main:"tls_server_sni_maps"`
	SSLOptions []string `main:"tls_ssl_options"`
}

// ServerTLS opens a service's certificate, and the authorities for those of
// clients. Where TLS may but need not be, mail goes on without it and the log
// says why.
func (k *Kit) ServerTLS(m *config.Main, o *smtpd.Options, log *maillog.Log) (*tls.Config, *cert.Authorities, error) {
	var p tlsParams
	if err := m.Decode(&p); err != nil {
		return nil, nil, err
	}
	// Postfix's default begins with TLS 1.0, which RFC 8996 section 4 forbids to speak.
	// Who needs that for an old client says so in main.cf.
	for name, list := range map[string]*[]string{"smtpd_tls_protocols": &p.Protocols, "smtpd_tls_mandatory_protocols": &p.Mandatory} {
		if _, set := m.Raw(name); !set {
			*list = nil // cert.Options: TLS 1.2 and later
		}
	}
	// The old parameters count where the new one is empty (postconf(5)).
	if p.Level == "" && p.Enforce {
		p.Level = "encrypt"
	} else if p.Level == "" && p.UseTLS {
		p.Level = "may"
	}
	switch p.Level {
	case "", "none", "may", "encrypt":
	default: // smtpd(8) does the same with the levels of the client
		log.Warn("smtpd_tls_security_level: unsupported TLS level \"%s\", using \"encrypt\"", p.Level)
		p.Level = "encrypt"
	}
	o.TLSLevel = p.Level
	if (p.Level == "" || p.Level == "none") && !p.Wrapper {
		return nil, nil, nil
	}
	tc, err := k.loadCert(m, p, log)
	if err != nil && !p.Wrapper && p.Level == "may" {
		log.Warn("No server certs available. TLS won't be enabled: %s", err.Error())
		return nil, nil, nil
	}
	if err != nil || !p.AskCert && !p.NeedCert {
		return tc, nil, err
	}
	ca, err := cert.OpenAuthorities(p.CAFile, p.CAPath, p.Depth, p.DefaultCA)
	return tc, ca, err
}

// files are those of the server's certificates and keys.
func (p *tlsParams) files() (files []string) {
	if len(p.Chain) > 0 {
		return p.Chain
	}
	for _, pair := range [][2]string{{p.Cert, p.Key}, {p.ECCert, p.ECKey}, {p.DCert, p.DKey}} {
		if pair[0] == "" || pair[0] == "none" {
			continue
		}
		for _, f := range pair {
			if f != "" && !slices.Contains(files, f) {
				files = append(files, f)
			}
		}
	}
	return files
}

func (k *Kit) loadCert(m *config.Main, p tlsParams, log *maillog.Log) (*tls.Config, error) {
	files := p.files()
	if len(files) == 0 {
		return nil, fmt.Errorf("TLS is asked for, but smtpd_tls_cert_file is empty")
	}
	store, err := k.openCert(files, log)
	if err != nil {
		return nil, err
	}
	if err := k.serverNames(store, m, p.SNI, log); err != nil {
		return nil, err
	}
	o := cert.Options{Protocols: p.Protocols, Ciphers: p.Ciphers, Exclude: p.Exclude, CurveGrade: p.CurveGrade,
		AskClientCert: p.AskCert || p.NeedCert, // smtpd decides about those that come
		NoTickets:     slices.ContainsFunc(p.SSLOptions, func(s string) bool { return strings.EqualFold(s, "NO_TICKET") })}
	if p.Wrapper || p.Level == "encrypt" {
		o.Protocols, o.Ciphers, o.Exclude = p.Mandatory, p.MustCipher, append(p.Exclude, p.MustExcl...)
	}
	// The default list is Go's, but for curves that Go lacks.
	if !slices.Equal(p.Curves, strings.Fields("X25519 X448 prime256v1 secp521r1 secp384r1")) {
		o.Curves = p.Curves
	}
	return store.TLSConfig(o)
}

// openCert opens certificates and keeps an eye on their files and their end.
func (k *Kit) openCert(files []string, log *maillog.Log) (*cert.Store, error) {
	store, err := cert.OpenWith(k.ReadKey, files...)
	if err != nil {
		return nil, err
	}
	go store.Watch(context.Background(), func(err error) {
		if err != nil {
			log.Warn("certificate not renewed: %s", err.Error())
		} else {
			log.Info("certificate %s renewed", files[0])
		}
	})
	go store.WatchExpiry(context.Background(), func(name string, left time.Duration) {
		if left < 0 {
			log.Warn("certificate %s of %s expired %d days ago", files[0], name, -left/(24*time.Hour))
		} else {
			log.Warn("certificate %s of %s expires in %d days", files[0], name, left/(24*time.Hour))
		}
	})
	return store, nil
}

// serverNames opens the certificates of tls_server_sni_maps: a name, or .domain
// for all below it, and the files of its chain. They are all read at the start,
// so that no client can make this process open files.
func (k *Kit) serverNames(store *cert.Store, m *config.Main, specs []string, log *maillog.Log) error {
	names := map[string]*cert.Store{}
	topts := k.Tables(m)
	topts.Missing = nil
	for _, spec := range specs {
		t, err := table.Open(spec, topts)
		if err != nil {
			return fmt.Errorf("tls_server_sni_maps: %w", err)
		}
		list, ok := t.(table.Lister)
		if !ok {
			return fmt.Errorf("tls_server_sni_maps: %s cannot be listed: use hash, texthash, btree or lmdb", spec)
		}
		err = list.All(func(name, value string) error {
			s, err := k.openCert(strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }), log)
			if err == nil {
				names[strings.ToLower(name)] = s
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("tls_server_sni_maps: %w", err)
		}
	}
	if len(names) > 0 {
		store.SetSNI(func(name string) *cert.Store {
			if s := names[name]; s != nil {
				return s
			}
			if _, parent, ok := strings.Cut(name, "."); ok {
				return names["."+parent]
			}
			return nil
		})
	}
	return nil
}

// SNIFiles returns the files that tls_server_sni_maps of m names, for whoever
// opens them in the engine's place.
func SNIFiles(m *config.Main) (files []string) {
	var p tlsParams
	if m.Decode(&p) != nil {
		return nil
	}
	for _, spec := range p.SNI {
		t, err := table.Open(spec, table.Options{Param: param(m)})
		if err != nil {
			continue // the engine says so
		}
		if list, ok := t.(table.Lister); ok {
			list.All(func(_, value string) error {
				files = append(files, strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' })...)
				return nil
			})
		}
	}
	return files
}
