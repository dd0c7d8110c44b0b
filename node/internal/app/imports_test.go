package app

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/accesslog"
	"github.com/zhenglian/zhenglian/node/internal/importer"
	"github.com/zhenglian/zhenglian/node/internal/inbox"
	"github.com/zhenglian/zhenglian/sdk"
)

// started opens a node and, where asked for, serves it; end stops it and lets its folder go.
func started(t *testing.T, cfg *Config, serve bool) (n *Node, end func()) {
	t.Helper()
	n = newNode(cfg, quiet)
	if err := n.open(); err != nil {
		t.Fatal(errors.Join(err, n.close()))
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	if serve {
		go func() { ended <- n.serve(ctx) }()
		await(t, func() bool { return n.records.Position() > 0 && n.age() < time.Minute })
	} else {
		ended <- nil
	}
	return n, func() {
		t.Helper()
		stop()
		if err := errors.Join(<-ended, n.close()); err != nil {
			t.Fatal(err)
		}
	}
}

// What an import has issued, asked for and looked at stands in the access log on the disk when the importer hears of it;
// and so does, before it is sent, who approved a draft that a node which was killed has not sent.
func TestImportsAreLogged(t *testing.T) {
	plan := onePlan()
	plan.Types = []model.LicenceType{{
		Authority: "11100000MB0143028R", Code: "11100000MB0143028R001", NameZh: "营业执照", Issuers: map[model.AgencyID]model.Region{"bj-scjg": "110000"},
		HolderKinds: []model.HolderKind{model.HolderEnterprise}, Face: map[string]model.FaceField{},
	}}
	f, err := Found(filepath.Join(t.TempDir(), "made"), plan)
	if err != nil {
		t.Fatal(err)
	}
	cfg, err := LoadConfig(f.Nodes[0].Dir)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen, cfg.Admin = free(t), free(t)
	if err := rewrite(cfg.path(ConfigFile), cfg); err != nil {
		t.Fatal(err)
	}
	logged := func(is func(*sdk.AccessEntry) bool) bool {
		t.Helper()
		page, err := accesslog.Search(t.Context(), filepath.Join(cfg.dir, AccessLogDir), accesslog.Query{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(page.Entries, func(e sdk.AccessEntry) bool { return is(&e) })
	}
	about := func(e *sdk.AccessEntry, kind model.Kind, id string) bool {
		return slices.Contains(e.Records, sdk.AccessRecord{Kind: kind, ID: id})
	}

	n, end := started(t, cfg, true)
	who := map[string]string{}
	for _, role := range []string{"drafter", "approver", "auditor"} {
		me, err := (&sdk.Client{BaseURL: "http://" + cfg.Listen, Key: f.Nodes[0].Keys[role]}).Whoami(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		who[role] = me.ID
	}
	in := inside{n, who["drafter"]}
	code, err := model.InventUSCC("91110105", 1)
	if err != nil {
		t.Fatal(err)
	}
	value := sdk.NewLicence{Agency: "bj-scjg", Type: "11100000MB0143028R001", Number: "1", Holder: sdk.Holder{Code: string(code), Name: "甲"}}
	draft, err := value.Draft(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	out, err := in.Submit(t.Context(), "k1", "", []model.Draft{draft})
	if err != nil || out[0].Status != model.Committed {
		t.Fatal(out, err)
	}
	if !logged(func(e *sdk.AccessEntry) bool {
		return e.Person == who["drafter"] && e.Route == routeImport && e.Action == string(model.LicenceIssue) && e.Allowed && about(e, model.KindLicence, string(out[0].Record))
	}) {
		t.Error("what was acknowledged is not in the log on the disk")
	}
	terms := sdk.BatchTerms{Name: "x", File: model.Digest{1}, Rows: 500, Type: model.LicenceIssue}
	b, err := in.Register(t.Context(), "k2", terms)
	if err != nil || b.Draft == nil {
		t.Fatal(b, err)
	}
	if !logged(func(e *sdk.AccessEntry) bool { return e.Route == routeImport && about(e, kindDraft, b.Draft.ID) }) {
		t.Error("a batch that was asked for is not in the log on the disk")
	}
	if _, err := in.Verify(t.Context(), []model.Query{{Record: out[0].Record}}); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool {
		return logged(func(e *sdk.AccessEntry) bool {
			return e.Route == routeImport && e.Action == "verify" && about(e, model.KindLicence, string(out[0].Record))
		})
	})
	for _, other := range []string{who["auditor"], "nobody"} {
		o := inside{n, other}
		if _, err := o.Register(t.Context(), "k3", terms); !errors.Is(err, model.E(model.CodeForbidden)) {
			t.Errorf("%s: %v", other, err)
		}
	}
	await(t, func() bool {
		return logged(func(e *sdk.AccessEntry) bool {
			return e.Person == who["auditor"] && e.Route == routeImport && !e.Allowed && e.Status == 403
		})
	})

	// An ending waits; it is approved in a run that ends before anything is sent.
	today := model.DateOf(time.Now())
	act := sdk.LicenceAct{Agency: "bj-scjg", Version: 2, Decision: model.Decision{Date: today, Number: "1"}, Effective: today, Reason: "wrong"}
	ending, err := act.Draft(model.LicenceCancel, out[0].Record)
	if err != nil {
		t.Fatal(err)
	}
	_, err = in.Submit(t.Context(), "k4", "", []model.Draft{ending})
	var needs *importer.NeedsApproval
	if !errors.As(err, &needs) {
		t.Fatal(err)
	}
	if !logged(func(e *sdk.AccessEntry) bool { return e.Route == routeImport && about(e, kindDraft, needs.Draft.ID) }) {
		t.Error("what was held is not in the log on the disk")
	}
	end()
	n, end = started(t, cfg, false)
	p := n.people.Find(who["approver"])
	h, err := n.inbox.Get(needs.Draft.ID)
	if err == nil {
		_, err = n.inbox.Approve(h.ID, inbox.Person{Principal: p.ID(), Pseudonym: p.Person(), Name: p.Name(), Agency: p.Agency()}, h.Content)
	}
	if err != nil {
		t.Fatal(err)
	}
	end()
	n, end = started(t, cfg, false) // and nothing is sent in this one
	defer func() { end() }()
	if len(n.inbox.Unsent()) != 1 || !logged(func(e *sdk.AccessEntry) bool {
		return e.Person == who["approver"] && e.Action == "draft.approve-licence" && e.Route == ActionRecovered && about(e, kindDraft, h.ID) && about(e, model.KindLicence, string(out[0].Record))
	}) {
		t.Error("who approved what is sent after a kill is not in the log on the disk")
	}
}
