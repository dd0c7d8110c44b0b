package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/invite"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
	"github.com/zhenglian/zhenglian/sdk"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

// configure adds lines to a node's configuration.
func (w *town) configure(id model.NodeID, lines string) {
	w.t.Helper()
	path := filepath.Join(w.node(id), app.ConfigFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, append(raw, lines...), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// enact takes a change of the registry through k approvals.
func (w *town) enact(file string, nodes ...model.NodeID) {
	w.t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	var p sdk.NewProposal
	if err := json.Unmarshal(raw, &p); err != nil {
		w.t.Fatal(err)
	}
	ctx := w.t.Context()
	o, err := w.client(nodes[0], "approver").Propose(ctx, p, sdk.Write{})
	if err != nil || o.Status != model.Committed {
		w.t.Fatalf("%s: %+v, %v", file, o, err)
	}
	for _, id := range nodes {
		w.until("an organisation approves", func() bool { // its node may be a block behind: it looks again, as people do
			r, err := w.client(id, "auditor").Entry(ctx, model.KindProposal, o.Record)
			if err != nil {
				return false
			}
			var v model.Proposal
			if _, err := model.DecodeStrict(r.Record.Public, &v); err != nil {
				w.t.Fatal(err)
			}
			a, err := w.client(id, "approver").Approve(ctx, o.Record, sdk.ProposalAct{Content: &v.Content, Registry: &r.At.Registry}, sdk.Write{})
			return err == nil && a.Status == model.Committed
		})
	}
	w.until("it is approved", func() bool {
		a, err := w.client(nodes[0], "approver").Enact(ctx, o.Record, sdk.ProposalAct{}, sdk.Write{})
		return err == nil && a.Status == model.Committed
	})
}

func (w *town) join(i *invite.Invitation, dir string) (*app.Joined, error) {
	return app.JoinByInvitation(w.t.Context(), i, dir, app.JoinOptions{Listen: freeAddress(w.t), Admin: freeAddress(w.t), Lang: "zh", Alg: envelope.ES256})
}

// A county's node enters by an invitation over TLS, reads at once, and writes once the members have approved.
func TestJoin(t *testing.T) {
	w := newTown(t)
	w.serveLedger(w.made.LedgerConfig)
	ca, err := msp.LoadCA("BeijingMSP", filepath.Join(w.node("beijing"), "authority"))
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := ca.IssueTLS("api", []string{"127.0.0.1"}, msp.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{"api.crt": cert, "api.key": key} {
		if err := os.WriteFile(filepath.Join(w.node("beijing"), name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(w.node("beijing"), app.ConfigFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw = []byte(strings.NewReplacer(`tls_cert: ""`, "tls_cert: api.crt", `tls_key: ""`, "tls_key: api.key").Replace(string(raw)))
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, id := range []model.NodeID{"tianjin", "hebei"} {
		w.configure(id, "approval:\n  off: [registry, keys]\n  reason: a test\n")
		w.serve(id)
	}
	cfg := w.config("beijing")
	background(t, func(ctx context.Context) error { return app.Run(ctx, cfg, quietLog) })
	admin := app.NewAdmin(cfg)
	w.until("the inviting node has the ledger", func() bool {
		admin = app.NewAdmin(cfg)
		s, err := admin.Status(t.Context())
		return err == nil && s.Position > 0
	})

	o := app.InviteOptions{Node: "haidian", Agencies: []model.AgencyID{"bj-scjg"}, Expires: time.Hour}
	i, err := app.Invite(t.Context(), cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	text, err := i.Text()
	if err != nil {
		t.Fatal(err)
	}
	if i, err = invite.Parse(text[:40] + "\n  " + text[40:] + "\n"); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(w.dir, "haidian")

	// What was changed on its way is refused, in plain words, and leaves no folder.
	for what, change := range map[string]struct {
		do   func(*invite.Invitation)
		says string
	}{
		"another genesis": {func(i *invite.Invitation) { i.GenesisDigest = model.DigestOf(nil).String() }, "another ledger"},
		"another address": {func(i *invite.Invitation) { i.URL = "https://" + freeAddress(t) }, "cannot be reached"},
		"another TLS key": {func(i *invite.Invitation) { i.Pin = strings.Repeat("0", 64) }, "another TLS key"},
		"another token":   {func(i *invite.Invitation) { i.Token = "x" }, "does not know this invitation"},
		"no TLS key":      {func(i *invite.Invitation) { i.Pin, i.URL = "", "http://10.0.0.1:1" }, "names no TLS key"},
	} {
		bad := *i
		change.do(&bad)
		if what == "another genesis" {
			continue // below: it uses the invitation up
		}
		if _, err := w.join(&bad, dir); err == nil || !strings.Contains(err.Error(), change.says) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Fatalf("%s: a folder was made", what)
		}
	}
	if bad := *i; true {
		bad.GenesisDigest = model.DigestOf(nil).String()
		if _, err := w.join(&bad, dir); err == nil || !strings.Contains(err.Error(), "another ledger") {
			t.Errorf("another genesis: %v", err)
		}
	}
	// The same machine goes on where it was cut off; another one comes too late.
	j, err := w.join(i, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.join(i, filepath.Join(w.dir, "thief")); err == nil || !strings.Contains(err.Error(), "used already") {
		t.Errorf("a token counts twice: %v", err)
	}
	if _, err := w.join(i, dir); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a node was overwritten: %v", err)
	}
	if _, err := os.Stat(dir + ".joining"); err == nil {
		t.Error("the working folder is left")
	}
	if len(j.Proposals) != 2 {
		t.Fatal(j.Proposals)
	}
	county, err := app.LoadConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	background(t, func(ctx context.Context) error { return app.Run(ctx, county, quietLog) })
	c := &sdk.Client{BaseURL: "http://" + county.Listen, Key: j.Keys["drafter"]}
	w.url["haidian"] = c.BaseURL
	w.until("the county reads", func() bool {
		_, err := c.Entry(t.Context(), model.KindOrganisation, "BeijingMSP")
		return err == nil
	})
	if _, err := w.accept(c, 1); err == nil {
		t.Error("it writes before the members approved")
	}
	for _, p := range j.Proposals {
		w.enact(p, "tianjin", "hebei")
	}
	w.until("the county writes", func() bool {
		a, err := w.accept(c, 2)
		if err != nil {
			return false
		}
		out, err := c.Settle(t.Context(), a.op)
		return err == nil && out.Status == model.Committed
	})
}

// Where the authority is elsewhere the request waits for it; an expired invitation is refused; what an invitation cannot
// offer is said when it is made.
func TestInvite(t *testing.T) {
	w := newTown(t)
	w.serveLedger(w.made.LedgerConfig)
	authority := filepath.Join(w.node("beijing"), "authority")
	if err := os.Rename(authority, authority+".elsewhere"); err != nil {
		t.Fatal(err)
	}
	cfg := w.config("beijing")
	// Made while the node did not run: it looks when the other comes, and the token stays good while the agency is missing.
	early, err := app.Invite(t.Context(), cfg, app.InviteOptions{Node: "chaoyang", Agencies: []model.AgencyID{"bj-cy"}, Expires: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	w.serve("beijing")
	o := app.InviteOptions{Node: "haidian", Agencies: []model.AgencyID{"bj-scjg"}, Expires: time.Hour}
	w.until("the node has the ledger", func() bool {
		s, err := app.NewAdmin(cfg).Status(t.Context())
		return err == nil && s.Position > 0
	})
	if _, err := w.join(early, filepath.Join(w.dir, "chaoyang")); err == nil || !strings.Contains(err.Error(), "[bj-cy] is not registered: the invitation was not used") {
		t.Errorf("an agency that is not registered: %v", err)
	}
	if all, err := app.Invitations(cfg); err != nil || len(all) != 1 || all[0].Request != "" {
		t.Errorf("the token is spent: %+v, %v", all, err)
	}
	if err := os.RemoveAll(filepath.Join(w.node("beijing"), "invitations")); err != nil {
		t.Fatal(err)
	}
	for says, bad := range map[string]app.InviteOptions{
		"[bj-cy] is not registered":        {Node: "chaoyang", Agencies: []model.AgencyID{"bj-scjg", "bj-cy"}, Expires: time.Hour},
		"this node has no TLS certificate": {Node: "haidian", Agencies: o.Agencies, Expires: time.Hour, URL: "https://node.example:8801"},
	} {
		if _, err := app.Invite(t.Context(), cfg, bad); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	i, err := app.Invite(t.Context(), cfg, o)
	if err != nil {
		t.Fatal(err)
	}
	w.until("the node has the ledger", func() bool {
		s, err := app.NewAdmin(cfg).Status(t.Context())
		return err == nil && s.Position > 0
	})
	dir := filepath.Join(w.dir, "haidian")
	if _, err := w.join(i, dir); !errors.Is(err, app.ErrPending) {
		t.Fatal(err)
	}
	all, err := app.Invitations(cfg)
	if err != nil || len(all) != 1 || all[0].Request == "" || all[0].Certificate != "" {
		t.Fatal(all, err)
	}
	ca, err := msp.LoadCA("BeijingMSP", authority+".elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	key, err := msp.CheckRequest([]byte(all[0].Request), "haidian")
	if err != nil {
		t.Fatal(err)
	}
	other, err := ca.Issue("haidian", msp.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	if err := app.CertifyInvited(cfg, i.ID, other.Credentials()); err == nil {
		t.Error("a certificate of another key was taken")
	}
	cert, err := ca.Certify("haidian", key, msp.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	if err := app.CertifyInvited(cfg, i.ID, cert); err != nil {
		t.Fatal(err)
	}
	if j, err := w.join(i, dir); err != nil || len(j.Proposals) != 2 {
		t.Fatal(j, err)
	}

	for _, bad := range []app.InviteOptions{{Node: "beijing", Expires: time.Hour}, {Node: "A B", Expires: time.Hour}, {Node: "haidian"}, {Node: "haidian", Expires: time.Hour, URL: "http://10.1.1.1:80"}} {
		if _, err := app.Invite(t.Context(), cfg, bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
	s := invite.Store{Dir: t.TempDir()}
	id, token, err := s.New(invite.Record{Expires: time.Now().Add(time.Hour), Node: "haidian", Msp: "BeijingMSP"})
	if err != nil {
		t.Fatal(err)
	}
	claim := func(id, token, request string, at time.Time) string {
		_, what, err := s.Claim(id, token, request, at, func(*invite.Record) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		return what
	}
	now := time.Now()
	got := []string{
		claim(id, "other", "a", now), claim("aaaaaaaaaaaaaaaa", token, "a", now), claim("../../x", token, "a", now), claim(id, token, "a", now.Add(2*time.Hour)),
		claim(id, token, "a", now), claim(id, token, "a", now.Add(2*time.Hour)), claim(id, token, "b", now),
	}
	if want := []string{"unknown", "unknown", "unknown", "expired", "claimed", "claimed", "used"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	// The open route tells strangers nothing, and takes no more than it can read.
	for body, status := range map[string]int{`{"id":"x","token":"y","request":""}`: 401, `{`: 400, `{"id":"x","who":1}`: 400, strings.Repeat(" ", 1<<20): 413} {
		res, err := http.Post("http://"+cfg.Listen+"/join", "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != status {
			t.Errorf("%.30q: %s", body, res.Status)
		}
	}
}
