package app

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/invite"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// invitationsDir keeps what a node knows of its invitations.
const invitationsDir = "invitations"

// authorityDir is where an organisation's authority lies, if it lies in its node's folder.
const authorityDir = "authority"

// InviteOptions say who is invited.
type InviteOptions struct {
	Node     model.NodeID
	Agencies []model.AgencyID // which the node is to act for; they are registered
	URL      string           // under which the invited node reaches this one; "": as it listens
	Expires  time.Duration
}

// Invite makes an invitation for another node of this node's organisation. A running node is asked whether it has the
// agencies; one that does not run looks when the invited one comes.
func Invite(ctx context.Context, cfg *Config, o InviteOptions) (*invite.Invitation, error) {
	if _, err := model.ParseNodeID(string(o.Node)); err != nil || o.Node == cfg.Node {
		return nil, fmt.Errorf("--node %q: give the id of the new node", o.Node)
	}
	if o.Expires < time.Minute || o.Expires > 30*24*time.Hour {
		return nil, errors.New("--expires: 1 minute to 30 days")
	}
	i := &invite.Invitation{
		Expires: time.Now().Add(o.Expires).UTC().Truncate(time.Second), URL: strings.TrimRight(o.URL, "/"), Node: o.Node, Msp: cfg.Msp, Agencies: o.Agencies,
		Channel: cfg.Channel, Chaincode: cfg.Chaincode, GenesisDigest: cfg.GenesisDigest, GenesisBlock: cfg.GenesisBlock, ImportFrom: cfg.ImportFrom,
	}
	if cfg.TLSCert != "" {
		pair, err := tls.LoadX509KeyPair(cfg.path(cfg.TLSCert), cfg.path(cfg.TLSKey))
		if err != nil {
			return nil, err
		}
		i.Pin = pinOf(pair.Leaf.RawSubjectPublicKeyInfo)
	}
	if i.URL == "" {
		i.URL = map[bool]string{true: "https://", false: "http://"}[i.Pin != ""] + cfg.Listen
	}
	if !strings.HasPrefix(i.URL, "https://") && !strings.HasPrefix(i.URL, "http://127.0.0.1:") {
		return nil, said("%s：受邀节点须经 TLS 连接：请给本节点配置证书（tls_cert、tls_key），并用 --url https://…", "%s: whoever is invited comes over TLS: give this node a certificate (tls_cert, tls_key) and --url https://…", i.URL)
	}
	if i.Pin == "" && strings.HasPrefix(i.URL, "https://") {
		return nil, said("%s：本节点没有 TLS 证书（tls_cert、tls_key），受邀节点无法认出它：请先配置证书", "%s: this node has no TLS certificate (tls_cert, tls_key) by which the invited one could know it: give it one first", i.URL)
	}
	if err := registered(ctx, cfg, o.Agencies); err != nil {
		return nil, err
	}
	var err error
	if i.Gateways, err = cfg.gateways(); err != nil {
		return nil, err
	}
	s := invite.Store{Dir: cfg.path(invitationsDir)}
	i.ID, i.Token, err = s.New(invite.Record{Expires: i.Expires, Node: i.Node, Msp: i.Msp, Agencies: i.Agencies})
	return i, err
}

func pinOf(publicKey []byte) string {
	sum := sha256.Sum256(publicKey)
	return hex.EncodeToString(sum[:])
}

// gateways are those through which this node's ledger is reached from elsewhere.
func (c *Config) gateways() (out []invite.Gateway, err error) {
	list := c.Ledger.Gateways
	if c.Ledger.Embedded != "" {
		l, err := LoadLedger(c.path(c.Ledger.Embedded))
		if err != nil {
			return nil, err
		}
		if l.Listen == "" || l.TLSCert == "" {
			return nil, said("本节点的账本在节点进程内运行，其他节点无法连接：请先停止节点，让账本在独立进程中运行：zhenglian ledger apart --dir %s --listen HOST:7051（docs/ops/operate）", "this node's ledger runs inside it, and nobody else reaches it: stop the node and let it run in a process of its own first: zhenglian ledger apart --dir %s --listen HOST:7051 (docs/ops/operate)", c.dir)
		}
		list = []Gateway{{Address: l.Listen, TLSRoots: l.path("ca.crt")}}
	}
	for _, g := range list {
		raw, err := os.ReadFile(c.path(g.TLSRoots))
		if err != nil {
			return nil, err
		}
		out = append(out, invite.Gateway{Address: g.Address, Roots: string(raw), ServerName: g.ServerName})
	}
	return out, nil
}

// joining answers invited nodes.
type joining struct {
	n     *Node
	store *invite.Store
}

// joinRequest is what an invited node sends.
type joinRequest struct {
	ID      string `json:"id"`
	Token   string `json:"token"`
	Request string `json:"request"` // base64 of its PEM certificate request; the key stays with it
}

// joinAnswer is what it hears.
type joinAnswer struct {
	Status       string              `json:"status"`                // issued, pending, expired, used
	Certificate  string              `json:"certificate,omitempty"` // PEM
	Genesis      string              `json:"genesis,omitempty"`     // the document
	Organisation *model.Organisation `json:"organisation,omitempty"`
	Agencies     []model.Agency      `json:"agencies,omitempty"`
	Missing      []model.AgencyID    `json:"missing,omitempty"` // of unregistered: which are
}

// unregistered is the answer while the registry lacks one of the invitation's agencies: the invitation stays good.
const unregistered = "unregistered"

var errUnregistered = errors.New("an agency is not registered")

// unregistered lists those of some agencies that this node's records do not have.
func (n *Node) unregistered(ids []model.AgencyID) (missing []model.AgencyID, err error) {
	for _, id := range ids {
		a, err := n.records.Agency(id)
		if err != nil {
			return nil, err
		}
		if a == nil {
			missing = append(missing, id)
		}
	}
	return missing, nil
}

// postUnregistered answers the operator who is about to invite.
func (n *Node) postUnregistered(w http.ResponseWriter, req *http.Request) {
	var ids []model.AgencyID
	if err := json.NewDecoder(http.MaxBytesReader(w, req.Body, 64<<10)).Decode(&ids); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if n.records.Position() == 0 {
		ids = nil // it does not know yet
	}
	missing, err := n.unregistered(ids)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(missing) // the client may be gone
}

// registered asks the running node whether it has agencies. Of a node that does not run nothing is known, and it looks
// again when the invited one comes.
func registered(ctx context.Context, cfg *Config, ids []model.AgencyID) error {
	body, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	b, err := NewAdmin(cfg).Do(ctx, http.MethodPost, "/unregistered", body)
	if errors.Is(err, ErrDown) {
		return nil
	}
	if err != nil {
		return err
	}
	defer b.Close()
	var missing []model.AgencyID
	if err := json.NewDecoder(io.LimitReader(b, 64<<10)).Decode(&missing); err != nil {
		return fmt.Errorf("the node's answer: %w", err)
	}
	if len(missing) > 0 {
		return said("%v 尚未登记：请先由成员登记该机关（docs/ops/organisation-joins），再发出邀请", "%v is not registered: have the members register the agency first (docs/ops/organisation-joins), then invite", missing)
	}
	return nil
}

// Join binds an invitation to a certificate request, has it certified where the organisation's authority lies in this
// node's folder, and gives what the new node needs of the ledger.
//
// Crash argument: the request is bound to the invitation on the disk before anything is answered, so a token counts once;
// the same request gets the same answer again, whichever of the two nodes ended in between.
func (j joining) Join(_ context.Context, body []byte) (any, error) {
	var in joinRequest
	if _, err := model.DecodeStrict(body, &in); err != nil {
		return nil, err
	}
	request, err := base64.StdEncoding.DecodeString(in.Request)
	if err != nil {
		return nil, model.E(model.CodeBadValue, "request")
	}
	var missing []model.AgencyID
	r, what, err := j.store.Claim(in.ID, in.Token, string(request), time.Now(), func(r *invite.Record) (err error) {
		if missing, err = j.n.unregistered(r.Agencies); err == nil && len(missing) > 0 {
			err = errUnregistered
		}
		return err
	})
	switch {
	case errors.Is(err, errUnregistered):
		return joinAnswer{Status: unregistered, Missing: missing}, nil
	case err != nil:
		return nil, model.E(model.CodeInternal).Because(err)
	case what == invite.Unknown:
		return nil, model.E(model.CodeUnauthenticated)
	case what != invite.Claimed:
		return joinAnswer{Status: what}, nil
	}
	j.n.log.Info("an invited node has come", "node", r.Node, "invitation", r.ID, "certified", r.Certificate != "")
	if r.Certificate == "" {
		if err := j.certify(r); err != nil {
			return nil, err
		}
	}
	out := joinAnswer{Status: "issued", Certificate: r.Certificate, Genesis: string(j.n.genesis)}
	if r.Certificate == "" {
		return joinAnswer{Status: "pending"}, nil
	}
	if out.Organisation, err = j.n.records.Organisation(r.Msp); err != nil {
		return nil, err
	}
	for _, id := range r.Agencies {
		a, err := j.n.records.Agency(id)
		if err != nil {
			return nil, err
		}
		if a == nil {
			return nil, model.E(model.CodeNotFound, "agency").With("%s is not registered", id)
		}
		out.Agencies = append(out.Agencies, *a)
	}
	return out, nil
}

func (j joining) certify(r *invite.Record) error {
	key, err := msp.CheckRequest([]byte(r.Request), string(r.Node))
	if err != nil {
		return model.E(model.CodeBadValue, "request").Because(err)
	}
	ca, err := msp.LoadCA(string(r.Msp), j.n.path(authorityDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil // the authority's people certify it
	}
	if err != nil {
		return model.E(model.CodeInternal).Because(err)
	}
	cert, err := ca.Certify(string(r.Node), key, msp.Validity{})
	if err != nil {
		return model.E(model.CodeInternal).Because(err)
	}
	r.Certificate = string(cert)
	if err := j.store.Put(r); err != nil {
		return model.E(model.CodeInternal).Because(err)
	}
	return nil
}

// Invitations lists a node's invitations.
func Invitations(cfg *Config) ([]invite.Record, error) {
	return (&invite.Store{Dir: cfg.path(invitationsDir)}).List()
}

// CertifyInvited puts a certificate that the organisation's authority made for a pending request in its place.
func CertifyInvited(cfg *Config, id string, certificate []byte) error {
	s := &invite.Store{Dir: cfg.path(invitationsDir)}
	r, err := s.Get(id)
	if err != nil {
		return err
	}
	if r.Request == "" {
		return errors.New("the invited node has not come yet")
	}
	key, err := msp.CheckRequest([]byte(r.Request), string(r.Node))
	if err != nil {
		return err
	}
	cert, err := msp.ParseCertificate(certificate)
	if err != nil {
		return err
	}
	if !key.Equal(cert.PublicKey) || cert.Subject.CommonName != string(r.Node) {
		return fmt.Errorf("the certificate is not for the request of %s", r.Node)
	}
	r.Certificate = string(certificate)
	return s.Put(r)
}
