package msp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"
)

func testCA(t testing.TB, id string) *CA {
	t.Helper()
	ca, err := NewCA(id, "ca."+id)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func issueTo(t testing.TB, ca *CA, name string, v Validity) *Identity {
	t.Helper()
	id, err := ca.Issue(name, v)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func rosterOf(t testing.TB, configs ...Config) *Roster {
	t.Helper()
	var members []*Member
	for _, c := range configs {
		m, err := NewMember(c)
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, m)
	}
	r, err := NewRoster(members...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestIdentify(t *testing.T) {
	beijing, impostor, tianjin := testCA(t, "BeijingMSP"), testCA(t, "BeijingMSP"), testCA(t, "TianjinMSP")
	r := rosterOf(t, beijing.Config(), tianjin.Config())
	now := time.Now()
	serialize := func(mspID string, cert []byte) []byte {
		b, err := proto.Marshal(&mspproto.SerializedIdentity{Mspid: mspID, IdBytes: cert})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := issueTo(t, beijing, "bj-scjg", Validity{})
	for _, tt := range []struct {
		name       string
		serialized []byte
		want       error
	}{
		{"member", good.Serialized(), nil},
		{"expired member", issueTo(t, beijing, "old", Validity{now.Add(-2 * time.Minute), now.Add(-time.Minute)}).Serialized(), nil},
		{"impostor", issueTo(t, impostor, "bj-scjg", Validity{}).Serialized(), ErrForeign},
		{"another member's certificate", serialize("TianjinMSP", good.Credentials()), ErrForeign},
		{"stranger", serialize("ShanghaiMSP", good.Credentials()), ErrUnknown},
		{"the authority itself", serialize("BeijingMSP", beijing.Root()), ErrForeign},
		{"no certificate", serialize("BeijingMSP", []byte("x")), ErrMalformed},
		{"two certificates", serialize("BeijingMSP", append(good.Credentials()[:len(good.Credentials()):len(good.Credentials())], beijing.Root()...)), nil},
		{"no identity", []byte{0xff}, ErrMalformed},
		{"nothing", nil, ErrMalformed},
		{"text around the certificate", serialize("BeijingMSP", append([]byte("a text\n"), append(good.Credentials()[:len(good.Credentials()):len(good.Credentials())], "and another"...)...)), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 { // the second time from memory
				s, err := r.Identify(tt.serialized)
				if !errors.Is(err, tt.want) {
					t.Fatalf("error %v, want %v", err, tt.want)
				}
				if err == nil && (s.MSP != "BeijingMSP" || s.Name == "") {
					t.Errorf("subject %+v", s)
				}
			}
		})
	}
}

func TestValidAt(t *testing.T) {
	ca := testCA(t, "BeijingMSP")
	from := time.Now().Truncate(time.Second)
	id := issueTo(t, ca, "bj", Validity{from, from.Add(time.Hour)})
	s, err := rosterOf(t, ca.Config()).Identify(id.Serialized())
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[time.Duration]error{-time.Second: ErrExpired, 0: nil, time.Hour: nil, time.Hour + time.Second: ErrExpired} {
		if err := s.ValidAt(from.Add(at)); !errors.Is(err, want) {
			t.Errorf("at %v: %v, want %v", at, err, want)
		}
	}
}

func TestSignatures(t *testing.T) {
	ca := testCA(t, "BeijingMSP")
	id := issueTo(t, ca, "bj", Validity{})
	s, err := rosterOf(t, ca.Config()).Identify(id.Serialized())
	if err != nil {
		t.Fatal(err)
	}
	message := []byte("message in parts")
	for range 20 { // half of all raw signatures have a high S
		sig, err := id.Sign(message[:3], message[3:])
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Verify(sig, message); err != nil {
			t.Fatal(err)
		}
		if err := s.Verify(sig, message[:8], message[8:]); err != nil {
			t.Fatal(err)
		}
		var pair ecdsaSignature
		if _, err := asn1.Unmarshal(sig, &pair); err != nil {
			t.Fatal(err)
		}
		pair.S.Sub(elliptic.P256().Params().N, pair.S)
		high, err := asn1.Marshal(pair)
		if err != nil {
			t.Fatal(err)
		}
		for name, bad := range map[string][]byte{"high S": high, "empty": nil, "raw": make([]byte, 64)} {
			if err := s.Verify(bad, message); !errors.Is(err, ErrSignature) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := s.Verify(sig, []byte("another message")); !errors.Is(err, ErrSignature) {
			t.Errorf("another message: %v", err)
		}
	}
}

// TestOtherKeys has an authority certify keys that this package does not make itself.
func TestOtherKeys(t *testing.T) {
	ca := testCA(t, "BeijingMSP")
	r := rosterOf(t, ca.Config())
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	subject := func(public any) *Subject {
		t.Helper()
		now := time.Now()
		der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "x"},
			NotBefore: now, NotAfter: now.Add(time.Hour)}, ca.cert, public, ca.key)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := proto.Marshal(&mspproto.SerializedIdentity{Mspid: "BeijingMSP", IdBytes: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})})
		if err != nil {
			t.Fatal(err)
		}
		s, err := r.Identify(raw)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	message := []byte("message")
	if err := subject(edPublic).Verify(ed25519.Sign(edKey, message), message[:2], message[2:]); err != nil {
		t.Errorf("Ed25519: %v", err)
	}
	if err := subject(edPublic).Verify(make([]byte, ed25519.SignatureSize), message); !errors.Is(err, ErrSignature) {
		t.Errorf("Ed25519, bad: %v", err)
	}
	if err := subject(&p224.PublicKey).Verify(nil, message); !errors.Is(err, ErrSignature) {
		t.Errorf("P-224: %v", err)
	}
}

func TestRevocation(t *testing.T) {
	ca, other := testCA(t, "BeijingMSP"), testCA(t, "BeijingMSP")
	bad, good := issueTo(t, ca, "bad", Validity{}), issueTo(t, ca, "good", Validity{})
	list := func(by *CA) []byte {
		der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
			RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: bad.Certificate().SerialNumber, RevocationTime: time.Now()}}}, by.cert, by.key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
	}
	c := ca.Config()
	c.Revoked = [][]byte{list(ca)}
	r := rosterOf(t, c)
	if _, err := r.Identify(bad.Serialized()); !errors.Is(err, ErrRevoked) {
		t.Errorf("revoked: %v", err)
	}
	if _, err := r.Identify(good.Serialized()); err != nil {
		t.Errorf("not revoked: %v", err)
	}
	c.Revoked = [][]byte{versionOf(t, list(ca), 2)} // one more than there are
	r = rosterOf(t, c)
	if _, err := r.Identify(bad.Serialized()); err != nil {
		t.Errorf("revoked by a list whose signature was broken: %v", err)
	}
	if _, err := r.Identify(good.Serialized()); err != nil {
		t.Errorf("a list of an unknown version makes others invalid: %v", err)
	}
	c.Revoked = [][]byte{list(other)}
	if m, err := NewMember(c); err != nil || !errors.Is(m.CheckLists(), ErrMalformed) {
		t.Errorf("a stranger's list: %v", err)
	}
}

func TestMemberRefused(t *testing.T) {
	ca := testCA(t, "BeijingMSP")
	leaf := issueTo(t, ca, "bj", Validity{})
	for name, c := range map[string]Config{
		"no id":               {Roots: [][]byte{ca.Root()}},
		"no root":             {ID: "BeijingMSP"},
		"leaf":                {ID: "BeijingMSP", Roots: [][]byte{leaf.Credentials()}},
		"no PEM":              {ID: "BeijingMSP", Roots: [][]byte{[]byte("x")}},
		"a bad administrator": {ID: "BeijingMSP", Roots: [][]byte{ca.Root()}, Admins: [][]byte{[]byte("x")}},
		"a bad unit":          {ID: "BeijingMSP", Roots: [][]byte{ca.Root()}, Units: []Unit{{"x", leaf.Credentials()}}},
		"a bad role":          {ID: "BeijingMSP", Roots: [][]byte{ca.Root()}, Roles: &Roles{Peer: &Unit{"peer", []byte("x")}}},
	} {
		if _, err := NewMember(c); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m, err := NewMember(Config{ID: "BeijingMSP", Roots: [][]byte{ca.Root()}, Revoked: [][]byte{[]byte("x")}})
	if err != nil || !errors.Is(m.CheckLists(), ErrMalformed) || !errors.Is(m.Validate(leaf.Certificate(), time.Time{}), ErrMalformed) {
		t.Errorf("a bad list: %v", err)
	}
	if m, err = NewMember(ca.Config()); err != nil {
		t.Fatal(err)
	}
	if _, err := NewRoster(m, m); !errors.Is(err, ErrMalformed) {
		t.Errorf("listed twice: %v", err)
	}
}

func TestSaveAndLoad(t *testing.T) {
	dir := t.TempDir()
	ca := testCA(t, "BeijingMSP")
	if err := ca.Save(dir); err != nil {
		t.Fatal(err)
	}
	if err := ca.Save(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("saving twice: %v", err)
	}
	loaded, err := LoadCA("BeijingMSP", dir)
	if err != nil {
		t.Fatal(err)
	}
	id := issueTo(t, loaded, "bj", Validity{})
	if err := id.Save(dir, "bj"); err != nil {
		t.Fatal(err)
	}
	again, err := LoadIdentity("BeijingMSP", dir, "bj")
	if err != nil {
		t.Fatal(err)
	}
	if string(again.Serialized()) != string(id.Serialized()) {
		t.Error("another identity")
	}
	for _, name := range []string{"ca.key", "bj.key"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	// A key that is not the certificate's.
	other := issueTo(t, ca, "other", Validity{})
	key, err := marshalKey(other.key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewIdentity("BeijingMSP", id.Credentials(), key); !errors.Is(err, ErrMalformed) {
		t.Errorf("another's key: %v", err)
	}
	if _, err := rosterOf(t, ca.Config()).Identify(id.Serialized()); err != nil {
		t.Error(err)
	}
	if config, err := ca.ServerTLS("ledger", "127.0.0.1", "localhost"); err != nil || len(config.Certificates) != 1 {
		t.Errorf("TLS: %v", err)
	}
}

func TestRosterBound(t *testing.T) {
	ca := testCA(t, "BeijingMSP")
	r := rosterOf(t, ca.Config())
	id := issueTo(t, ca, "bj", Validity{})
	for i := range cachedSubjects {
		r.known[[32]byte{byte(i), byte(i >> 8), 1}] = &Subject{}
	}
	if _, err := r.Identify(id.Serialized()); err != nil {
		t.Fatal(err)
	}
	if n := len(r.known); n > cachedSubjects {
		t.Errorf("%d subjects remembered", n)
	}
}

func FuzzIdentify(f *testing.F) {
	ca, err := NewCA("BeijingMSP", "ca")
	if err != nil {
		f.Fatal(err)
	}
	r := rosterOf(f, ca.Config())
	id := issueTo(f, ca, "bj", Validity{})
	f.Add(id.Serialized())
	f.Add(id.Serialized()[:100])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := r.Identify(b); err == nil && (s.MSP != "BeijingMSP" || s.Name != "bj") {
			t.Errorf("subject %+v", s)
		}
	})
}

func FuzzVerify(f *testing.F) {
	ca, err := NewCA("BeijingMSP", "ca")
	if err != nil {
		f.Fatal(err)
	}
	id := issueTo(f, ca, "bj", Validity{})
	s := &Subject{Cert: id.Certificate()}
	sig, err := id.Sign([]byte("m"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sig, []byte("m"))
	f.Add([]byte{0x30, 0x06, 0x02, 0x01, 0xff, 0x02, 0x01, 0x00}, []byte("m"))
	f.Fuzz(func(t *testing.T, sig, message []byte) {
		if s.Verify(sig, message) == nil && string(message) != "m" {
			t.Errorf("forged: %x over %x", sig, message)
		}
	})
}

// versionOf is a revocation list that says it is of another version. Its signature does not hold any more.
func versionOf(t *testing.T, list []byte, version byte) []byte {
	t.Helper()
	block, _ := pem.Decode(list)
	der := bytes.Clone(block.Bytes)
	at := bytes.Index(der, []byte{2, 1, 1, 0x30})
	if at < 0 {
		t.Fatal("no version in the list")
	}
	der[at+2] = version
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// TestRevocationByUsage: Fabric does not ask whether an authority's certificate allows it to sign lists.
func TestRevocationByUsage(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "certificates only"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := newCA("BeijingMSP", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key)
	if err != nil {
		t.Fatal(err)
	}
	bad := issueTo(t, ca, "bad", Validity{})
	allowed := *ca.cert
	allowed.KeyUsage |= x509.KeyUsageCRLSign // or Go makes no list
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: bad.Certificate().SerialNumber, RevocationTime: time.Now()}}}, &allowed, key)
	if err != nil {
		t.Fatal(err)
	}
	c := ca.Config()
	c.Revoked = [][]byte{list}
	if _, err := rosterOf(t, c).Identify(bad.Serialized()); !errors.Is(err, ErrRevoked) {
		t.Errorf("revoked: %v", err)
	}
}
