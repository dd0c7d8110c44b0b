package app_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/demo"
	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
	"github.com/zhenglian/zhenglian/node/internal/migrate"
	"github.com/zhenglian/zhenglian/sdk"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

var quietLog = slog.New(slog.NewTextHandler(io.Discard, nil))

// town is three organisations with a node each.
type town struct {
	t    *testing.T
	dir  string
	made *app.Founded
	url  map[model.NodeID]string
}

var organisations = []struct {
	node   model.NodeID
	msp    model.MSPID
	agency model.AgencyID
	region model.Region
}{{"beijing", "BeijingMSP", "bj-scjg", "110000"}, {"tianjin", "TianjinMSP", "tj-scjg", "120000"}, {"hebei", "HebeiMSP", "he-scjg", "130000"}}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func newTown(t *testing.T) *town {
	t.Helper()
	w := &town{t: t, dir: t.TempDir(), url: map[model.NodeID]string{}}
	plan := app.Plan{Channel: "jjj", Chaincode: "zhenglian", Created: time.Now(), Ledger: freeAddress(t)}
	issuers := map[model.AgencyID]model.Region{}
	for i, o := range organisations {
		uscc, err := model.InventUSCC("11"+string(o.region)+"X", 1000+i)
		if err != nil {
			t.Fatal(err)
		}
		listen := freeAddress(t)
		issuers[o.agency], w.url[o.node] = o.region, "http://"+listen
		plan.Nodes = append(plan.Nodes, app.NodePlan{
			ID: o.node, Msp: o.msp, NameZh: "市", NameEn: "City", Listen: listen, Admin: freeAddress(t), Home: o.agency,
			Agencies: []app.AgencyPlan{{Alg: envelope.ES256, Agency: model.Agency{
				ID: o.agency, NameZh: "局", NameEn: "Office", Region: o.region, USCC: uscc, Roles: []model.Role{model.RoleIssuer, model.RoleVerifier},
			}}},
		})
	}
	plan.Types = demo.Types(issuers)
	var err error
	if w.made, err = app.Found(w.dir, plan); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *town) node(id model.NodeID) string { return filepath.Join(w.dir, "nodes", string(id)) }

func (w *town) client(id model.NodeID, role string) *sdk.Client {
	for _, n := range w.made.Nodes {
		if n.ID == id {
			return &sdk.Client{BaseURL: w.url[id], Key: n.Keys[role]}
		}
	}
	return nil
}

// background runs until stop, which returns what it ended with.
func background(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stopped := false
	stop = func() {
		cancel()
		if !stopped {
			stopped = true
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

func (w *town) serveLedger(dir string) (stop func()) {
	w.t.Helper()
	cfg, err := app.LoadLedger(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	ready := make(chan net.Addr, 1)
	stop = background(w.t, func(ctx context.Context) error {
		return app.ServeLedger(ctx, cfg, quietLog, func(a net.Addr) { ready <- a })
	})
	<-ready
	return stop
}

func (w *town) serve(id model.NodeID) (stop func()) {
	w.t.Helper()
	cfg, err := app.LoadConfig(w.node(id))
	if err != nil {
		w.t.Fatal(err)
	}
	stop = background(w.t, func(ctx context.Context) error { return app.Run(ctx, cfg, quietLog) })
	w.until("the node answers", func() bool {
		_, err := w.client(id, "auditor").Ready(w.t.Context())
		return err == nil
	})
	return stop
}

func (w *town) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("timed out: %s", what)
		}
	}
}

// issue issues a licence and waits until it is committed.
func (w *town) issue(id model.NodeID, n int) model.Outcome {
	w.t.Helper()
	uscc, err := model.InventUSCC("91110105X", n)
	if err != nil {
		w.t.Fatal(err)
	}
	o, err := w.client(id, "drafter").Issue(w.t.Context(), sdk.NewLicence{
		Type: demo.BusinessLicence, Number: fmt.Sprintf("%s-%d", id, n), Holder: sdk.Holder{Code: string(uscc), Name: "样例有限公司"},
	}, sdk.Write{})
	if err != nil || o.Status != model.Committed {
		w.t.Fatal(err, o)
	}
	return o
}

func (w *town) position(id model.NodeID) uint64 {
	w.t.Helper()
	r, err := w.client(id, "auditor").Entry(w.t.Context(), model.KindPolicy, model.PolicyID)
	if err != nil {
		return 0
	}
	return r.At.Position
}

// successor makes another embedded ledger of the same members, which takes over one.
func (w *town) successor(p *app.Pilot) (service, address string, block model.Digest) {
	w.t.Helper()
	service, dir := filepath.Join(w.dir, "next-service"), filepath.Join(w.dir, "next")
	ca, err := msp.NewCA(app.LedgerMSP, "ca.next")
	if err != nil {
		w.t.Fatal(err)
	}
	id, err := ca.Issue("ledger", msp.Validity{})
	if err == nil {
		err = errors.Join(os.MkdirAll(service, 0o700), ca.Save(service), id.Save(service, "identity"))
	}
	cert, key, err2 := ca.IssueTLS("ledger", []string{"127.0.0.1"}, msp.Validity{})
	address = freeAddress(w.t)
	if err := errors.Join(err, err2, os.WriteFile(filepath.Join(service, "tls.crt"), cert, 0o600), os.WriteFile(filepath.Join(service, "tls.key"), key, 0o600),
		os.WriteFile(filepath.Join(service, app.LedgerFile), fmt.Appendf(nil,
			"dir: ../next\nchannel: jjj\nchaincode: zhenglian\nmsp: %s\ngenesis_digest: %s\nimport_from: %s\nidentity: identity\nlisten: %s\ntls_cert: tls.crt\ntls_key: tls.key\n",
			app.LedgerMSP, p.GenesisDigest, p.ImportFrom, address), 0o600)); err != nil {
		w.t.Fatal(err)
	}
	cfg := embedded.Config{Channel: "jjj", Chaincode: "zhenglian", Ledger: ca.Config()}
	for _, o := range organisations {
		member, err := msp.LoadCA(string(o.msp), filepath.Join(w.node(o.node), "authority"))
		if err != nil {
			w.t.Fatal(err)
		}
		cfg.Members = append(cfg.Members, member.Config())
	}
	if err := embedded.Create(dir, cfg); err != nil {
		w.t.Fatal(err)
	}
	c, err := app.LoadLedger(service)
	if err != nil {
		w.t.Fatal(err)
	}
	l, err := app.OpenLedger(c, quietLog)
	if err != nil {
		w.t.Fatal(err)
	}
	defer l.Close(w.t.Context())
	if block, err = app.GenesisBlockHash(l); err != nil {
		w.t.Fatal(err)
	}
	return service, address, block
}

func (w *town) config(id model.NodeID) *app.Config {
	w.t.Helper()
	cfg, err := app.LoadConfig(w.node(id))
	if err != nil {
		w.t.Fatal(err)
	}
	return cfg
}

func wantFault(t *testing.T, err error, code string) {
	t.Helper()
	var f *migrate.Fault
	if !errors.As(err, &f) || f.Code != code || f.Zh == "" {
		t.Errorf("%v, and not %s", err, code)
	}
}

// TestMigration moves two nodes that have all of the pilot, and one that had not caught up with it: that one finds the
// difference, goes back, catches up and comes again.
func TestMigration(t *testing.T) {
	w := newTown(t)
	stopLedger := w.serveLedger(w.made.LedgerConfig)
	stops := map[model.NodeID]func(){}
	for _, o := range organisations {
		stops[o.node] = w.serve(o.node)
	}
	w.until("there is a ledger", func() bool { return w.position("beijing") > 0 && w.position("tianjin") > 0 && w.position("hebei") > 0 })
	for i := range 12 {
		w.issue(organisations[i%3].node, i)
	}
	last := w.issue("tianjin", 90)
	w.until("hebei has that", func() bool { return w.position("hebei") > last.Receipt.Position })
	stops["hebei"]()
	last = w.issue("beijing", 91)
	w.until("tianjin has that", func() bool { return w.position("tianjin") > last.Receipt.Position })
	ctx := t.Context()
	if _, err := app.PlanMigration(ctx, w.node("beijing"), app.Watch{}); err == nil {
		t.Error("a running node is planned")
	}
	if _, err := app.SwitchLedger(w.node("beijing"), app.Network{}, app.IdentityFiles{}); err == nil {
		t.Error("a running node is switched")
	}
	stops["beijing"]()
	stops["tianjin"]()
	stopLedger()

	plan := func(dir string) *app.Pilot {
		t.Helper()
		p, err := app.PlanMigration(ctx, dir, app.Watch{})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	pilot := plan(w.node("beijing"))
	of := plan(w.made.LedgerConfig)
	if other := plan(w.node("tianjin")); *other != *pilot || of.End != pilot.End || of.ImportFrom != pilot.ImportFrom || of.LastBlock != pilot.LastBlock {
		t.Fatalf("%+v, %+v, %+v", pilot, other, of)
	}
	if behind := plan(w.node("hebei")); behind.Position >= pilot.Position || behind.ImportFrom != pilot.ImportFrom {
		t.Fatalf("%+v", behind)
	}

	service, address, block := w.successor(pilot)
	stopNext := w.serveLedger(service)
	to := app.Network{Channel: "jjj", GenesisBlock: block.String(), Ledger: app.LedgerConfig{
		Gateways: []app.Gateway{{Address: address, TLSRoots: filepath.Join(service, "ca.crt"), ServerName: "127.0.0.1"}},
	}}
	other := to
	other.Channel = "elsewhere"
	_, err := app.SwitchLedger(w.node("beijing"), other, app.IdentityFiles{})
	wantFault(t, err, migrate.CodeConfig)
	other = to
	other.GenesisBlock = ""
	_, err = app.SwitchLedger(w.node("beijing"), other, app.IdentityFiles{})
	wantFault(t, err, migrate.CodeConfig)
	_, err = app.CompareMigration(ctx, w.config("beijing"), app.Watch{})
	wantFault(t, err, migrate.CodeNotSwitched)
	wantFault(t, app.UndoSwitch(ctx, w.node("beijing")), migrate.CodeNotSwitched)
	for _, o := range organisations {
		s, err := app.SwitchLedger(w.node(o.node), to, app.IdentityFiles{})
		if err != nil || s.ImportFrom != pilot.ImportFrom {
			t.Fatal(err, s)
		}
	}
	_, err = app.SwitchLedger(w.node("beijing"), to, app.IdentityFiles{})
	wantFault(t, err, migrate.CodeSwitched)

	_, err = app.CompareMigration(ctx, w.config("beijing"), app.Watch{})
	wantFault(t, err, migrate.CodeUnfinished)
	if s, err := app.ImportState(ctx, w.config("beijing")); err != nil || s != nil {
		t.Fatal(s, err)
	}
	s, err := app.ImportPilot(ctx, w.config("hebei"), migrate.Options{BatchBytes: 1})
	if err != nil || s.Position >= pilot.Position {
		t.Fatal(s, err)
	}
	_, err = app.CompareMigration(ctx, w.config("beijing"), app.Watch{})
	wantFault(t, err, migrate.CodeUnfinished)
	_, err = app.CloseImport(ctx, w.config("beijing"), app.Watch{})
	wantFault(t, err, migrate.CodeUnfinished)
	if s, err = app.ImportPilot(ctx, w.config("tianjin"), migrate.Options{}); err != nil || s.Position != pilot.Position || s.Chain != pilot.Chain {
		t.Fatal(s, err)
	}
	_, err = app.ImportPilot(ctx, w.config("hebei"), migrate.Options{})
	wantFault(t, err, migrate.CodeBehind)
	if c, err := app.CompareMigration(ctx, w.config("hebei"), app.Watch{}); err != nil || len(c.Differences) == 0 || c.Differences[0].Code != migrate.LeafExtra {
		t.Fatal(c, err)
	}
	_, err = app.CloseImport(ctx, w.config("hebei"), app.Watch{})
	wantFault(t, err, migrate.CodeDifferent)
	// Hebei goes back, catches up, and comes again.
	if err := app.UndoSwitch(ctx, w.node("hebei")); err != nil {
		t.Fatal(err)
	}
	if err := app.FreezeLedger(w.made.LedgerConfig, true); err != nil {
		t.Fatal(err)
	}
	stopLedger = w.serveLedger(w.made.LedgerConfig)
	stop := w.serve("hebei")
	w.until("hebei has caught up", func() bool { return w.position("hebei") == pilot.Position })
	stop()
	stopLedger()
	if p := plan(w.node("hebei")); p.End != pilot.End {
		t.Fatal(p)
	}
	if p := plan(w.made.LedgerConfig); !p.Frozen || p.End != pilot.End {
		t.Fatal(p)
	}
	if _, err := app.SwitchLedger(w.node("hebei"), to, app.IdentityFiles{}); err != nil {
		t.Fatal(err)
	}
	if c, err := app.CompareMigration(ctx, w.config("hebei"), app.Watch{}); err != nil || len(c.Differences) > 0 || c.Closed {
		t.Fatal(c, err)
	}
	for i, id := range []model.NodeID{"beijing", "tianjin"} {
		c, err := app.CloseImport(ctx, w.config(id), app.Watch{})
		if err != nil || c.Closed != (i == 1) || c.Needed != 2 || c.End != pilot.End || len(c.Differences) > 0 {
			t.Fatal(c, err)
		}
		if again, err := app.CloseImport(ctx, w.config(id), app.Watch{}); err != nil || again.Closed != c.Closed || len(again.Approvals) != i+1 {
			t.Fatal(again, err)
		}
	}
	wantFault(t, app.UndoSwitch(ctx, w.node("beijing")), migrate.CodeClosed)

	if c, err := app.CompareMigration(ctx, w.config("hebei"), app.Watch{}); err != nil || len(c.Differences) > 0 || !c.Closed || c.Since != 1 {
		t.Fatal(c, err)
	}
	for _, o := range organisations {
		stops[o.node] = w.serve(o.node)
	}
	w.until("hebei has all", func() bool { return w.position("hebei") > pilot.Position })
	if o := w.issue("hebei", 92); o.Receipt.Position != pilot.Position+1 {
		t.Fatalf("%+v", o.Receipt)
	}
	stops["hebei"]()
	if _, err := app.Reindex(ctx, w.config("hebei"), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := app.PlanMigration(ctx, w.node("hebei"), app.Watch{}); err == nil || !strings.Contains(err.Error(), "embedded") && !strings.Contains(err.Error(), "took over") {
		t.Errorf("a ledger that took over another is planned: %v", err)
	}
	stopNext()
}
