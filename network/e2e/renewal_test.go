package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/fabric"
)

// authority issues certificates in a test, with a network's own keys.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  any
}

// authorityOf loads an authority of an organisation: "ca" of identities, "tlsca" of TLS.
func authorityOf(t testing.TB, org fabric.Org, kind string) *authority {
	t.Helper()
	dir := filepath.Join(org.Dir(), kind)
	found, err := filepath.Glob(filepath.Join(dir, "*-cert.pem"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s holds %d certificates", dir, len(found))
	}
	block, _ := pem.Decode(mustRead(t, found[0]))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	block, _ = pem.Decode(mustRead(t, filepath.Join(dir, "priv_sk")))
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key}
}

// issue returns a certificate and its key, PEM. names are those of a TLS server.
func (a *authority) issue(cn, role string, until time.Time, names ...string) (cert, key []byte) {
	a.t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		a.t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Country: []string{"CN"}, CommonName: cn}, NotBefore: time.Now().Add(-time.Minute), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
	}
	if c.NotBefore.Before(a.cert.NotBefore) {
		c.NotBefore = a.cert.NotBefore // Fabric judges a chain at its last certificate's beginning
	}
	if role != "" {
		c.Subject.OrganizationalUnit = []string{role}
	}
	if len(names) > 0 {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			c.IPAddresses = append(c.IPAddresses, ip)
		} else {
			c.DNSNames = append(c.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, private.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// replace puts new files in the place of old ones, each in one step, as an operator's tool would.
func replace(t testing.TB, files map[string][]byte) {
	t.Helper()
	for path, raw := range files {
		if err := os.WriteFile(path+".new", raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
}

func orgOf(t testing.TB, net *fabric.Network, id string) fabric.Org {
	t.Helper()
	for _, o := range net.Orgs() {
		if o.ID == id {
			return o
		}
	}
	t.Fatalf("no organisation %s", id)
	return fabric.Org{}
}

// renewal gives a writing node new certificates without a restart: its ledger identity, of the same name, twice, of
// which the first has expired at the end; and the certificate of its API's listener.
func renewal(t *testing.T, c *consortium) {
	n := c.nodes["beijing"]
	ca := authorityOf(t, orgOf(t, c.fabric, "beijing"), "ca")
	l := c.load()
	taken := func(until time.Time) {
		t.Helper()
		cert, key := ca.issue("beijing", "client", until)
		replace(t, map[string][]byte{filepath.Join(n.dir, "identity.crt"): cert, filepath.Join(n.dir, "identity.key"): key})
		eventually(t, 30*time.Second, "the new identity is taken up", func() bool {
			return n.metric("zhenglian_identity_expiry_timestamp_seconds") == float64(until.Unix())
		})
		t.Logf("an identity until %s is in use, a write came through after %v", until.Format(time.TimeOnly), l.resumes(time.Now(), "beijing"))
	}
	short := time.Now().Add(25 * time.Second).Truncate(time.Second)
	taken(short)
	taken(time.Now().AddDate(1, 0, 0).Truncate(time.Second))
	time.Sleep(time.Until(short.Add(time.Second))) // whoever still signs with the short one is refused from now on
	t.Logf("after the first has expired a write came through in %v", l.resumes(time.Now(), "beijing"))
	l.settle()

	tlsca := authorityOf(t, orgOf(t, c.fabric, "customs"), "tlsca")
	twin := c.twin("customs")
	issue := func() {
		cert, key := tlsca.issue("customs", "", time.Now().AddDate(1, 0, 0), "localhost", "127.0.0.1")
		replace(t, map[string][]byte{filepath.Join(twin.dir, "api.crt"): cert, filepath.Join(twin.dir, "api.key"): key})
	}
	issue()
	twin.configure(func(m map[string]any) { m["tls_cert"], m["tls_key"] = "api.crt", "api.key" })
	twin.url = "https" + twin.url[len("http"):]
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: tlsca.pool(), MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
	twin.client = &http.Client{Transport: transport, Timeout: 20 * time.Second}
	twin.start()
	shown := func() string {
		conn, err := tls.Dial("tcp", twin.url[len("https://"):], &tls.Config{RootCAs: tlsca.pool(), MinVersion: tls.VersionTLS12})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := shown()
	issue()
	eventually(t, 30*time.Second, "the API's new certificate is shown", func() bool { return shown() != first })
	if twin.p.ended() || n.p.ended() {
		t.Error("a node ended")
	}
	// What is written under the renewed identity is read at the renewed listener.
	var issued []model.Outcome
	n.mustPost("/v1/operations", encodeDrafts(t, issueDraft(t, n.agency, l.b.name+"-renewed", 1)), &issued)
	var v model.Verdict
	eventually(t, 20*time.Second, "a licence issued after both renewals is there", func() bool {
		twin.mustPost("/v1/verify", model.Query{Record: issued[0].Record}, &v)
		return v.Height > issued[0].Receipt.Block
	})
	if v.Verdict != model.Valid || v.Reason != model.ReasonInForce {
		t.Errorf("after the renewals: %+v", v)
	}
}
