package chanconfig

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
)

// made is the configuration of a channel that Fabric's own configtxgen made: Raft's with three orderers of three
// organisations, BFT's with four of three.
func made(t *testing.T, name string) *Config {
	t.Helper()
	raw, err := os.ReadFile("../../node/internal/ledger/fabblock/testdata/" + name + ".blocks.gz")
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	b := &common.Block{}
	if err := protodelim.UnmarshalFrom(bufio.NewReader(z), b); err != nil {
		t.Fatal(err)
	}
	c, err := Of(b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// authority is an organisation's, for members and for TLS.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T) *authority {
	raw, cert, key := issue(t, "ca")
	return &authority{cert, key, string(raw)}
}

func (a *authority) issue(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Minute)}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// member takes a new organisation in.
func (c *Config) member(t *testing.T, name string) *authority {
	t.Helper()
	a := newAuthority(t)
	m, err := ReadMSP(name, folder(t, map[string]string{"cacerts/ca.pem": a.pem, "tlscacerts/tlsca.pem": a.pem}))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.AddOrg(Org{MSP: m}); err != nil {
		t.Fatal(err)
	}
	return a
}

// who lists the orderers' organisations, and those whose orderers' signatures count.
func (c *Config) who(t *testing.T) (orderers, groups, named []string, quorum int) {
	t.Helper()
	s, err := c.ordering()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range s.consenters {
		orderers = append(orderers, s.owner(o))
	}
	for name := range s.group.GetGroups() {
		groups = append(groups, name)
	}
	slices.Sort(groups)
	var e common.SignaturePolicyEnvelope
	if err := proto.Unmarshal(s.group.GetPolicies()[blockValidation].GetPolicy().GetValue(), &e); err != nil {
		t.Fatal(err)
	}
	for i, m := range e.GetIdentities() {
		named = append(named, mspOf(m))
		if by := e.GetRule().GetNOutOf().GetRules()[i]; by.GetSignedBy() != int32(i) {
			t.Errorf("rule %d is %v", i, by)
		}
	}
	return orderers, groups, named, int(e.GetRule().GetNOutOf().GetN())
}

func consenter(t *testing.T, c *Config, i int) (string, *common.Consenter) {
	t.Helper()
	s, err := c.ordering()
	if err != nil {
		t.Fatal(err)
	}
	return place(s.consenters[i]), s.consenters[i]
}

// TestRaftOrderer: what leaves is gone from all places, its organisation may leave then, and what comes back is, byte
// by byte, what Fabric's own tool had made.
func TestRaftOrderer(t *testing.T) {
	for i, name := range []string{"BeijingMSP", "TianjinMSP", "HebeiMSP"} {
		c := made(t, "raft")
		at, was := consenter(t, c, i)
		if err := c.RemoveOrg(name); err == nil || !strings.Contains(err.Error(), "remove-orderer") || !strings.Contains(err.Error(), at) {
			t.Fatal(err)
		}
		if err := c.RemoveOrderer(at); err != nil {
			t.Fatal(err)
		}
		orderers, groups, named, quorum := c.who(t)
		left := slices.DeleteFunc([]string{"BeijingMSP", "TianjinMSP", "HebeiMSP"}, func(s string) bool { return s == name })
		if !slices.Equal(orderers, left) || !slices.Equal(named, left) || len(groups) != 2 || slices.Contains(groups, name) || quorum != 1 {
			t.Fatalf("%v %v %v %d", orderers, groups, named, quorum)
		}
		u, err := c.Update()
		if err != nil {
			t.Fatal(err)
		}
		var update common.ConfigUpdate
		if err := proto.Unmarshal(u.config, &update); err != nil {
			t.Fatal(err)
		}
		w := update.GetWriteSet().GetGroups()["Orderer"]
		if w.GetVersion() != 1 || w.GetValues()["ConsensusType"].GetVersion() != 1 || w.GetPolicies()[blockValidation].GetVersion() != 1 || update.GetWriteSet().GetGroups()["Application"] != nil {
			t.Errorf("%v", &update)
		}
		if err := c.AddOrderer(Orderer{MSP: name, Address: at, TLS: was.GetServerTlsCert()}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Update(); i == 2 && !errors.Is(err, ErrUnchanged) { // the others come back in another order
			t.Errorf("%s is not as it was: %v", name, err)
		}
		if err := c.RemoveOrderer(at); err != nil {
			t.Fatal(err)
		}
		if err := c.RemoveOrg(name); err != nil {
			t.Fatal(err)
		}
		if c.group("Application").GetGroups()[name] != nil || c.group("Orderer").GetGroups()[name] != nil {
			t.Error(name + " is still there")
		}
	}
}

// TestLastOrderer: orderers may leave down to one.
func TestLastOrderer(t *testing.T) {
	c := made(t, "raft")
	for range 2 {
		at, _ := consenter(t, c, 0)
		if err := c.RemoveOrderer(at); err != nil {
			t.Fatal(err)
		}
	}
	at, _ := consenter(t, c, 0)
	if err := c.RemoveOrderer(at); err == nil || !strings.Contains(err.Error(), "last orderer") {
		t.Error(err)
	}
}

// TestBFTOrderer: the policy for blocks follows the orderers as Fabric's own function makes it, and four stay.
func TestBFTOrderer(t *testing.T) {
	c := made(t, "bft")
	first, was := consenter(t, c, 0)
	if err := c.RemoveOrderer(first); err == nil || !strings.Contains(err.Error(), "bears none") {
		t.Fatal(err)
	}
	if err := c.SetOrdererCert(first, was.GetServerTlsCert()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Update(); !errors.Is(err, ErrUnchanged) {
		t.Fatalf("the policy of this package is not Fabric's: %v", err)
	}
	a := c.member(t, "XMSP")
	o := Orderer{MSP: "XMSP", Address: "orderer.x.test:7050", TLS: a.issue(t, "tls"), Identity: a.issue(t, "orderer")}
	if err := c.AddOrderer(o); err != nil {
		t.Fatal(err)
	}
	all := []string{"BeijingMSP", "TianjinMSP", "HebeiMSP", "BeijingMSP", "XMSP"}
	orderers, groups, named, quorum := c.who(t)
	if !slices.Equal(orderers, all) || !slices.Equal(named, all) || len(groups) != 4 || quorum != 4 {
		t.Fatalf("%v %v %v %d", orderers, groups, named, quorum)
	}
	if _, last := consenter(t, c, 4); last.GetId() != 5 || !bytes.Equal(last.GetIdentity(), o.Identity) || !bytes.Equal(last.GetClientTlsCert(), o.TLS) {
		t.Errorf("%v", last)
	}
	var e common.SignaturePolicyEnvelope
	var id msp.SerializedIdentity
	raw := c.group("Orderer").GetPolicies()[blockValidation].GetPolicy().GetValue()
	if err := errors.Join(proto.Unmarshal(raw, &e), proto.Unmarshal(e.GetIdentities()[4].GetPrincipal(), &id)); err != nil {
		t.Fatal(err)
	}
	if e.GetIdentities()[4].GetPrincipalClassification() != msp.MSPPrincipal_IDENTITY || !bytes.Equal(id.GetIdBytes(), o.Identity) {
		t.Errorf("%v", &id)
	}
	if got := endpoints(c.group("Orderer").GetGroups()["XMSP"]); !slices.Equal(got, []string{o.Address}) {
		t.Error(got)
	}

	second, _ := consenter(t, c, 1)
	if err := c.RemoveOrderer(second); err != nil { // with five one may go
		t.Fatal(err)
	}
	all = slices.Delete(all, 1, 2)
	orderers, groups, named, quorum = c.who(t)
	if !slices.Equal(orderers, all) || !slices.Equal(named, all) || slices.Contains(groups, "TianjinMSP") || quorum != 3 {
		t.Fatalf("%v %v %v %d", orderers, groups, named, quorum)
	}
	if err := c.RemoveOrg("TianjinMSP"); err != nil {
		t.Error(err)
	}

	c = made(t, "bft")
	a = c.member(t, "XMSP")
	o.TLS, o.Identity = a.issue(t, "tls"), a.issue(t, "orderer")
	if err := errors.Join(c.AddOrderer(o), c.RemoveOrderer(o.Address), c.RemoveOrg("XMSP")); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Update(); !errors.Is(err, ErrUnchanged) {
		t.Errorf("it left something behind: %v", err)
	}
}

// TestBFTQuorum holds the policy's number to Fabric's, ⌈(n+f+1)/2⌉ with f = ⌊(n−1)/3⌋.
func TestBFTQuorum(t *testing.T) {
	for n, want := range map[int]int32{4: 3, 5: 4, 6: 4, 7: 5, 8: 6, 9: 6, 10: 7} {
		var e common.SignaturePolicyEnvelope
		if err := proto.Unmarshal(signedByQuorum(make([]*common.Consenter, n)).GetValue(), &e); err != nil {
			t.Fatal(err)
		}
		if got := e.GetRule().GetNOutOf().GetN(); got != want {
			t.Errorf("%d of %d, want %d", got, n, want)
		}
	}
}

// TestSecondOrderer: an organisation stays among those that order until its last orderer leaves.
func TestSecondOrderer(t *testing.T) {
	for _, name := range []string{"raft", "bft"} {
		c := made(t, name)
		a := c.member(t, "XMSP")
		for _, at := range []string{"a.x.test:7050", "b.x.test:7050"} {
			o := Orderer{MSP: "XMSP", Address: at, TLS: a.issue(t, at)}
			if name == "bft" {
				o.Identity = a.issue(t, at)
			}
			if err := c.AddOrderer(o); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.RemoveOrderer("a.x.test:7050"); err != nil {
			t.Fatal(err)
		}
		orderers, groups, named, _ := c.who(t)
		if !slices.Contains(groups, "XMSP") || !slices.Contains(orderers, "XMSP") || !slices.Contains(named, "XMSP") {
			t.Errorf("%s: %v %v %v", name, orderers, groups, named)
		}
		if got := endpoints(c.group("Orderer").GetGroups()["XMSP"]); !slices.Equal(got, []string{"b.x.test:7050"}) {
			t.Errorf("%s: %v", name, got)
		}
		if err := c.RemoveOrg("XMSP"); err == nil {
			t.Errorf("%s: a member with an orderer left", name)
		}
		if err := errors.Join(c.RemoveOrderer("b.x.test:7050"), c.RemoveOrg("XMSP")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.Update(); !errors.Is(err, ErrUnchanged) {
			t.Errorf("%s: they left something behind: %v", name, err)
		}
	}
}

func TestOrdererRefused(t *testing.T) {
	for name, test := range map[string]struct {
		of     string
		change func(*Config, Orderer) error
		says   string
	}{
		"no member":                   {"raft", func(c *Config, o Orderer) error { o.MSP = "YMSP"; return c.AddOrderer(o) }, "add-org"},
		"no address":                  {"raft", func(c *Config, o Orderer) error { o.Address = "orderer"; return c.AddOrderer(o) }, "host:port"},
		"another's authority":         {"raft", func(c *Config, o Orderer) error { o.MSP = "HebeiMSP"; return c.AddOrderer(o) }, "authorities"},
		"a signer under Raft":         {"raft", func(c *Config, o Orderer) error { o.Identity = o.TLS; return c.AddOrderer(o) }, "Raft"},
		"no signer under BFT":         {"bft", func(c *Config, o Orderer) error { return c.AddOrderer(o) }, "BFT"},
		"a stranger's signer":         {"bft", func(c *Config, o Orderer) error { o.Identity, _, _ = issue(t, "s"); return c.AddOrderer(o) }, "signing"},
		"no certificate":              {"raft", func(c *Config, o Orderer) error { o.TLS = []byte("x"); return c.AddOrderer(o) }, "no PEM"},
		"two certificates":            {"raft", func(c *Config, o Orderer) error { o.TLS = slices.Concat(o.TLS, o.TLS); return c.AddOrderer(o) }, "more than one"},
		"no orderer there":            {"raft", func(c *Config, _ Orderer) error { return c.RemoveOrderer("127.0.0.1:1") }, "no orderer at"},
		"its address is in no list":   {"raft", func(c *Config, _ Orderer) error { return forgetEndpoints(t, c) }, "endpoints"},
		"blocks of some two together": {"raft", func(c *Config, o Orderer) error { pairs(t, c); return c.AddOrderer(o) }, "OR(…)"},
		"and one of them leaves": {"raft", func(c *Config, _ Orderer) error {
			pairs(t, c)
			at, _ := consenter(t, c, 0)
			return c.RemoveOrderer(at)
		}, "OR(…)"},
	} {
		c := made(t, test.of)
		a := c.member(t, "XMSP")
		err := test.change(c, Orderer{MSP: "XMSP", Address: "orderer.x.test:7050", TLS: a.issue(t, "tls")})
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
		orderers, _, _, _ := c.who(t)
		if slices.Contains(orderers, "XMSP") || len(orderers) < 3 {
			t.Errorf("%s: %v", name, orderers)
		}
	}
	c := made(t, "raft")
	a := c.member(t, "XMSP")
	o := Orderer{MSP: "XMSP", Address: "a.x.test:7050", TLS: a.issue(t, "tls")}
	if err := c.AddOrderer(o); err != nil {
		t.Fatal(err)
	}
	if err := c.AddOrderer(o); err == nil || !strings.Contains(err.Error(), "set-orderer-cert") {
		t.Errorf("twice: %v", err)
	}
	o.Address = "b.x.test:7050"
	if err := c.AddOrderer(o); err == nil || !strings.Contains(err.Error(), "a.x.test:7050") {
		t.Errorf("two of one key: %v", err)
	}
}

// forgetEndpoints leaves the first orderer at an address that no organisation has among its own, and removes it.
func forgetEndpoints(t *testing.T, c *Config) error {
	at, _ := consenter(t, c, 0)
	if err := setEndpoints(c.group("Orderer").GetGroups()["BeijingMSP"], []string{"elsewhere.test:7050"}); err != nil {
		t.Fatal(err)
	}
	return c.RemoveOrderer(at)
}

// pairs has blocks signed by two of the organisations' orderers.
func pairs(t *testing.T, c *Config) {
	p := c.group("Orderer").GetPolicies()[blockValidation]
	all, flat, err := principals(p)
	if err != nil || !flat {
		t.Fatal(err, flat)
	}
	p.Policy = outOf(2, all)
}

// TestBlockValidationByRule: a policy that speaks of all who order stays as it is.
func TestBlockValidationByRule(t *testing.T) {
	rule := &common.Policy{Type: int32(common.Policy_IMPLICIT_META), Value: bytesOf(&common.ImplicitMetaPolicy{Rule: common.ImplicitMetaPolicy_ANY, SubPolicy: "Writers"})}
	c := made(t, "raft")
	c.group("Orderer").GetPolicies()[blockValidation].Policy = rule
	a := c.member(t, "XMSP")
	at, _ := consenter(t, c, 0)
	if err := errors.Join(c.AddOrderer(Orderer{MSP: "XMSP", Address: "a.x.test:7050", TLS: a.issue(t, "tls")}), c.RemoveOrderer(at)); err != nil {
		t.Fatal(err)
	}
	if got := c.group("Orderer").GetPolicies()[blockValidation].GetPolicy(); !proto.Equal(got, rule) {
		t.Errorf("%v", got)
	}
}
