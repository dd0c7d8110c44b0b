package chanconfig

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-admin-sdk/pkg/identity"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer/etcdraft"
	"google.golang.org/protobuf/proto"
)

func issue(t testing.TB, name string) ([]byte, *x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), cert, key
}

// folder lays out a membership definition.
func folder(t testing.TB, change map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	ca, _, _ := issue(t, "ca")
	tls, _, _ := issue(t, "tlsca")
	files := map[string]string{"cacerts/ca.pem": string(ca), "tlscacerts/tlsca.pem": string(tls), "config.yaml": `NodeOUs:
  Enable: true
  ClientOUIdentifier: {Certificate: cacerts/ca.pem, OrganizationalUnitIdentifier: client}
  PeerOUIdentifier: {Certificate: cacerts/ca.pem, OrganizationalUnitIdentifier: peer}
  AdminOUIdentifier: {Certificate: cacerts/ca.pem, OrganizationalUnitIdentifier: admin}
  OrdererOUIdentifier: {Certificate: cacerts/ca.pem, OrganizationalUnitIdentifier: orderer}
`}
	for name, content := range change {
		files[name] = content
	}
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if content == "" {
			_ = os.Remove(path)
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func bytesOf(m proto.Message) []byte {
	raw, err := proto.Marshal(m)
	if err != nil {
		panic(err)
	}
	return raw
}

// block is a configuration block of two members, of which AMSP runs the orderer.
func block(t testing.TB, bft bool) []byte {
	t.Helper()
	orgs := func(names ...string) map[string]*common.ConfigGroup {
		out := map[string]*common.ConfigGroup{}
		for _, name := range names {
			m, err := ReadMSP(name, folder(t, nil))
			if err != nil {
				t.Fatal(err)
			}
			out[name] = &common.ConfigGroup{ModPolicy: "Admins", Values: map[string]*common.ConfigValue{"MSP": value(m)}}
		}
		return out
	}
	cert, _, _ := issue(t, "orderer")
	kind := &orderer.ConsensusType{Type: "etcdraft", Metadata: bytesOf(&etcdraft.ConfigMetadata{Consenters: []*etcdraft.Consenter{
		{Host: "127.0.0.1", Port: 7050, ClientTlsCert: cert, ServerTlsCert: cert},
	}})}
	values := map[string]*common.ConfigValue{"Capabilities": value(&common.Capabilities{Capabilities: map[string]*common.Capability{"V2_0": {}}})}
	policies := map[string]*common.ConfigPolicy{blockValidation: anyOf("AMSP", msp.MSPRole_ORDERER)}
	if bft {
		kind = &orderer.ConsensusType{Type: "BFT"}
		all := []*common.Consenter{{Id: 1, Host: "127.0.0.1", Port: 7050, MspId: "AMSP", ServerTlsCert: cert, ClientTlsCert: cert}}
		values["Orderers"] = value(&common.Orderers{ConsenterMapping: all})
		policies[blockValidation].Policy = signedByQuorum(all)
	}
	values["ConsensusType"] = value(kind)
	ordering := orgs("AMSP")
	ordering["AMSP"].Values["Endpoints"] = value(&common.OrdererAddresses{Addresses: []string{"127.0.0.1:7050"}})
	capabilities := func(name string) map[string]*common.ConfigValue {
		return map[string]*common.ConfigValue{"Capabilities": value(&common.Capabilities{Capabilities: map[string]*common.Capability{name: {}}})}
	}
	config := &common.ConfigEnvelope{Config: &common.Config{Sequence: 3, ChannelGroup: &common.ConfigGroup{
		ModPolicy: "Admins", Values: capabilities("V2_0"), Groups: map[string]*common.ConfigGroup{
			"Application": {ModPolicy: "Admins", Groups: orgs("AMSP", "BMSP"), Values: capabilities("V2_0")},
			"Orderer":     {ModPolicy: "Admins", Groups: ordering, Values: values, Policies: policies},
		},
	}}}
	return bytesOf(&common.Block{Data: &common.BlockData{Data: [][]byte{bytesOf(&common.Envelope{Payload: bytesOf(&common.Payload{
		Header: &common.Header{ChannelHeader: bytesOf(&common.ChannelHeader{Type: int32(common.HeaderType_CONFIG), ChannelId: "jjj"})}, Data: bytesOf(config),
	})})}}})
}

// update makes a change and returns what it writes, by Fabric's own reading.
func update(t *testing.T, bft bool, change func(*Config) error) (*Config, *common.ConfigUpdate) {
	t.Helper()
	c, err := Parse(block(t, bft))
	if err != nil {
		t.Fatal(err)
	}
	if err := change(c); err != nil {
		t.Fatal(err)
	}
	u, err := c.Update()
	if err != nil {
		t.Fatal(err)
	}
	var out common.ConfigUpdate
	if err := proto.Unmarshal(u.config, &out); err != nil || out.GetChannelId() != "jjj" {
		t.Fatalf("%v %q", err, out.GetChannelId())
	}
	return c, &out
}

func TestAddAndRemove(t *testing.T) {
	c, u := update(t, false, func(c *Config) error {
		m, err := ReadMSP("CMSP", folder(t, nil))
		if err != nil {
			return err
		}
		return c.AddOrg(Org{MSP: m, Anchors: []string{"peer.c.test:7051"}})
	})
	if got := c.Orgs(); !slices.Equal(got, []string{"AMSP", "BMSP", "CMSP"}) {
		t.Error(got)
	}
	group := u.GetWriteSet().GetGroups()["Application"]
	if group.GetVersion() != 1 || group.GetGroups()["CMSP"].GetValues()["AnchorPeers"] == nil || len(group.GetGroups()["CMSP"].GetPolicies()) != 4 {
		t.Errorf("%+v", group)
	}
	s, err := c.Summary()
	if err != nil || len(s.Organisations) != 3 || len(s.Orderers) != 1 || s.Orderers[0].Address != "127.0.0.1:7050" || s.Orderers[0].MSP != "AMSP" || s.Organisations[0].TLS[0].Name != "tlsca" {
		t.Errorf("%+v %v", s, err)
	}
	c, u = update(t, false, func(c *Config) error { return c.RemoveOrg("BMSP") })
	if got := c.Orgs(); !slices.Equal(got, []string{"AMSP"}) || u.GetWriteSet().GetGroups()["Application"].GetVersion() != 1 {
		t.Errorf("%v %v", got, u)
	}
}

func TestRefused(t *testing.T) {
	m, err := ReadMSP("AMSP", folder(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := ReadMSP("XMSP", folder(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	_, _, key := issue(t, "x")
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
	for name, test := range map[string]struct {
		change func(*Config) error
		says   string
	}{
		"a member again":          {func(c *Config) error { return c.AddOrg(Org{MSP: m}) }, "set-msp"},
		"a bad anchor":            {func(c *Config) error { return c.AddOrg(Org{MSP: stranger, Anchors: []string{"peer"}}) }, "host:port"},
		"no member":               {func(c *Config) error { return c.RemoveOrg("XMSP") }, "AMSP, BMSP"},
		"one that orders":         {func(c *Config) error { return c.RemoveOrg("AMSP") }, "orderer"},
		"a stranger's":            {func(c *Config) error { return c.SetMSP(stranger) }, "no member"},
		"no orderer there":        {func(c *Config) error { cert, _, _ := issue(t, "n"); return c.SetOrdererCert("127.0.0.1:1", cert) }, "no orderer"},
		"a key for a certificate": {func(c *Config) error { return c.SetOrdererCert("127.0.0.1:7050", private) }, "private key"},
		"a capability back":       {func(c *Config) error { return c.SetCapability("application", "V1_4_2") }, "known are"},
	} {
		c, err := Parse(block(t, false))
		if err != nil {
			t.Fatal(err)
		}
		if err := test.change(c); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := c.Update(); !errors.Is(err, ErrUnchanged) {
			t.Errorf("%s: an update comes of it: %v", name, err)
		}
	}
}

func TestExchange(t *testing.T) {
	fresh, _, _ := issue(t, "orderer again")
	for _, bft := range []bool{false, true} {
		_, u := update(t, bft, func(c *Config) error { return c.SetOrdererCert("127.0.0.1:7050", fresh) })
		name := "ConsensusType"
		if bft {
			name = "Orderers"
		}
		v := u.GetWriteSet().GetGroups()["Orderer"].GetValues()[name]
		if v.GetVersion() != 1 || !strings.Contains(string(v.GetValue()), string(fresh)) {
			t.Errorf("BFT %v: %v", bft, u)
		}
	}
	_, u := update(t, false, func(c *Config) error {
		m, err := ReadMSP("AMSP", folder(t, nil))
		if err != nil {
			return err
		}
		return c.SetMSP(m)
	})
	for _, part := range []string{"Application", "Orderer"} { // one without the other would cut its orderer off
		if u.GetWriteSet().GetGroups()[part].GetGroups()["AMSP"].GetValues()["MSP"].GetVersion() != 1 {
			t.Errorf("%s has the old authorities", part)
		}
	}
	_, u = update(t, false, func(c *Config) error { return c.SetCapability("application", "V2_5") })
	if u.GetWriteSet().GetGroups()["Application"].GetValues()["Capabilities"].GetVersion() != 1 {
		t.Error("no capability")
	}
}

func TestSigning(t *testing.T) {
	c, err := Parse(block(t, false))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.RemoveOrg("BMSP"); err != nil {
		t.Fatal(err)
	}
	u, err := c.Update()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"AMSP", "BMSP"} {
		_, cert, key := issue(t, "admin")
		id, err := identity.NewPrivateKeySigningIdentity(name, cert, key)
		if err != nil {
			t.Fatal(err)
		}
		if err := u.Sign(id); err != nil {
			t.Fatal(err)
		}
		raw, err := u.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		if u, err = ParseUpdate(raw); err != nil {
			t.Fatal(err)
		}
	}
	if got := u.Signers(); !slices.Equal(got, []string{"AMSP", "BMSP"}) || u.Channel() != "jjj" {
		t.Error(got)
	}
}

func TestFolder(t *testing.T) {
	_, _, key := issue(t, "x")
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]map[string]string{
		"no authority":           {"cacerts/ca.pem": "x"},
		"a key":                  {"cacerts/key.pem": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))},
		"no roles":               {"config.yaml": "NodeOUs: {Enable: false}\n"},
		"an unknown setting":     {"config.yaml": "NodeOU: {Enable: true}\n"},
		"outside the folder":     {"config.yaml": "NodeOUs:\n  Enable: true\n  ClientOUIdentifier: {Certificate: ../x, OrganizationalUnitIdentifier: client}\n  PeerOUIdentifier: {OrganizationalUnitIdentifier: peer}\n  AdminOUIdentifier: {OrganizationalUnitIdentifier: admin}\n  OrdererOUIdentifier: {OrganizationalUnitIdentifier: orderer}\n"},
		"too large an authority": {"cacerts/ca.pem": strings.Repeat("x", maxFile+1)},
	} {
		if _, err := ReadMSP("AMSP", folder(t, change)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	for _, id := range []string{"", "a b", "../x"} {
		if _, err := ReadMSP(id, folder(t, nil)); err == nil {
			t.Errorf("%q: taken", id)
		}
	}
}

// FuzzParse: blocks and updates come from others.
func FuzzParse(f *testing.F) {
	update := bytesOf(&common.Envelope{Payload: bytesOf(&common.Payload{
		Header: &common.Header{ChannelHeader: bytesOf(&common.ChannelHeader{Type: int32(common.HeaderType_CONFIG_UPDATE), ChannelId: "jjj"})},
		Data:   bytesOf(&common.ConfigUpdateEnvelope{ConfigUpdate: []byte{1}}),
	})})
	f.Add(update)
	f.Add([]byte{})
	for _, bft := range []bool{false, true} {
		var b common.Block
		if err := proto.Unmarshal(block(f, bft), &b); err != nil {
			f.Fatal(err)
		}
		f.Add(b.GetData().GetData()[0])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if u, err := ParseUpdate(raw); err == nil {
			again, err := u.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			if v, err := ParseUpdate(again); err != nil || v.Channel() != u.Channel() {
				t.Fatalf("%v", err)
			}
			_ = u.Signers()
		}
		c, err := Parse(bytesOf(&common.Block{Data: &common.BlockData{Data: [][]byte{raw}}}))
		if err != nil {
			return
		}
		if s, err := c.Summary(); err == nil {
			for _, o := range s.Orderers {
				_ = c.RemoveOrderer(o.Address)
				_ = c.AddOrderer(Orderer{MSP: o.MSP, Address: o.Address})
			}
		}
		_ = c.RemoveOrg("AMSP")
		_, _ = c.Update()
	})
}
