package doctor

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/hyperledger/fabric-admin-sdk/pkg/chaincode"
	"google.golang.org/grpc/status"

	"github.com/zhenglian/zhenglian/network/fabric"
)

func (l *looker) orderer(ctx context.Context, o *fabric.Orderer, p *Program) {
	both(
		func() { l.health(ctx, o.Operations, p) },
		func() { p.Served = append(p.Served, l.served(ctx, p.Name, o.Address, o.ServerName(), o.TLSRoots())...) },
		func() { p.Looks[0] = l.ordererLook(ctx, o) },
	)
	l.later(func(ctx context.Context) { p.Looks[1] = l.ordererLook(ctx, o) })
}

func (l *looker) ordererLook(ctx context.Context, o *fabric.Orderer) Look {
	var look Look
	both(
		func() {
			if m, err := o.Membership(ctx); err == nil {
				look.Known, look.Height, look.Status = true, m.Height, m.Status
			}
		},
		func() {
			look.Beats = -1
			a, err := l.get(ctx, o.Operations, "/metrics")
			if err != nil {
				return
			}
			for _, name := range []string{"consensus_etcdraft_is_leader", "consensus_BFT_is_leader", "consensus_smartbft_is_leader"} {
				if _, v, ok := a.sample(name); ok && v == 1 {
					look.Leads = true
				}
			}
			if _, v, ok := a.sample("consensus_etcdraft_data_persist_duration_count"); ok {
				look.Beats = v
			}
		},
	)
	return look
}

// health asks an operations listener of Fabric's.
func (l *looker) health(ctx context.Context, address string, p *Program) {
	a, err := l.get(ctx, address, "/healthz")
	if err != nil {
		p.Silent = plain(err)
		return
	}
	p.clock(a)
	if a.status == http.StatusOK {
		return
	}
	var h struct {
		Failed []struct {
			Component string `json:"component"`
			Reason    string `json:"reason"`
		} `json:"failed_checks"`
	}
	p.Sick = fmt.Sprintf("/healthz: status %d", a.status)
	if json.Unmarshal(a.body, &h) == nil {
		for _, f := range h.Failed {
			p.Sick += fmt.Sprintf("; %s: %s", f.Component, f.Reason)
		}
	}
}

// served are the certificates of a TLS listener, and nothing when it does not answer.
func (l *looker) served(ctx context.Context, program, address, name, roots string) []Certificate {
	shown, _ := handshake(ctx, address, &tls.Config{ServerName: name, RootCAs: pool(roots), Time: l.o.Now})
	var out []Certificate
	for _, c := range shown {
		out = append(out, Certificate{Cert: c, Where: address, Program: program, Renew: program})
	}
	return out
}

func (l *looker) peer(ctx context.Context, o *fabric.Peer, p *Program) {
	look := func(ctx context.Context) (out Look) {
		if h, err := o.Height(ctx); err == nil {
			out.Known, out.Height = true, h
		}
		return out
	}
	p.Peer = &PeerFacts{}
	both(
		func() { l.health(ctx, o.Operations, p) },
		func() { p.Served = append(p.Served, l.served(ctx, p.Name, o.Address, o.ServerName(), o.TLSRoots())...) },
		func() { p.Looks[0] = look(ctx) },
		func() {
			if err := l.contract(ctx, o, p.Peer); err != nil {
				p.Peer.Trouble = plain(err)
			}
		},
		func() {
			if err := o.Reaches(ctx, l.facts.Contract); err != nil {
				p.Peer.Reach = plain(err)
			}
		},
	)
	l.later(func(ctx context.Context) { p.Looks[1] = look(ctx) })
}

// contract asks what the peer and its organisation have of the contract.
func (l *looker) contract(ctx context.Context, o *fabric.Peer, out *PeerFacts) error {
	id, err := o.Admin().Signer()
	if err != nil {
		return err
	}
	conn, err := o.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	gateway := chaincode.NewGateway(conn, id)
	all, err := gateway.QueryCommitted(ctx, fabric.Channel)
	if err != nil {
		return err
	}
	for _, d := range all.GetChaincodeDefinitions() {
		if d.GetName() == l.facts.Contract {
			out.Sequence, out.Version = d.GetSequence(), d.GetVersion()
			out.Policy = policyOf(d.GetValidationParameter())
		}
	}
	installed, err := chaincode.NewPeer(conn, id).QueryInstalled(ctx)
	if err != nil {
		return err
	}
	for _, c := range installed.GetInstalledChaincodes() {
		out.Installed = append(out.Installed, c.GetPackageId())
	}
	if out.Sequence == 0 {
		return nil
	}
	a, err := gateway.QueryApproved(ctx, fabric.Channel, l.facts.Contract, out.Sequence)
	if err != nil {
		// An organisation that approved nothing is answered with an error like any other.
		if strings.Contains(err.Error(), "could not fetch approved chaincode definition") {
			return nil
		}
		return err
	}
	out.Approved = a.GetSource().GetLocalPackage().GetPackageId()
	return nil
}

func (l *looker) service(ctx context.Context, s *fabric.Service, p *Program) {
	out := p.Service
	both(
		func() { l.probe(ctx, s, p) },
		func() { l.dial(ctx, s, p) },
		func() {
			if exe := executable(p.Pid); exe != "" {
				out.Digest = digestOf(exe)
			}
		},
	)
}

// probe asks a service's admin listener.
func (l *looker) probe(ctx context.Context, s *fabric.Service, p *Program) {
	out := p.Service
	a, err := l.get(ctx, s.Admin, "/readyz")
	if err != nil {
		p.Silent = plain(err)
		return
	}
	p.clock(a)
	if a.status != http.StatusOK {
		out.Unready = short(string(a.body), maxLine)
	}
	m, err := l.get(ctx, s.Admin, "/metrics")
	if err != nil {
		return
	}
	if labels, _, ok := m.sample("zhenglian_chaincode_build_info"); ok {
		out.Build = strings.TrimSpace(label(labels, "version") + " " + label(labels, "revision"))
	}
	if _, v, ok := m.sample("zhenglian_chaincode_max_level"); ok {
		out.Level = int(v)
	}
}

// dial connects to a service as the peer does, with what its package holds.
func (l *looker) dial(ctx context.Context, s *fabric.Service, p *Program) {
	out := p.Service
	c, err := s.Connection()
	if err != nil {
		out.Handshake = plain(err)
		return
	}
	if !c.TLSRequired {
		return
	}
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: hostname(c.Address), Time: l.o.Now}
	config.RootCAs.AppendCertsFromPEM([]byte(c.RootCert))
	if c.ClientAuthRequired {
		pair, err := tls.X509KeyPair([]byte(c.ClientCert), []byte(c.ClientKey))
		if err != nil {
			out.Handshake = plain(err)
			return
		}
		config.Certificates = []tls.Certificate{pair}
		for _, cert := range parse([]byte(c.ClientCert)) {
			p.Served = append(p.Served, Certificate{Cert: cert, Where: "package " + s.PackageID, Program: p.Name, Renew: "chaincode-client"})
		}
	}
	shown, err := handshake(ctx, c.Address, config)
	for _, cert := range shown {
		p.Served = append(p.Served, Certificate{Cert: cert, Where: c.Address, Program: p.Name, Renew: p.Name})
	}
	if err != nil {
		out.Handshake = plain(err)
	}
}

func (l *looker) node(ctx context.Context, n *fabric.Node, p *Program) {
	p.Silent, p.Node = "", nil // of an earlier look
	a, err := l.get(ctx, hostOf(n.AdminURL), "/readyz")
	if err != nil {
		p.Silent = plain(err)
		return
	}
	p.clock(a)
	p.Node = &NodeFacts{Dir: n.Dir}
	if err := json.Unmarshal(a.body, &p.Node.Readiness); err != nil {
		p.Silent = fmt.Sprintf("/readyz: status %d: %s", a.status, short(string(a.body), maxLine))
		p.Node = nil
	}
}

// plain is an error's text on one line, without gRPC's wrapping.
func plain(err error) string {
	if s, ok := status.FromError(err); ok && s.Message() != "" {
		return short(s.Code().String()+": "+s.Message(), maxLine)
	}
	return short(err.Error(), maxLine)
}

// pool reads authorities; a file that cannot be read gives an empty pool, which nothing passes.
func pool(path string) *x509.CertPool {
	p := x509.NewCertPool()
	if raw, err := os.ReadFile(path); err == nil {
		p.AppendCertsFromPEM(raw)
	}
	return p
}

// parse reads the certificates of a PEM text and passes over the rest.
func parse(raw []byte) []*x509.Certificate {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, raw = pem.Decode(raw); block == nil {
			return out
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, c)
		}
	}
}

func digestOf(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}
