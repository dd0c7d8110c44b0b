package msp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha3"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"testing"
	"time"

	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"
)

func inUnits(t testing.TB, ca *CA, name string, units ...string) *Identity {
	t.Helper()
	id, err := ca.IssueIn(name, units, Validity{})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// below is an authority that another one certifies.
func below(t testing.TB, above *CA, name string) *CA {
	t.Helper()
	ca := testCA(t, above.MspID())
	certPEM, key, err := above.issue(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}, Validity{})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ParseCertificate(certPEM)
	if err != nil {
		t.Fatal(err)
	}
	ca.certPEM, ca.cert, ca.key = certPEM, cert, key
	return ca
}

// TestRoles is Fabric's validateIdentityOUsV142, hasOURole and isInAdmins as a table.
func TestRoles(t *testing.T) {
	root := testCA(t, "BeijingMSP")
	middle := below(t, root, "middle")
	listed := inUnits(t, middle, "listed", "client")
	stray := inUnits(t, middle, "stray")
	roles := &Roles{Client: &Unit{Name: "client"}, Peer: &Unit{"peer", middle.Root()}, Admin: &Unit{Name: "admin"}, Orderer: &Unit{Name: "orderer"}}
	for _, tt := range []struct {
		name   string
		config func(*Config)
		id     *Identity
		want   Role
		err    error
	}{
		{"not told apart", nil, inUnits(t, middle, "x", "peer", "client"), AnyMember, nil},
		{"not told apart, listed", func(c *Config) { c.Admins = [][]byte{listed.Credentials()} }, listed, AnyMember | Admin, nil},
		{"client", func(c *Config) { c.Roles = roles }, inUnits(t, middle, "x", "client"), AnyMember | Client, nil},
		{"among other units", func(c *Config) { c.Roles = roles }, inUnits(t, middle, "x", "office", "admin"), AnyMember | Admin, nil},
		{"orderer", func(c *Config) { c.Roles = roles }, inUnits(t, middle, "x", "orderer"), AnyMember | Orderer, nil},
		{"peer of its authority", func(c *Config) { c.Roles = roles }, inUnits(t, middle, "x", "peer"), AnyMember | Peer, nil},
		{"two roles", func(c *Config) { c.Roles = roles }, inUnits(t, middle, "x", "peer", "client"), 0, ErrRole},
		{"one role twice", func(c *Config) { c.Roles = roles }, inUnits(t, middle, "x", "client", "client"), 0, ErrRole},
		{"no role", func(c *Config) { c.Roles = roles }, stray, 0, ErrRole},
		{"no unit", func(c *Config) { c.Roles = roles }, inUnits(t, middle, "x"), 0, ErrRole},
		{"client and listed", func(c *Config) { c.Roles, c.Admins = roles, [][]byte{listed.Credentials()} }, listed, AnyMember | Client | Admin, nil},
		{"listed without a role", func(c *Config) { c.Roles, c.Admins = roles, [][]byte{stray.Credentials()} }, stray, Admin, ErrRole},
		{"a role that is not used", func(c *Config) { c.Roles = &Roles{Client: &Unit{Name: "client"}} }, inUnits(t, middle, "x", "peer"), 0, ErrRole},
		{"no roles in use", func(c *Config) { c.Roles = &Roles{} }, inUnits(t, middle, "x", "peer"), AnyMember, nil},
		{"of another authority", func(c *Config) {
			c.Roles = &Roles{Peer: &Unit{"peer", root.Root()}}
		}, inUnits(t, middle, "x", "peer"), 0, ErrRole},
		{"a unit is asked for", func(c *Config) { c.Units = []Unit{{"office", middle.Root()}} }, inUnits(t, middle, "x", "office"), AnyMember, nil},
		{"a unit is asked for and missing", func(c *Config) { c.Units = []Unit{{"office", middle.Root()}} }, inUnits(t, middle, "x", "peer"), 0, ErrRole},
		{"a unit of another authority", func(c *Config) { c.Units = []Unit{{"office", root.Root()}} }, inUnits(t, middle, "x", "office"), 0, ErrRole},
		// The root certifies another authority, so it certifies no identities.
		{"by an authority of authorities", nil, inUnits(t, root, "x"), 0, ErrForeign},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Config{ID: "BeijingMSP", Roots: [][]byte{root.Root()}, Intermediates: [][]byte{middle.Root()}}
			if tt.config != nil {
				tt.config(&c)
			}
			r := rosterOf(t, c)
			s, err := r.Resolve(tt.id.Serialized())
			if err != nil {
				t.Fatal(err)
			}
			if !errors.Is(s.Invalid(), tt.err) || s.roles != tt.want {
				t.Errorf("roles %b, %v; want %b, %v", s.roles, s.Invalid(), tt.want, tt.err)
			}
			if _, err := r.Identify(tt.id.Serialized()); !errors.Is(err, tt.err) {
				t.Errorf("identified: %v", err)
			}
			if tt.want != 0 && !s.Has(tt.want) || s.Has(1<<7) {
				t.Error("has")
			}
		})
	}
}

// TestExtendedUsage: where a certificate says what it is for, Fabric wants "server" among it.
func TestExtendedUsage(t *testing.T) {
	ca := testCA(t, "BeijingMSP")
	for want, usage := range map[error]x509.ExtKeyUsage{nil: x509.ExtKeyUsageServerAuth, ErrForeign: x509.ExtKeyUsageClientAuth} {
		certPEM, _, err := ca.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "x"}, ExtKeyUsage: []x509.ExtKeyUsage{usage}}, Validity{})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := proto.Marshal(&mspproto.SerializedIdentity{Mspid: "BeijingMSP", IdBytes: certPEM})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := rosterOf(t, ca.Config()).Identify(raw); !errors.Is(err, want) {
			t.Errorf("usage %d: %v, want %v", usage, err, want)
		}
	}
}

func TestRevokedByAnother(t *testing.T) {
	root := testCA(t, "BeijingMSP")
	first, second := below(t, root, "first"), below(t, root, "second")
	id := inUnits(t, first, "x")
	list := func(ca *CA) []byte {
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
			RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: id.Certificate().SerialNumber, RevocationTime: time.Now()}}}, ca.cert, ca.key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	c := Config{ID: "BeijingMSP", Roots: [][]byte{root.Root()}, Intermediates: [][]byte{first.Root(), second.Root()}, Revoked: [][]byte{list(second), list(root)}}
	if _, err := rosterOf(t, c).Identify(id.Serialized()); err != nil {
		t.Errorf("on another authority's list: %v", err)
	}
	c.Revoked = append(c.Revoked, list(first))
	if _, err := rosterOf(t, c).Identify(id.Serialized()); !errors.Is(err, ErrRevoked) {
		t.Errorf("on its authority's list: %v", err)
	}
}

func TestKeys(t *testing.T) {
	ca := testCA(t, "BeijingMSP")
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}, ca.cert, public, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for no, want := range map[bool]error{false: nil, true: ErrForeign} {
		c := ca.Config()
		c.NoEd25519 = no
		m, err := NewMember(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Validate(cert, time.Time{}); !errors.Is(err, want) {
			t.Errorf("Ed25519, refused %v: %v", no, err)
		}
	}
	// An organisation that signs over SHA3.
	c := ca.Config()
	c.SHA3 = true
	id := issueTo(t, ca, "x", Validity{})
	s, err := rosterOf(t, c).Identify(id.Serialized())
	if err != nil {
		t.Fatal(err)
	}
	d := sha3.Sum256([]byte("message"))
	sig, err := id.SignDigest(d[:])
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(sig, []byte("mess"), []byte("age")); err != nil {
		t.Errorf("SHA3: %v", err)
	}
	if sig, err = id.Sign([]byte("message")); err != nil || s.Verify(sig, []byte("message")) == nil {
		t.Errorf("SHA-256 for SHA3: %v", err)
	}
	// A signature with something after it.
	plain, err := rosterOf(t, ca.Config()).Identify(id.Serialized())
	if err != nil {
		t.Fatal(err)
	}
	if err := plain.Verify(append(bytes.Clone(sig), 0, 1), []byte("message")); err != nil {
		t.Errorf("bytes after the signature: %v", err)
	}
	var pair ecdsaSignature
	if _, err := asn1.Unmarshal(sig, &pair); err != nil {
		t.Fatal(err)
	}
	more, err := asn1.Marshal(struct{ R, S, More *big.Int }{pair.R, pair.S, big.NewInt(1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := plain.Verify(more, []byte("message")); err != nil {
		t.Errorf("a third number in the signature: %v", err)
	}
}

// TestChainNames holds the names of chains to the certificates with their signatures in Fabric's form.
func TestChainNames(t *testing.T) {
	seen := map[bool]bool{}
	for range 40 {
		ca := testCA(t, "BeijingMSP")
		m, err := NewMember(ca.Config())
		if err != nil {
			t.Fatal(err)
		}
		low := lowS(ca.cert, ca.cert)
		twin, err := x509.ParseCertificate(low)
		if err != nil {
			t.Fatal(err)
		}
		changed := string(low) != string(ca.cert.Raw)
		seen[changed] = true
		if twin.CheckSignatureFrom(ca.cert) != nil || string(lowS(twin, ca.cert)) != string(low) || fingerprint(twin) != fingerprint(ca.cert) {
			t.Fatal("the low form is no form of it")
		}
		names := map[string]bool{}
		for _, h := range []string{"", "SHA256", "SHA384", "SHA3_256", "SHA3_384"} {
			m.config.ChainHash = h
			names[string(m.chainID([]*x509.Certificate{ca.cert}))] = true
			if string(m.chainID([]*x509.Certificate{ca.cert})) != string(m.chainID([]*x509.Certificate{twin})) {
				t.Errorf("%s: two names for one chain", h)
			}
		}
		if len(names) != 4 {
			t.Errorf("%d names", len(names))
		}
	}
	if len(seen) != 2 {
		t.Error("never both forms")
	}
	if string(lowS(&x509.Certificate{Raw: []byte("x"), Signature: []byte("x")}, &x509.Certificate{PublicKey: &ecdsa.PublicKey{Curve: elliptic.P256()}})) != "x" {
		t.Error("rubbish changed")
	}
}

// TestConstrainedNames is a rule that Go gave up and Fabric keeps.
func TestConstrainedNames(t *testing.T) {
	root := testCA(t, "BeijingMSP")
	ca := testCA(t, "BeijingMSP")
	certPEM, key, err := root.issue(&x509.Certificate{Subject: pkix.Name{CommonName: "constrained"}, IsCA: true, KeyUsage: x509.KeyUsageCertSign,
		PermittedDNSDomainsCritical: true, PermittedDNSDomains: []string{"example.com"}}, Validity{})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ParseCertificate(certPEM)
	if err != nil {
		t.Fatal(err)
	}
	ca.certPEM, ca.cert, ca.key = certPEM, cert, key
	r := rosterOf(t, Config{ID: "BeijingMSP", Roots: [][]byte{root.Root()}, Intermediates: [][]byte{certPEM}})
	for name, want := range map[string]error{"host.other.org": ErrForeign, "host": ErrForeign, "*.a": ErrForeign, "not a host": nil, "": nil, "a..b": nil, "-a": nil} {
		if _, err := r.Identify(issueTo(t, ca, name, Validity{}).Serialized()); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", name, err, want)
		}
	}
}

func TestUnusableList(t *testing.T) {
	ca := testCA(t, "BeijingMSP")
	c := ca.Config()
	c.Revoked = [][]byte{pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: []byte("x")})}
	m, err := NewMember(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Validate(issueTo(t, ca, "x", Validity{}).Certificate(), time.Time{}); !errors.Is(err, ErrMalformed) {
		t.Errorf("with an unusable list: %v", err)
	}
}
