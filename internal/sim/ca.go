package sim

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"
)

// An authority is the certificate authority of this process and the one
// certificate that all its servers show.
type authority struct {
	ca   *x509.Certificate
	leaf tls.Certificate
}

// theAuthority is made when the first TLS server starts, and kept.
var theAuthority = sync.OnceValues(newAuthority)

// CAPool returns the certificate pool that trusts the TLS servers of this
// process. It panics where no certificate can be made (no randomness).
func CAPool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(mustAuthority().ca)
	return pool
}

// CAPEM returns the authority's certificate as PEM, for programs that
// read it from a file (SSL_CERT_FILE). It panics as [CAPool] does.
func CAPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: mustAuthority().ca.Raw})
}

func mustAuthority() authority {
	a, err := theAuthority()
	if err != nil {
		panic(err)
	}
	return a
}

// serverCert returns the certificate for 127.0.0.1 and localhost.
func serverCert() (tls.Certificate, error) {
	a, err := theAuthority()
	return a.leaf, err
}

func newAuthority() (authority, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, fmt.Errorf("sim: make the authority's key: %w", err)
	}
	caTemplate := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "canary-verify simulated world"},
		NotBefore:             time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), // tests with a clock of their own begin in 2000
		NotAfter:              time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage:              x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	ca, err := sign(caTemplate, caTemplate, caKey, caKey)
	if err != nil {
		return authority{}, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return authority{}, fmt.Errorf("sim: make a server's key: %w", err)
	}
	leaf, err := sign(&x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "127.0.0.1"},
		NotBefore:    caTemplate.NotBefore,
		NotAfter:     caTemplate.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}, ca, key, caKey)
	if err != nil {
		return authority{}, err
	}
	return authority{ca: ca, leaf: tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}}, nil
}

// sign makes a certificate for key from the template, signed by parent.
func sign(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) (*x509.Certificate, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		return nil, fmt.Errorf("sim: sign a certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("sim: read back a certificate: %w", err)
	}
	return cert, nil
}
