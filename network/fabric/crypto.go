package fabric

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// cryptogen makes the organisations: authorities, peers, administrators. What it cannot make is issued here from
// the authorities that it wrote: identities with a common name of our choice (nodes), with the role of an orderer in
// an organisation that has peers too, and TLS clients.

// issuedYears is how long certificates issued here last. cryptogen's last ten years as well.
const issuedYears = 10

func makeCrypto(ctx context.Context, n *Network) error {
	done := n.path("crypto", "done")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	// What an interrupted run left would be mixed with new keys.
	if err := os.RemoveAll(n.path("crypto")); err != nil {
		return err
	}
	if err := os.MkdirAll(n.path("crypto"), 0o700); err != nil {
		return err
	}
	config := n.path("crypto", "cryptogen.yaml")
	if err := render(config, "cryptogen.yaml.tmpl", struct {
		Orgs []Org
		Bind string
	}{n.Orgs(), n.Spec().Bind}); err != nil {
		return err
	}
	if _, err := run(ctx, n.Spec().Dir, nil, n.bin("cryptogen"), "generate", "--config", config, "--output", n.path("crypto")); err != nil {
		return err
	}
	for _, o := range n.Orgs() {
		if err := n.issueFor(o); err != nil {
			return fmt.Errorf("%s: %w", o.ID, err)
		}
	}
	for _, o := range n.orderers {
		if err := n.ordererMSP(o); err != nil {
			return fmt.Errorf("%s: %w", o.Name, err)
		}
	}
	// Commit point: with this file the keys are complete; without it the whole folder is made anew, which no ledger
	// can have seen, since the channel is made after it.
	return writeFile(done, nil, 0o600)
}

func (n *Network) issueFor(o Org) error {
	members, err := loadAuthority(filepath.Join(o.Dir(), "ca"))
	if err != nil {
		return err
	}
	transport, err := loadAuthority(filepath.Join(o.Dir(), "tlsca"))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(n.path("crypto", "issued", o.ID), 0o700); err != nil {
		return err
	}
	names := []string{"localhost", n.Spec().Bind}
	err = errors.Join(
		members.issue(o.Node(), subject{cn: o.ID, role: "client"}),
		transport.issue(o.AdminTLS(), subject{cn: o.host("admin"), client: true}),
		transport.issue(o.issued("chaincode-tls", ""), subject{cn: o.host("chaincode"), server: true, names: names}),
		transport.issue(o.issued("chaincode-client", ""), subject{cn: o.host("peer"), client: true}),
	)
	for _, ord := range n.orderers {
		if ord.Org != o.ID {
			continue
		}
		err = errors.Join(err,
			members.issue(ord.identity(), subject{cn: o.host(ord.Name), role: "orderer"}),
			transport.issue(ord.tls(), subject{cn: o.host(ord.Name), server: true, client: true, names: names}))
	}
	return err
}

// ordererMSP lays out the folder that an orderer reads its identity from: the organisation's definition and a key.
func (n *Network) ordererMSP(o *Orderer) error {
	dir := o.mspDir()
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.CopyFS(dir, os.DirFS(o.org.MSPDir())); err != nil {
		return err
	}
	id := o.identity()
	for from, to := range map[string]string{id.Cert: "signcerts/cert.pem", id.Key: "keystore/priv_sk"} {
		raw, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, to)), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, to), raw, 0o600); err != nil {
			return err
		}
	}
	return nil
}

type authority struct {
	cert *x509.Certificate
	key  any
}

// loadAuthority reads a certificate authority as cryptogen writes it.
func loadAuthority(dir string) (*authority, error) {
	found, err := filepath.Glob(filepath.Join(dir, "*-cert.pem"))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("%s holds %d certificates, want one", dir, len(found))
	}
	cert, err := readCert(found[0])
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(dir, "priv_sk"))
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM", filepath.Join(dir, "priv_sk"))
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	return &authority{cert, key}, err
}

func readCert(path string) (*x509.Certificate, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fmt.Errorf("%s: no certificate", path)
	}
	return x509.ParseCertificate(block.Bytes)
}

// subject is whom a certificate is for and what for.
type subject struct {
	cn             string
	role           string // organisational unit by which Fabric tells clients, peers and orderers apart
	server, client bool   // of TLS
	names          []string
}

func (a *authority) issue(to Identity, s subject) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{Country: []string{"CN"}, CommonName: s.cn},
		NotBefore:             now.Add(-5 * time.Minute), // another machine's clock may be behind
		NotAfter:              now.AddDate(issuedYears, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	// Fabric judges a chain at the moment at which its certificate begins, so the authority's must have begun by
	// then; cryptogen rounds an authority's beginning to the minute, perhaps up.
	if t.NotBefore.Before(a.cert.NotBefore) {
		t.NotBefore = a.cert.NotBefore
	}
	if t.NotAfter.After(a.cert.NotAfter) {
		t.NotAfter = a.cert.NotAfter
	}
	if s.role != "" {
		t.Subject.OrganizationalUnit = []string{s.role}
	}
	if s.server {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		t.DNSNames = []string{s.cn}
	}
	if s.client {
		t.ExtKeyUsage = append(t.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	for _, name := range s.names {
		if ip := net.ParseIP(name); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(to.Cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644),
		os.WriteFile(to.Key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
}

// tlsConfig trusts the given PEM files and shows a client certificate if one is named.
func tlsConfig(client *Identity, roots ...string) (*tls.Config, error) {
	pool := x509.NewCertPool()
	for _, r := range roots {
		raw, err := os.ReadFile(r)
		if err != nil {
			return nil, err
		}
		if !pool.AppendCertsFromPEM(bytes.TrimSpace(raw)) {
			return nil, fmt.Errorf("%s: no certificate", r)
		}
	}
	c := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if client != nil {
		pair, err := tls.LoadX509KeyPair(client.Cert, client.Key)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// Certificates lists the certificate files of the network, private to none: what an expiry check reads.
func (n *Network) Certificates() ([]string, error) {
	var out []string
	err := filepath.WalkDir(n.path("crypto"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && (strings.HasSuffix(path, ".pem") || strings.HasSuffix(path, ".crt")) {
			out = append(out, path)
		}
		return err
	})
	return out, err
}
