package app

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/invite"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

// JoinOptions are what the new node decides by itself.
type JoinOptions struct {
	Listen, Admin, Lang string
	Alg                 envelope.Alg // of the signing keys that it draws for its agencies
}

// Joined says what is there, and what the members still have to approve.
type Joined struct {
	Dir       string            `json:"dir"`
	Keys      map[string]string `json:"keys"`      // first API keys by role
	Proposals []string          `json:"proposals"` // files: bodies for POST /v1/registry/proposals, in order
}

// ErrPending says that the authority has not made the certificate yet.
var ErrPending = errors.New("the organisation's authority has not made the certificate yet: call join again, with the same invitation and folder, once it has")

// joinMark is what an unfinished call has begun with.
const (
	joinMark    = "invitation.id"
	requestFile = "request.pem"
)

// JoinByInvitation makes the folder of an invited node. The ledger key is drawn here and never leaves; what comes from
// the inviting node is held against the invitation before it is used.
//
// Crash argument: all work is in a folder beside, which gets its name last. Key and certificate request are on the disk
// there before the request is sent, so a call that was cut off sends the same one again and hears the same answer. What
// follows is made anew each time from that answer, in a folder of its own.
func JoinByInvitation(ctx context.Context, i *invite.Invitation, dir string, o JoinOptions) (*Joined, error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return nil, said("%s 不是空目录：不会覆盖任何内容，请另选 --dir", "%s is not empty: nothing is ever overwritten; choose another --dir", dir)
	}
	work := strings.TrimRight(dir, "/") + ".joining"
	request, key, err := joinKey(work, i)
	if err != nil {
		return nil, err
	}
	a, err := knock(ctx, i, request)
	if err != nil {
		return nil, err
	}
	switch a.Status {
	case "issued":
	case "pending":
		return nil, ErrPending
	case unregistered:
		return nil, said("%v 尚未登记：邀请书仍然有效，未被使用；待成员登记该机关（docs/ops/organisation-joins）后，重新执行同一条 join 命令", "%v is not registered: the invitation was not used and stays good; once the members have registered the agency (docs/ops/organisation-joins), call join again as you did", a.Missing)
	case invite.Used:
		return nil, said("邀请书已被另一个请求使用：如果您先前在另一个 --dir 执行过 join，请用原来的 --dir 重新执行；否则立即告知邀请单位，并另索邀请书", "the invitation was used already, by another request: if you called join with another --dir before, call it with that one again; if that was not you, tell who invited you at once and ask for another invitation")
	case invite.Expired:
		return nil, said("邀请书已过期：请另索邀请书", "the invitation has expired: ask for another")
	default:
		return nil, fmt.Errorf("the inviting node answered %q", a.Status)
	}
	node := filepath.Join(work, "node")
	if err := os.RemoveAll(node); err != nil {
		return nil, err
	}
	keys, err := enter(work, node, i, a, key, o)
	if err != nil {
		return nil, err
	}
	out := &Joined{Dir: dir, Keys: keys}
	if out.Proposals, err = proposals(node, i, a); err != nil {
		return nil, err
	}
	for n, p := range out.Proposals {
		out.Proposals[n] = filepath.Join(dir, p)
	}
	if err := syncTree(node); err != nil {
		return nil, err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err := os.Rename(node, dir); err != nil {
		return nil, err
	}
	return out, errors.Join(syncDir(filepath.Dir(dir)), os.RemoveAll(work))
}

// joinKey draws key and request, or finds those of an earlier call with the same invitation.
func joinKey(work string, i *invite.Invitation) (request, key []byte, err error) {
	if mark, err := os.ReadFile(filepath.Join(work, joinMark)); err == nil {
		if string(mark) != i.ID {
			return nil, nil, said("%s 是用另一份邀请书开始的：删除它，或改用那份邀请书", "%s was begun with another invitation: remove it, or use that one", work)
		}
		request, err = os.ReadFile(filepath.Join(work, requestFile))
		if err != nil {
			return nil, nil, err
		}
		key, err = os.ReadFile(filepath.Join(work, identityName+".key"))
		return request, key, err
	}
	if err := os.RemoveAll(work); err != nil { // without its mark nothing was sent
		return nil, nil, err
	}
	if err := mkdir(work); err != nil {
		return nil, nil, err
	}
	if request, key, err = msp.NewRequest(string(i.Msp), string(i.Node)); err != nil {
		return nil, nil, err
	}
	for _, f := range []newFile{{identityName + ".key", key, 0o600}, {requestFile, request, 0o600}, {joinMark, []byte(i.ID), 0o600}} {
		if err := writeNew(filepath.Join(work, f.name), f.raw, f.mode); err != nil {
			return nil, nil, err
		}
	}
	return request, key, syncDir(work)
}

// knock sends the request to the inviting node, which it knows by the key of its TLS certificate.
func knock(ctx context.Context, i *invite.Invitation, request []byte) (*joinAnswer, error) {
	body, err := json.Marshal(joinRequest{ID: i.ID, Token: i.Token, Request: base64.StdEncoding.EncodeToString(request)})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, i.URL+"/join", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if i.Pin == "" && !strings.HasPrefix(i.URL, "http://127.0.0.1:") {
		return nil, said("%s：邀请书没有写明它的 TLS 密钥，因此不向它发送凭证：请邀请单位配置 TLS 证书后另发邀请书", "%s: the invitation names no TLS key for it, so the token is not sent there: ask who invited you for another one, once that node has a TLS certificate", i.URL)
	}
	errPin := errors.New("another TLS key is there than the invitation names: the node's certificate was changed since, or somebody stands between; ask for another invitation")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, // it is held against the invitation instead, which no authority could do better
		VerifyConnection: func(s tls.ConnectionState) error {
			if pinOf(s.PeerCertificates[0].RawSubjectPublicKeyInfo) != i.Pin {
				return errPin
			}
			return nil
		},
	}}, CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("it sends somewhere else") }}
	res, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("the inviting node %s cannot be reached: %w", i.URL, err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, model.MaxGenesis*2))
	if err != nil {
		return nil, err
	}
	switch res.StatusCode {
	case http.StatusOK:
		var a joinAnswer
		return &a, json.Unmarshal(raw, &a)
	case http.StatusUnauthorized:
		return nil, said("%s 不认识这份邀请书：它由另一个节点发出，或已被收回", "%s does not know this invitation: it was made by another node, or taken back", i.URL)
	}
	return nil, fmt.Errorf("%s: %s: %.400s", i.URL, res.Status, raw)
}

// enter makes the node's folder of the answer.
func enter(work, node string, i *invite.Invitation, a *joinAnswer, key []byte, o JoinOptions) (map[string]string, error) {
	if _, d, err := model.DecodeGenesis([]byte(a.Genesis)); err != nil || d.String() != i.GenesisDigest {
		return nil, fmt.Errorf("the genesis document of %s has the digest %s, but the invitation says %s: it is another ledger", i.URL, d, i.GenesisDigest)
	}
	identity, err := msp.NewIdentity(string(i.Msp), []byte(a.Certificate), key)
	if err != nil {
		return nil, err
	}
	if a.Organisation == nil || a.Organisation.Msp != i.Msp || len(a.Agencies) != len(i.Agencies) {
		return nil, errors.New("the inviting node answered about another organisation, or not about all agencies")
	}
	p := NodePlan{
		ID: i.Node, Msp: i.Msp, NameZh: a.Organisation.NameZh, NameEn: a.Organisation.NameEn, Listen: o.Listen, Admin: o.Admin, Lang: o.Lang,
	}
	for n, agency := range a.Agencies {
		if agency.ID != i.Agencies[n] || agency.Msp != i.Msp {
			return nil, fmt.Errorf("%s is not an agency of %s that the invitation names", agency.ID, i.Msp)
		}
		p.Agencies = append(p.Agencies, AgencyPlan{Agency: agency, Alg: o.Alg, KeyID: string(agency.ID) + "-" + i.ID[:6]})
	}
	if len(p.Agencies) > 0 {
		p.Home = p.Agencies[0].ID
	}
	_, keys, err := Prepare(node, p, identity)
	if err != nil {
		return nil, err
	}
	n := Network{Channel: i.Channel, Chaincode: i.Chaincode, GenesisBlock: i.GenesisBlock, ImportFrom: i.ImportFrom}
	genesis := filepath.Join(work, GenesisFile)
	if err := os.WriteFile(genesis, []byte(a.Genesis), 0o600); err != nil {
		return nil, err
	}
	for k, g := range i.Gateways {
		roots := filepath.Join(work, fmt.Sprintf("gateway-%d.pem", k+1))
		if err := os.WriteFile(roots, []byte(g.Roots), 0o600); err != nil {
			return nil, err
		}
		n.Ledger.Gateways = append(n.Ledger.Gateways, Gateway{Address: g.Address, TLSRoots: roots, ServerName: g.ServerName})
	}
	return keys, Join(node, genesis, i.GenesisDigest, n)
}

// proposals writes what the registry has to say before the node may act: that the organisation runs it, and that it acts
// for its agencies, with the signing keys that it has drawn; the agencies' keys of before retire.
func proposals(node string, i *invite.Invitation, a *joinAnswer) (names []string, err error) {
	var m Member
	if err := loadJSON(filepath.Join(node, MemberFile), &m); err != nil {
		return nil, err
	}
	add := func(name string, kind model.Kind, record string, value any) {
		if err != nil {
			return
		}
		var raw []byte
		if raw, err = model.Canonical(value); err != nil {
			return
		}
		names = append(names, name)
		err = saveJSON(filepath.Join(node, name), map[string]any{"action": model.Change, "kind": kind, "record": record, "value": json.RawMessage(raw)})
	}
	if org := *a.Organisation; !slices.Contains(org.Nodes, i.Node) {
		org.Nodes = append(slices.Clone(org.Nodes), i.Node)
		slices.Sort(org.Nodes)
		add("proposal-1-organisation.json", model.KindOrganisation, string(i.Msp), &org)
	}
	for n, agency := range a.Agencies {
		keys := slices.Clone(agency.Keys)
		for k := range keys {
			keys[k].Retired = true
		}
		agency.Node, agency.Keys = i.Node, append(keys, m.Agencies[n].Keys...)
		add(fmt.Sprintf("proposal-%d-agency-%s.json", n+2, agency.ID), model.KindAgency, string(agency.ID), &agency)
	}
	return names, err
}
