package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"time"

	"github.com/spf13/pflag"

	"packetboat/internal/sys/disk"
)

// selfSignedDays is how long a self-signed certificate is good for.
const selfSignedDays = 825

// runSelfSigned makes a certificate that nobody has vouched for, so that a new
// machine speaks TLS from its first minute:
//
//	mailadm self-signed --name HOST [--name HOST] --cert FILE --key FILE
func runSelfSigned(args []string, _ io.Reader, stdout, stderr io.Writer) int {
	fs := pflag.NewFlagSet("self-signed", pflag.ContinueOnError)
	fs.SetOutput(stderr)
	names := fs.StringArray("name", nil, "host name or address, the first one is the subject")
	certFile := fs.String("cert", "", "file for the certificate")
	keyFile := fs.String("key", "", "file for the private key, mode 0600")
	if err := fs.Parse(args); err != nil || len(*names) == 0 || *certFile == "" || *keyFile == "" {
		fmt.Fprintln(stderr, "error: usage: mailadm self-signed --name HOST [--name HOST] --cert FILE --key FILE")
		return 64
	}
	cert, key, err := selfSigned(*names)
	if err == nil {
		// The key first: a certificate without its key would be of no use to anyone.
		err = errors.Join(disk.WriteFile(*keyFile, key, 0o600), disk.WriteFile(*certFile, cert, 0o644))
	}
	if err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	fmt.Fprintf(stdout, "%s: self-signed certificate for %s, good for %d days\n", *certFile, (*names)[0], selfSignedDays)
	return 0
}

// selfSigned returns certificate and key in PEM. The key is ECDSA P-256: small,
// fast, and known to every client of the last fifteen years.
func selfSigned(names []string) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: names[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, selfSignedDays),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		// Clients that are told to trust this one certificate want it to be its own authority.
		BasicConstraintsValid: true, IsCA: true,
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}
