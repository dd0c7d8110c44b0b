package fabric

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"go.yaml.in/yaml/v3"
)

// rendered reads a configuration file back as YAML.
func rendered(t *testing.T, path string) map[string]any {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v map[string]any
	if err := yaml.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%s: %v\n%s", path, err, raw)
	}
	return v
}

// at follows a path of keys, dot between them; a number counts in a list.
func at(t *testing.T, v any, path string) any {
	t.Helper()
	for _, key := range strings.Split(path, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			i := int(key[0] - '0')
			if i >= len(x) {
				t.Fatalf("%s: only %d", path, len(x))
			}
			v = x[i]
		default:
			t.Fatalf("%s: nothing below %s", path, key)
		}
	}
	return v
}

func expect(t *testing.T, v any, want map[string]any) {
	t.Helper()
	for path, is := range want {
		if got := at(t, v, path); got != is {
			t.Errorf("%s is %v (%T), want %v", path, got, got, is)
		}
	}
}

func planned(t *testing.T, change func(*Spec)) *Network {
	t.Helper()
	s := newState(t)
	s.Spec.Dir = filepath.Join(s.Spec.Dir, `a "quoted" folder: #1`)
	if change != nil {
		change(&s.Spec)
	}
	n, err := assemble(s, false)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestPeerConfiguration(t *testing.T) {
	n := planned(t, nil)
	p := n.Peer("hebei")
	if err := n.configurePeer(p); err != nil {
		t.Fatal(err)
	}
	c := rendered(t, filepath.Join(p.dir, "core.yaml"))
	expect(t, c, map[string]any{
		"peer.id": "peer-hebei", "peer.localMspId": "HebeiMSP", "peer.address": p.Address, "peer.gossip.externalEndpoint": p.Address,
		"peer.tls.enabled": true, "vm.endpoint": "", "chaincode.externalBuilders.0.path": n.path("builder"),
		"peer.fileSystemPath": p.dir + "/data", "ledger.snapshots.rootDir": p.dir + "/snapshots",
		"peer.gossip.reconnectInterval": "500ms", "peer.gossip.publishStateInfoInterval": "1s", "peer.gossip.aliveTimeInterval": "1s",
		"peer.gateway.broadcastTimeout": "4s", "operations.listenAddress": p.Operations, "metrics.provider": "prometheus",
	})
}

func TestOrdererConfiguration(t *testing.T) {
	n := planned(t, nil)
	seen := map[string]bool{}
	for _, o := range n.Orderers() {
		if err := n.configureOrderer(o); err != nil {
			t.Fatal(err)
		}
		c := rendered(t, filepath.Join(o.dir, "orderer.yaml"))
		expect(t, c, map[string]any{
			"General.BootstrapMethod": "none", "ChannelParticipation.Enabled": true, "General.TLS.Enabled": true, "General.ListenPort": o.port,
			"Admin.TLS.Enabled": true, "Admin.TLS.ClientAuthRequired": true, "Admin.ListenAddress": o.Admin, "General.LocalMSPID": o.MSP(),
		})
		for _, path := range []string{"FileLedger.Location", "Consensus.WALDir", "Consensus.SnapDir", "Operations.ListenAddress"} {
			v := at(t, c, path).(string)
			if seen[v] {
				t.Errorf("%s: two orderers share %s %s", o.Name, path, v)
			}
			seen[v] = true
		}
	}
}

func (n *Network) renderChannel(t *testing.T, v fabricVersion) map[string]any {
	t.Helper()
	path := n.path("configtx.yaml")
	if err := render(path, "configtx.yaml.tmpl", n.channelPlan(v)); err != nil {
		t.Fatal(err)
	}
	return at(t, rendered(t, path), "Profiles.channel").(map[string]any)
}

func TestRaftChannel(t *testing.T) {
	n := planned(t, nil)
	c := n.renderChannel(t, fabricVersion{2, 5, 0})
	expect(t, c, map[string]any{
		"Orderer.OrdererType": "etcdraft", "Orderer.BatchTimeout": "200ms", "Orderer.BatchSize.MaxMessageCount": 500,
		"Orderer.BatchSize.PreferredMaxBytes": 2 << 20, "Orderer.BatchSize.AbsoluteMaxBytes": 32 << 20, "Orderer.EtcdRaft.Options.TickInterval": "250ms",
		"Orderer.Policies.BlockValidation.Rule": "OR('BeijingMSP.orderer', 'TianjinMSP.orderer', 'HebeiMSP.orderer')",
		"Application.Organizations.3.ID":        "CustomsMSP", "Application.Organizations.3.AnchorPeers.0.Port": n.Peer("customs").port,
		"Application.Policies.LifecycleEndorsement.Rule": "MAJORITY Endorsement", "Application.Capabilities.V2_5": true, "Capabilities.V2_0": true,
		"Orderer.EtcdRaft.Consenters.2.ServerTLSCert": n.orderers[2].tls().Cert, "Orderer.Organizations.2.OrdererEndpoints.0": n.orderers[2].Address,
	})
	if got := len(at(t, c, "Orderer.Organizations").([]any)); got != 3 {
		t.Errorf("%d organisations order, want 3", got)
	}
	if at(t, n.renderChannel(t, fabricVersion{2, 4, 9}), "Application.Capabilities.V2_0") != true {
		t.Error("2.4 does not know the capability V2_5")
	}
}

// Run against real Fabric 3 programs by the e2e tests where ZL_FABRIC_BIN names them; here what is written.
func TestBFTChannel(t *testing.T) {
	for _, orgs := range []int{3, 4} {
		n := planned(t, func(s *Spec) { s.Consensus, s.Orgs = BFT, orgs })
		c := n.renderChannel(t, fabricVersion{3, 1, 5})
		expect(t, c, map[string]any{
			"Orderer.OrdererType": "BFT", "Capabilities.V3_0": true, "Orderer.ConsenterMapping.3.ID": 4,
			"Orderer.ConsenterMapping.3.Identity": n.orderers[3].identity().Cert, "Orderer.ConsenterMapping.3.MSPID": n.orderers[3].MSP(),
			"Orderer.ConsenterMapping.0.Port": n.orderers[0].port, "Orderer.EtcdRaft": nil,
			"Orderer.SmartBFT.RequestBatchMaxInterval": "200ms", "Orderer.SmartBFT.LeaderHeartbeatTimeout": "5s", "Orderer.SmartBFT.RequestPoolSize": 2000,
		})
		if got := len(at(t, c, "Orderer.ConsenterMapping").([]any)); got != 4 {
			t.Errorf("%d consenters", got)
		}
	}
}

func TestPolicy(t *testing.T) {
	n := planned(t, nil)
	for k := 1; k <= 4; k++ {
		p, err := n.policyOf(k)
		if err != nil {
			t.Fatal(err)
		}
		var m marshaller
		if got := thresholdOf(m.bytes(p)); got != k || m.err != nil {
			t.Errorf("%d of 4 is read as %d, %v", k, got, m.err)
		}
		if ids := p.GetSignaturePolicy().GetIdentities(); len(ids) != 4 {
			t.Errorf("%d identities", len(ids))
		}
	}
	for _, raw := range [][]byte{nil, []byte("junk"), {0x12, 0x01, 'x'}} {
		if k := thresholdOf(raw); k != 0 {
			t.Errorf("%q is read as %d", raw, k)
		}
	}
}

func TestHeaderHash(t *testing.T) {
	if _, err := headerHash(nil); err == nil {
		t.Error("hashed nothing")
	}
	h, err := headerHash(&common.BlockHeader{Number: 1 << 63})
	if err != nil || len(h) != 64 {
		t.Errorf("%s, %v", h, err)
	}
}
