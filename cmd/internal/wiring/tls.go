package wiring

import (
	"context"
	"crypto/tls"
	"fmt"

	"packetboat/internal/receive/smtpd"
	"packetboat/internal/sys/cert"
	"packetboat/internal/sys/config"
	"packetboat/internal/sys/maillog"
)

// tlsParams are what a door itself needs to know of a service's TLS.
type tlsParams struct {
	Level     string   `main:"smtpd_tls_security_level"`
	UseTLS    bool     `main:"smtpd_use_tls"`
	Enforce   bool     `main:"smtpd_enforce_tls"`
	Wrapper   bool     `main:"smtpd_tls_wrappermode"`
	Cert      string   `main:"smtpd_tls_cert_file"`
	Key       string   `main:"smtpd_tls_key_file"`
	Chain     []string `main:"smtpd_tls_chain_files"`
	Protocols []string `main:"smtpd_tls_protocols"`
	Mandatory []string `main:"smtpd_tls_mandatory_protocols"`
	AskCert   bool     `main:"smtpd_tls_ask_ccert"`
	NeedCert  bool     `main:"smtpd_tls_req_ccert"`
}

// ServerTLS opens a service's certificate. Where TLS may but need not be, mail
// goes on without it and the log says why.
func (k *Kit) ServerTLS(m *config.Main, o *smtpd.Options, log *maillog.Log) (*tls.Config, error) {
	var p tlsParams
	if err := m.Decode(&p); err != nil {
		return nil, err
	}
	// The old parameters count where the new one is empty (postconf(5)).
	if p.Level == "" && p.Enforce {
		p.Level = "encrypt"
	} else if p.Level == "" && p.UseTLS {
		p.Level = "may"
	}
	o.TLSLevel = p.Level
	if (p.Level == "" || p.Level == "none") && !p.Wrapper {
		return nil, nil
	}
	tc, err := k.loadCert(p, log)
	if err != nil && !p.Wrapper && p.Level == "may" {
		log.Warn("No server certs available. TLS won't be enabled: %s", err.Error())
		return nil, nil
	}
	return tc, err
}

func (k *Kit) loadCert(p tlsParams, log *maillog.Log) (*tls.Config, error) {
	files := p.Chain
	if len(files) == 0 {
		if p.Cert == "" || p.Cert == "none" {
			return nil, fmt.Errorf("TLS is asked for, but smtpd_tls_cert_file is empty")
		}
		files = []string{p.Cert}
		if p.Key != "" && p.Key != p.Cert {
			files = append(files, p.Key)
		}
	}
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
	protocols := p.Protocols
	if p.Wrapper || p.Level == "encrypt" {
		protocols = p.Mandatory
	}
	return store.TLSConfig(cert.Options{Protocols: protocols, AskClientCert: p.AskCert, NeedClient: p.NeedCert})
}
