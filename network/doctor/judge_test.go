package doctor

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/fabric"
	"github.com/zhenglian/zhenglian/sdk"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func certificate(t *testing.T, name string, from, to time.Time) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return c
}

// well is what is seen of a healthy network of three organisations.
func well(t *testing.T) *Facts {
	t.Helper()
	f := &Facts{
		Dir: "/srv/network", Contract: "zhenglian", Fabric: "2.5.12", Now: noon, Tick: 250 * time.Millisecond, Between: 3 * time.Second,
		Disks:   []Disk{{"/srv/network", 60 << 30, 100 << 30}},
		Channel: &Channel{Capabilities: map[string][]string{"channel": {"V2_0"}, "orderer": {"V2_0"}, "application": {"V2_5"}}, Consenters: map[string][]byte{}},
	}
	pid := 100
	add := func(p *Program) {
		pid++
		p.Pid, p.Slack = pid, time.Second
		p.Sockets = []Socket{{Address: "127.0.0.1:" + strings.Repeat("1", 1+len(f.Programs)%4), Open: true, Holder: pid}}
		f.Programs = append(f.Programs, p)
	}
	policy := outOf(2, "AMSP", "BMSP", "CMSP")
	for i, org := range []string{"a", "b", "c"} {
		msp := strings.ToUpper(org) + "MSP"
		cert := certificate(t, "orderer-"+org, noon.AddDate(-1, 0, 0), noon.AddDate(1, 0, 0))
		add(&Program{Name: "orderer-" + org, Kind: fabric.KindOrderer, Org: org, MSP: msp, Looks: [2]Look{
			{Known: true, Height: 9, Status: "active", Leads: i == 0, Beats: 10}, {Known: true, Height: 9, Status: "active", Leads: i == 0, Beats: 20},
		}, Served: []Certificate{{Cert: cert, Where: "127.0.0.1:1", Program: "orderer-" + org, Renew: "orderer-" + org}}})
		o := f.Programs[len(f.Programs)-1]
		o.Sockets[0].Address = "127.0.0.1:700" + org
		f.Channel.Consenters[o.Sockets[0].Address] = cert.RawSubjectPublicKeyInfo
		add(&Program{Name: "peer-" + org, Kind: fabric.KindPeer, Org: org, MSP: msp, Looks: [2]Look{{Known: true, Height: 9}, {Known: true, Height: 9}},
			Peer: &PeerFacts{Sequence: 1, Version: "1", Policy: policy, Approved: "p:" + org, Installed: []string{"p:" + org}}})
		add(&Program{Name: "zhenglian-1-" + org, Kind: fabric.KindChaincode, Org: org, MSP: msp,
			Service: &ServiceFacts{Contract: "zhenglian", Version: "1", PackageID: "p:" + org, Build: "v1 abc", Level: 1, Digest: "d"}})
		add(&Program{Name: "node-" + org, Kind: fabric.KindNode, Org: org, MSP: msp, Node: &NodeFacts{Readiness: sdk.Readiness{
			Status: sdk.OK, Components: []sdk.Component{{Name: "follower", Status: sdk.OK}, {Name: "writes", Status: sdk.OK}, {Name: "gateways", Status: sdk.OK}},
		}}})
	}
	return f
}

func (f *Facts) program(name string) *Program {
	for _, p := range f.Programs {
		if p.Name == name {
			return p
		}
	}
	return nil
}

func TestJudge(t *testing.T) {
	cert := func(from, to time.Duration) Certificate {
		return Certificate{Cert: certificate(t, "x", noon.Add(from), noon.Add(to)), Where: "/x.crt", Renew: "peer-a"}
	}
	const day = 24 * time.Hour
	tests := []struct {
		name    string
		damage  func(*Facts)
		want    []Code
		command string // somewhere in a cure
	}{
		{"nothing", func(*Facts) {}, nil, ""},
		{"port held by another", func(f *Facts) {
			p := f.program("peer-a")
			p.Pid, p.Sockets[0].Holder, p.Sockets[0].Command = 0, 4711, "nc -l"
		}, []Code{PortTaken}, "kill 4711"},
		{"port held by somebody unseen", func(f *Facts) {
			p := f.program("peer-a")
			p.Pid, p.Sockets[0].Holder = 0, 0
		}, []Code{PortTaken}, "ss -ltnp"},
		{"peer down", func(f *Facts) { f.stop("peer-b") }, []Code{PeerDown}, "zl-network up --dir /srv/network"},
		{"two peers down", func(f *Facts) { f.stop("peer-b"); f.stop("peer-c") }, []Code{PeerDown, PolicyUnsatisfiable}, ""},
		{"peer silent", func(f *Facts) { f.program("peer-b").Silent = "timeout" }, []Code{PeerDown}, "restart --dir /srv/network peer-b"},
		{"peer behind", func(f *Facts) {
			f.program("peer-b").Looks = [2]Look{{Known: true, Height: 5}, {Known: true, Height: 5}}
		}, []Code{PeerBehind}, "restart"},
		{"peer catching up", func(f *Facts) {
			f.program("peer-b").Looks = [2]Look{{Known: true, Height: 5}, {Known: true, Height: 7}}
		}, []Code{PeerBehind}, "doctor"},
		{"peer that caught up", func(f *Facts) {
			f.program("peer-b").Looks = [2]Look{{Known: true, Height: 5}, {Known: true, Height: 9}}
		}, nil, ""},
		{"orderer hung, idle", func(f *Facts) { f.program("orderer-b").Looks[1].Beats = 10 }, []Code{OrdererHung}, "restart --dir /srv/network orderer-b"},
		{"orderer hung, others write", func(f *Facts) {
			for i, o := range []string{"orderer-a", "orderer-b", "orderer-c"} {
				f.program(o).Looks[1].Height += uint64(min(i, 1)) * 5
			}
			f.program("orderer-a").Looks[1].Beats = 10
			f.program("orderer-b").Looks[0].Leads = true
		}, []Code{OrdererHung}, "orderer-a"},
		{"BFT orderer stands still", func(f *Facts) {
			f.BFT = true
			for _, o := range []string{"orderer-a", "orderer-b", "orderer-c"} {
				for i := range 2 {
					f.program(o).Looks[i].Beats = -1
				}
			}
			f.program("orderer-c").Looks[0].Height, f.program("orderer-c").Looks[1].Height = 7, 7
		}, []Code{OrdererHung}, "orderer-c"},
		{"orderer onboarding", func(f *Facts) {
			for i := range 2 {
				f.program("orderer-b").Looks[i] = Look{Known: true, Height: 3, Status: "onboarding", Beats: 0}
			}
		}, nil, ""},
		{"no leader", func(f *Facts) {
			f.program("orderer-a").Looks[0].Leads, f.program("orderer-a").Looks[1].Leads = false, false
		}, []Code{NoLeader}, ""},
		{"no leader, and most are silent", func(f *Facts) {
			f.program("orderer-a").Looks[0].Leads, f.program("orderer-a").Looks[1].Leads = false, false
			f.program("orderer-a").Looks[1].Beats, f.program("orderer-b").Looks[1].Beats = 10, 10
		}, []Code{NoLeader}, "up"},
		{"every orderer is down", func(f *Facts) { f.stop("orderer-a"); f.stop("orderer-b"); f.stop("orderer-c") }, []Code{OrdererDown, NoLeader}, "up"},
		{"BFT, as many as may be are down", func(f *Facts) { f.bft(); f.stop("orderer-b") }, []Code{OrdererDown}, ""},
		{"BFT, one too many is down", func(f *Facts) { f.bft(); f.stop("orderer-a"); f.stop("orderer-b") }, []Code{OrdererDown, NoLeader}, "up"},
		{"BFT, one is down and one frozen", func(f *Facts) {
			f.bft()
			f.stop("orderer-a")
			o := f.program("orderer-b")
			o.Frozen, o.Silent, o.Looks = true, "timeout", [2]Look{}
		}, []Code{OrdererDown, NoLeader}, "kill -CONT"},
		{"BFT, one is down and one fetches blocks", func(f *Facts) {
			f.bft()
			f.stop("orderer-a")
			f.program("orderer-b").Looks[1].Status = "onboarding"
		}, []Code{OrdererDown, NoLeader}, ""},
		{"BFT, one is down and one cannot be asked", func(f *Facts) {
			f.bft()
			f.stop("orderer-a")
			c := cert(-9*day, -1)
			c.Renew = "admin-b"
			f.Files = append(f.Files, c)
			f.program("orderer-b").Looks = [2]Look{{Beats: -1}, {Beats: -1}}
		}, []Code{CertificateExpired, OrdererDown}, ""},
		{"BFT, one that left the channel does not count", func(f *Facts) {
			f.bft()
			delete(f.Channel.Consenters, f.program("orderer-a").Sockets[0].Address)
			for i := range 2 {
				f.program("orderer-a").Looks[i].Status = "inactive"
			}
		}, []Code{OrdererUnknown}, ""},
		{"BFT, one that left the channel, and one too many is down", func(f *Facts) {
			f.bft()
			delete(f.Channel.Consenters, f.program("orderer-a").Sockets[0].Address)
			f.stop("orderer-b")
			f.stop("orderer-c")
		}, []Code{OrdererDown, NoLeader, OrdererUnknown}, ""},
		{"heartbeats rarer than the looks", func(f *Facts) {
			f.Tick = 5 * time.Second
			f.program("orderer-b").Looks[1].Beats = 10
		}, nil, ""},
		{"an election between the looks", func(f *Facts) {
			f.program("orderer-a").Looks[0].Leads, f.program("orderer-a").Looks[1].Leads = false, false
			f.program("orderer-b").Looks[1].Leads = true
		}, nil, ""},
		{"orderer with another key", func(f *Facts) {
			f.Channel.Consenters[f.program("orderer-b").Sockets[0].Address] = []byte("other")
		}, []Code{OrdererUnknown}, ""},
		{"orderer not in the channel", func(f *Facts) { delete(f.Channel.Consenters, f.program("orderer-b").Sockets[0].Address) }, []Code{OrdererUnknown}, ""},
		{"expired", func(f *Facts) { f.Files = append(f.Files, cert(-9*day, -1)) }, []Code{CertificateExpired}, "renew --dir /srv/network peer-a && zl-network restart"},
		{"expires this second", func(f *Facts) { f.Files = append(f.Files, cert(-9*day, 0)) }, []Code{CertificateExpired}, ""},
		{"expires in 29 days", func(f *Facts) { f.Files = append(f.Files, cert(-9*day, 29*day)) }, []Code{CertificateExpiring}, ""},
		{"expires in 31 days", func(f *Facts) { f.Files = append(f.Files, cert(-9*day, 31*day)) }, nil, ""},
		{"not yet valid", func(f *Facts) { f.Files = append(f.Files, cert(time.Minute, 99*day)) }, []Code{CertificateEarly}, ""},
		{"an authority of the channel", func(f *Facts) {
			c := cert(-9*day, day)
			c.Channel, c.Renew = true, ""
			f.Channel.Authorities = append(f.Channel.Authorities, c)
		}, []Code{CertificateExpiring}, "config show"},
		{"one clock wrong", func(f *Facts) { f.program("peer-b").Clock = -4 * time.Minute }, []Code{ClockSkew}, "chronyc"},
		{"one clock a little wrong", func(f *Facts) { f.program("peer-b").Clock = -2 * time.Minute }, nil, ""},
		{"every other clock wrong", func(f *Facts) {
			for _, p := range f.Programs {
				p.Clock = 6 * time.Minute
			}
		}, []Code{ClockSkew}, ""},
		{"disk", func(f *Facts) { f.Disks[0].Free = 1 << 30 }, []Code{DiskNearlyFull}, "du -xh"},
		{"small disk, half free", func(f *Facts) { f.Disks[0] = Disk{"/", 3 << 30, 6 << 30} }, nil, ""},
		{"service down", func(f *Facts) { f.stop("zhenglian-1-a") }, []Code{ChaincodeGone}, "up"},
		{"service refuses the peer's certificate", func(f *Facts) { f.program("zhenglian-1-a").Service.Handshake = "TLS: bad certificate" }, []Code{ChaincodeGone}, "restart"},
		{"service not ready", func(f *Facts) { f.program("zhenglian-1-a").Service.Unready = "stopping" }, []Code{ChaincodeGone}, ""},
		{"peer cannot reach it", func(f *Facts) { f.program("peer-a").Peer.Reach = "could not launch chaincode" }, []Code{ChaincodeGone}, ""},
		{"only one can endorse", func(f *Facts) {
			f.program("peer-a").Peer.Reach, f.program("peer-b").Peer.Reach = "could not launch", "could not launch"
		}, []Code{ChaincodeGone, PolicyUnsatisfiable}, ""},
		{"approval known by its hash", func(f *Facts) { f.program("peer-a").Peer.Approved = "" }, nil, ""},
		{"no approval", func(f *Facts) { f.program("peer-a").Peer.Approved, f.program("peer-a").Peer.Reach = "", "not found" }, []Code{ChaincodeMixed}, "upgrade --dir /srv/network --version 2"},
		{"approved, not installed", func(f *Facts) { f.program("peer-a").Peer.Installed = nil }, []Code{ChaincodeMixed}, ""},
		{"another package", func(f *Facts) {
			p := f.program("peer-a").Peer
			p.Approved, p.Installed = "old", []string{"old"}
			p.Reach = "could not launch"
		}, []Code{ChaincodeMixed}, ""},
		{"another build", func(f *Facts) { f.program("zhenglian-1-a").Service.Build = "v0 abc" }, []Code{ChaincodeMixed}, ""},
		{"another level", func(f *Facts) { f.program("zhenglian-1-a").Service.Level = 2 }, []Code{ChaincodeMixed}, ""},
		{"another program", func(f *Facts) { f.program("zhenglian-1-a").Service.Digest = "e" }, []Code{ChaincodeMixed}, ""},
		{"during an upgrade", func(f *Facts) {
			f.Programs = append(f.Programs, &Program{Name: "zhenglian-2-a", Kind: fabric.KindChaincode, Org: "a", Pid: 99,
				Service: &ServiceFacts{Contract: "zhenglian", Version: "2", PackageID: "q:a", Build: "v2", Level: 2, Digest: "e"}})
		}, nil, ""},
		{"node down", func(f *Facts) { f.stop("node-a") }, []Code{NodeDown}, "up"},
		{"nodes left stopped", func(f *Facts) { f.Idle = true; f.stop("node-a"); f.stop("node-b"); f.stop("node-c") }, nil, ""},
		{"follower's finding", func(f *Facts) {
			f.component("node-a", sdk.Component{Name: "follower", Status: sdk.Failed, Code: model.CodeFollowerStopped, Detail: "state.differs: …"})
		}, []Code{NodeFinding}, "restart"},
		{"follower's finding, and writes wait", func(f *Facts) {
			f.component("node-a", sdk.Component{Name: "follower", Status: sdk.Failed, Code: model.CodeFollowerStopped})
			f.component("node-a", sdk.Component{Name: "writes", Status: sdk.Degraded, Detail: "recovering"})
		}, []Code{NodeFinding}, "--clear"},
		{"refused peer", func(f *Facts) {
			f.component("node-a", sdk.Component{Name: "gateways", Status: sdk.Degraded, Code: model.CodeLedgerUnavailable, Detail: "peer.b:7051: refused, 9 blocks (gateway.altered: …)"})
		}, []Code{NodePeerRefused}, "restart"},
		{"peer outside the channel", func(f *Facts) { f.program("peer-b").Looks = [2]Look{} }, []Code{PeerDown}, "up"},
		{"orderer outside the channel", func(f *Facts) { f.program("orderer-b").Looks = [2]Look{{Beats: -1}, {Beats: -1}} }, []Code{OrdererDown}, "up"},
		{"an administrator's certificate", func(f *Facts) {
			c := cert(-9*day, -1)
			c.Renew = "admin-b"
			f.Files = append(f.Files, c)
			f.program("orderer-b").Looks = [2]Look{{Beats: -1}, {Beats: -1}}
			f.program("peer-b").Peer.Trouble, f.program("peer-b").Peer.Reach = "access denied", "access denied"
			f.stop("peer-c")
		}, []Code{CertificateExpired, PeerDown}, "renew --dir /srv/network admin-b"},
		{"a follower's finding counts whatever else is wrong", func(f *Facts) {
			f.stop("orderer-b")
			f.component("node-a", sdk.Component{Name: "follower", Status: sdk.Failed, Code: model.CodeFollowerStopped})
		}, []Code{OrdererDown, NodeFinding}, ""},
		{"node not ready", func(f *Facts) {
			f.component("node-a", sdk.Component{Name: "outbox", Status: sdk.Degraded, Code: model.CodeInternal})
		}, []Code{NodeNotReady}, ""},
		{"what a node has for itself is named beside the network's faults", func(f *Facts) {
			f.stop("orderer-b")
			f.component("node-a", sdk.Component{Name: "writes", Status: sdk.Degraded, Code: model.CodeLedgerUnavailable})
			f.component("node-a", sdk.Component{Name: "outbox", Status: sdk.Degraded, Code: model.CodeInternal})
		}, []Code{OrdererDown, NodeNotReady}, "restart --dir /srv/network node-a"},
		{"a node's disk is full, and an orderer is down", func(f *Facts) {
			f.stop("orderer-b")
			f.component("node-a", sdk.Component{Name: "writes", Status: sdk.Degraded, Code: model.CodeStorageFull})
		}, []Code{OrdererDown, NodeNotReady}, ""},
		{"a node's disk is full, which is known", func(f *Facts) {
			f.Disks[0].Free = 1 << 20
			f.component("node-a", sdk.Component{Name: "writes", Status: sdk.Degraded, Code: model.CodeStorageFull})
		}, []Code{DiskNearlyFull}, ""},
		{"an import is open, and a peer is down", func(f *Facts) {
			f.stop("peer-b")
			f.component("node-a", sdk.Component{Name: "import", Status: sdk.Degraded, Code: model.CodeImportOpen})
			f.component("node-c", sdk.Component{Name: "follower", Status: sdk.Failed, Code: model.CodeImportOpen})
		}, []Code{PeerDown, NodeNotReady}, ""},
		{"a follower's finding, and what the node has for itself", func(f *Facts) {
			f.component("node-a", sdk.Component{Name: "follower", Status: sdk.Failed, Code: model.CodeFollowerStopped})
			f.component("node-a", sdk.Component{Name: "outbox", Status: sdk.Degraded, Code: model.CodeInternal})
		}, []Code{NodeFinding, NodeNotReady}, ""},
		{"node not ready because nobody orders", func(f *Facts) {
			f.stop("orderer-a")
			f.component("node-a", sdk.Component{Name: "writes", Status: sdk.Degraded, Code: model.CodeLedgerUnavailable})
		}, []Code{OrdererDown, NoLeader}, ""},
		{"old capabilities", func(f *Facts) { f.Channel.Capabilities["application"] = []string{"V1_4_2"} }, []Code{ChannelCapabilities}, ""},
		{"nothing runs", func(f *Facts) {
			f.Channel = nil
			for _, p := range f.Programs {
				f.stop(p.Name)
			}
		}, []Code{OrdererDown, NoLeader, PeerDown, ChaincodeGone, NodeDown}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := well(t)
			test.damage(f)
			r := Judge(f, Options{})
			if got := r.Codes(); !slices.Equal(got, test.want) {
				t.Errorf("found %v, want %v\n%+v", got, test.want, r.Findings)
			}
			if want := min(len(test.want), 1); r.Exit() != want {
				t.Errorf("exit status %d, want %d", r.Exit(), want)
			}
			cured := test.command == ""
			for _, found := range r.Findings {
				if found.What.Zh == "" || found.What.En == "" || found.Cure.Zh == "" || found.Cure.En == "" || found.Cure.Command == "" || len(found.Evidence) == 0 {
					t.Errorf("incomplete: %+v", found)
				}
				cured = cured || strings.Contains(found.Cure.Command, test.command)
			}
			if !cured {
				t.Errorf("no cure says %q: %+v", test.command, r.Findings)
			}
			for _, lang := range []string{"zh", "en"} {
				var out bytes.Buffer
				if err := r.Print(&out, lang); err != nil {
					t.Error(err)
				}
				for _, found := range r.Findings {
					if !strings.Contains(out.String(), string(found.Code)) || !strings.Contains(out.String(), found.Cure.Command) {
						t.Errorf("%s: the print leaves out %s\n%s", lang, found.Code, &out)
					}
				}
			}
		})
	}
}

// stop makes a program one that does not run, as seen.
func (f *Facts) stop(name string) {
	p := f.program(name)
	service := p.Service
	if service != nil {
		service = &ServiceFacts{Contract: service.Contract, Version: service.Version, PackageID: service.PackageID}
	}
	*p = Program{Name: p.Name, Kind: p.Kind, Org: p.Org, MSP: p.MSP, Service: service, Sockets: []Socket{{Address: p.Sockets[0].Address}}}
}

// bft makes the orderers four that bear a traitor.
func (f *Facts) bft() {
	f.BFT = true
	fourth := *f.program("orderer-c")
	fourth.Name, fourth.Sockets = "orderer-d", []Socket{{Address: "127.0.0.1:700d"}}
	f.Programs = append(f.Programs, &fourth)
	f.Channel.Consenters["127.0.0.1:700d"] = f.Channel.Consenters["127.0.0.1:700c"]
	for _, p := range f.Programs {
		if p.Kind == fabric.KindOrderer {
			for i := range p.Looks {
				p.Looks[i].Beats, p.Looks[i].Leads = -1, false
			}
		}
	}
}

func (f *Facts) component(node string, c sdk.Component) {
	r := &f.program(node).Node.Readiness
	for i := range r.Components {
		if r.Components[i].Name == c.Name {
			r.Components[i] = c
			return
		}
	}
	r.Components = append(r.Components, c)
}

// TestEvidence: what follows from a fault with a finding of its own is not in the evidence of what does not.
func TestEvidence(t *testing.T) {
	f := well(t)
	f.stop("orderer-b")
	f.component("node-a", sdk.Component{Name: "writes", Status: sdk.Degraded, Code: model.CodeLedgerUnavailable})
	f.component("node-a", sdk.Component{Name: "outbox", Status: sdk.Degraded, Code: model.CodeInternal, Detail: "3 set aside"})
	for _, found := range Judge(f, Options{}).Findings {
		if all := strings.Join(found.Evidence, "; "); found.Code == NodeNotReady && (strings.Contains(all, "writes") || !strings.Contains(all, "3 set aside")) {
			t.Errorf("%q", found.Evidence)
		}
	}
}

func TestQuorum(t *testing.T) {
	for n, want := range map[int][2]int{1: {1, 1}, 3: {2, 2}, 4: {3, 3}, 5: {3, 4}, 6: {4, 4}, 7: {4, 5}, 10: {6, 7}} {
		if got := [2]int{quorum(n, false), quorum(n, true)}; got != want {
			t.Errorf("of %d orderers %v are needed, want %v (Raft, BFT)", n, got, want)
		}
	}
}

// TestFormer: a program that was replaced while it ran is no fault, and is named.
func TestFormer(t *testing.T) {
	f := well(t)
	f.program("orderer-b").Former, f.program("peer-c").Former = true, true
	r := Judge(f, Options{})
	if !r.Healthy || len(r.Notes) != 1 || !strings.Contains(r.Notes[0].En, "orderer-b, peer-c") || !strings.Contains(r.Notes[0].Zh, "zl-network restart --dir /srv/network orderer-b") {
		t.Errorf("%+v", r)
	}
}

func TestNext(t *testing.T) {
	for version, want := range map[string]string{"1": "2", "9": "10", "v1.2": "v1.3", "": ".1", "beta": "beta.1", "r09": "r10"} {
		if got := next(version); got != want {
			t.Errorf("after %q comes %q, want %q", version, got, want)
		}
	}
}
