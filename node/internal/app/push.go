package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/backup"
	"github.com/zhenglian/zhenglian/node/internal/exchangetable"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/node/internal/push"
	"github.com/zhenglian/zhenglian/node/internal/watchfolder"
	"github.com/zhenglian/zhenglian/sdk"
)

// PushConfig lists the ways by which back offices push operations in without speaking HTTP.
type PushConfig struct {
	Tables  []TableConfig  `yaml:"tables,omitempty"`
	Folders []FolderConfig `yaml:"folders,omitempty"`
}

// FolderConfig is a watched folder.
type FolderConfig struct {
	Name    string        `yaml:"name"`     // a–z, 0–9, _; never changes: it says which files were taken already
	Dir     string        `yaml:"dir"`      // must exist; the node may write in it
	KeyFile string        `yaml:"key_file"` // API key in whose name files are taken, mode 0600
	Writers []string      `yaml:"writers"`  // ids of users who can write to the folder: none of them approves what comes by it
	Settle  time.Duration `yaml:"settle"`   // how long a file without a marker NAME.ok must have stayed as it is; default 5s
	GiveUp  time.Duration `yaml:"give_up"`  // how long a file may stay unfinished; default 10m
	Poll    time.Duration `yaml:"poll"`     // between looks at the folder; default 2s
}

// TableConfig is an exchange table (前置库). docs/guide/push.en.md tells how one is set up.
type TableConfig struct {
	Name         string        `yaml:"name"`          // a–z, 0–9, _; never changes: it says which rows were taken already
	Database     string        `yaml:"database"`      // postgres or mariadb
	Address      string        `yaml:"address"`       // host:port
	Catalog      string        `yaml:"catalog"`       // the database's name
	Schema       string        `yaml:"schema"`        // PostgreSQL: schema of the two tables; default zhenglian
	User         string        `yaml:"user"`          // the node's user in the database
	PasswordFile string        `yaml:"password_file"` // mode 0600; "" for none
	TLS          string        `yaml:"tls"`           // verify (default), or off on a line that is safe without
	TLSRoots     string        `yaml:"tls_roots"`     // PEM of the database's authorities; default: the system's
	TLSName      string        `yaml:"tls_name"`      // the name in its certificate; default: the host of address
	KeyFile      string        `yaml:"key_file"`      // API key in whose name rows are taken, mode 0600
	Writers      []string      `yaml:"writers"`       // ids of users who can write to the table: none of them approves what comes by it
	Poll         time.Duration `yaml:"poll"`          // between looks at the table; default 2s
}

func (c *PushConfig) check(cfg *Config) error {
	seen := map[string]bool{}
	for i := range c.Tables {
		t := &c.Tables[i]
		if !exchangetable.Plain(t.Name) || seen[t.Name] {
			return fmt.Errorf("%s: push: table %d: name: a–z, 0–9 and _, each once", ConfigFile, i+1)
		}
		seen[t.Name] = true
		if t.KeyFile == "" {
			return fmt.Errorf("%s: push: table %s: key_file is missing: the API key in whose name rows are taken", ConfigFile, t.Name)
		}
		if t.TLS != "" && t.TLS != "verify" && t.TLS != "off" {
			return fmt.Errorf("%s: push: table %s: tls: verify or off", ConfigFile, t.Name)
		}
		if t.Poll != 0 && (t.Poll < 100*time.Millisecond || t.Poll > time.Hour) {
			return fmt.Errorf("%s: push: table %s: poll: 100ms to 1h", ConfigFile, t.Name)
		}
		x, err := t.config(cfg)
		if err == nil {
			err = x.Check()
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s: push: table %s: %w", ConfigFile, t.Name, err)
		}
	}
	seen = map[string]bool{}
	for i := range c.Folders {
		f := &c.Folders[i]
		if !exchangetable.Plain(f.Name) || seen[f.Name] {
			return fmt.Errorf("%s: push: folder %d: name: a–z, 0–9 and _, each once", ConfigFile, i+1)
		}
		seen[f.Name] = true
		if f.Dir == "" || f.KeyFile == "" {
			return fmt.Errorf("%s: push: folder %s: dir and key_file are needed", ConfigFile, f.Name)
		}
		for name, d := range map[string]time.Duration{"settle": f.Settle, "give_up": f.GiveUp, "poll": f.Poll} {
			if d != 0 && (d < 100*time.Millisecond || d > 24*time.Hour) {
				return fmt.Errorf("%s: push: folder %s: %s: 100ms to 24h", ConfigFile, f.Name, name)
			}
		}
	}
	return nil
}

// config is the table's configuration as its package wants it.
func (t *TableConfig) config(cfg *Config) (exchangetable.Config, error) {
	c := exchangetable.Config{
		Name: t.Name, Database: exchangetable.Database(t.Database), Address: t.Address, Catalog: t.Catalog, Schema: t.Schema, User: t.User,
		Node: string(cfg.Node), Poll: t.Poll,
	}
	if c.Schema == "" {
		c.Schema = "zhenglian"
	}
	if t.PasswordFile != "" {
		c.Password = func() (string, error) { return secretFile(cfg.path(t.PasswordFile)) }
	}
	if t.TLS == "off" {
		return c, nil
	}
	c.TLS = &tls.Config{ServerName: t.TLSName, MinVersion: tls.VersionTLS12}
	if c.TLS.ServerName == "" {
		c.TLS.ServerName, _, _ = net.SplitHostPort(t.Address)
	}
	if t.TLSRoots != "" {
		pem, err := os.ReadFile(cfg.path(t.TLSRoots))
		if err != nil {
			return c, err
		}
		if c.TLS.RootCAs, err = certPool(pem); err != nil {
			return c, fmt.Errorf("%s: %w", t.TLSRoots, err)
		}
	}
	return c, nil
}

// Table is the configuration of the exchange table of a name; "" where there is one only.
func Table(cfg *Config, name string) (exchangetable.Config, error) {
	var names []string
	for i := range cfg.Push.Tables {
		t := &cfg.Push.Tables[i]
		if t.Name == name || (name == "" && len(cfg.Push.Tables) == 1) {
			return t.config(cfg)
		}
		names = append(names, t.Name)
	}
	if len(names) == 0 {
		return exchangetable.Config{}, fmt.Errorf("%s has no exchange table under push.tables", ConfigFile)
	}
	return exchangetable.Config{}, fmt.Errorf("name one of the exchange tables: %s", strings.Join(names, ", "))
}

// secretFile reads a password or a key from a file that nobody else can read.
func secretFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("%s: others can read it; set its mode to 0600", path)
	}
	if info.Size() > 4096 {
		return "", fmt.Errorf("%s: larger than 4 KiB", path)
	}
	raw, err := os.ReadFile(path)
	return strings.TrimSpace(string(raw)), err
}

// pushing is the sources of pushed operations of a running node.
type pushing struct {
	runs    []func(context.Context)
	watches []*push.Watch
}

// openPush prepares the configured sources. They work from serve on.
func (n *Node) openPush() error {
	if len(n.cfg.Push.Tables)+len(n.cfg.Push.Folders) == 0 {
		if _, err := os.Stat(n.path("push")); err == nil { // of sources that may come back
			n.keep("push", func(t *backup.Writer) error { return addTree(t, n.cfg.dir, "push") })
		}
		return nil
	}
	journal, err := push.OpenJournal(n.path("push"))
	if err != nil {
		return err
	}
	n.opened(journal.Close)
	n.keepFirst("push", func(t *backup.Writer) error { return t.Database("push", journal.Copy) })
	metrics := push.NewMetrics()
	n.metrics.MustRegister(metrics.Collectors()...)
	door := func(keyFile string, writers []string) *push.Door {
		return &push.Door{Node: string(n.cfg.Msp) + "/" + string(n.cfg.Node), Intake: &pushedIn{n: n, keyFile: keyFile, writers: writers, seam: writing{n}}, Journal: journal}
	}
	for i := range n.cfg.Push.Tables {
		t := &n.cfg.Push.Tables[i]
		cfg, err := t.config(n.cfg)
		if err != nil {
			return fmt.Errorf("%s: push: table %s: %w", ConfigFile, t.Name, err)
		}
		watch := push.NewWatch("table/"+t.Name, metrics)
		table, err := exchangetable.New(cfg, door(t.KeyFile, t.Writers), watch, n.log.With("part", "push"))
		if err != nil {
			return fmt.Errorf("%s: push: table %s: %w", ConfigFile, t.Name, err)
		}
		n.push.runs, n.push.watches = append(n.push.runs, table.Run), append(n.push.watches, watch)
	}
	for i := range n.cfg.Push.Folders {
		f := &n.cfg.Push.Folders[i]
		watch := push.NewWatch("folder/"+f.Name, metrics)
		folder := watchfolder.New(watchfolder.Config{Name: f.Name, Dir: n.path(f.Dir), Settle: f.Settle, GiveUp: f.GiveUp, Poll: f.Poll},
			door(f.KeyFile, f.Writers), watch, n.log.With("part", "push"))
		n.push.runs, n.push.watches = append(n.push.runs, folder.Run), append(n.push.watches, watch)
	}
	return nil
}

// run works off all sources until ctx ends.
func (p *pushing) run(ctx context.Context) {
	var all sync.WaitGroup
	for _, run := range p.runs {
		all.Add(1)
		go func() { defer all.Done(); run(ctx) }()
	}
	all.Wait()
}

// components tells of each source; there is no error that has a password in it.
func (p *pushing) components() (out []sdk.Component) {
	for _, w := range p.watches {
		c := sdk.Component{Name: w.Source, Status: sdk.OK}
		if err := w.Trouble(); err != nil {
			c.Status, c.Code, c.Detail = sdk.Degraded, model.CodeSourceUnavailable, brief(err.Error())
		}
		out = append(out, c)
	}
	return out
}

// pushedIn is the node as a source's principal has it: the way of a request to POST /v1/operations, without HTTP.
type pushedIn struct {
	n       *Node
	keyFile string
	writers []string
	seam    httpapi.Intake
}

// SignIn reads the key anew each time, so that it can be renewed while the node runs. Until the node has been at the
// ledger's head once, it would refuse for good what it does not know yet: nothing is taken so long.
func (p *pushedIn) SignIn() (push.Caller, error) {
	if p.n.records.Position() == 0 || p.n.age() == math.MaxInt64 {
		return push.Caller{}, model.E(model.CodeLedgerUnavailable).With("this node has not been at the ledger's head since it started")
	}
	if err := p.known(); err != nil {
		return push.Caller{}, err
	}
	c, err := p.caller()
	if err != nil {
		return push.Caller{}, err
	}
	return push.Caller{Principal: c.ID(), Agency: c.Agency(), Person: c.Person()}, nil
}

// known refuses a source one of whose writers this node does not have: whom the id was meant for would approve what he wrote.
// Who is disabled, or a key that was revoked, is known.
func (p *pushedIn) known() error {
next:
	for _, id := range p.writers {
		if p.n.people.User(id) != nil {
			continue
		}
		for _, k := range p.n.people.Keys() {
			if k.ID == id && k.User == "" {
				continue next
			}
		}
		return fmt.Errorf("push: writers: %s is no user of this node (没有这个用户；见 zhenglian people list): the source is not read until that is mended", id)
	}
	return nil
}

func (p *pushedIn) caller() (httpapi.Caller, error) {
	key, err := secretFile(p.n.path(p.keyFile))
	if err != nil {
		return nil, err
	}
	c, err := p.n.people.SignInKey("Bearer " + key)
	if err != nil {
		return nil, model.E(model.CodeUnauthenticated).With("key_file: %s", p.keyFile)
	}
	return c, nil
}

func (p *pushedIn) Accept(ctx context.Context, source, key string, digest model.Digest, drafts []model.Draft) (string, int, error) {
	c, err := p.caller()
	if err != nil {
		p.n.access.Count(http.StatusUnauthorized)
		return "", -1, err
	}
	if err := p.n.access.Ready(); err != nil {
		return "", -1, err
	}
	drafts = append([]model.Draft(nil), drafts...) // Accept keeps parts of them
	var decision httpapi.Decision
	for i := range drafts {
		if drafts[i].Agency == "" {
			drafts[i].Agency = c.Agency()
		}
		if decision = c.Decide(string(drafts[i].Type), drafts[i].Agency); !decision.Allowed {
			err := model.E(model.CodeForbidden)
			if failed := p.pushed(ctx, c, decision, drafts, nil, err); failed != nil {
				return "", -1, failed
			}
			return "", i, err
		}
	}
	ids, index, err := p.seam.Accept(ctx, httpapi.Submission{
		Principal: c.ID(), Agency: c.Agency(), Person: c.Person(), Name: c.Name(), Source: source, Writers: p.writers, Key: key, Digest: digest, Drafts: drafts,
	})
	var held *httpapi.Held
	if err != nil && !errors.As(err, &held) && push.Passing(err) {
		return "", -1, err // nothing is decided: the same comes again, every few seconds while it cannot be taken
	}
	// Nothing is taken that is not in the access log. Where that fails, the same is pushed again and was accepted already.
	if failed := p.pushed(ctx, c, decision, drafts, ids, err); failed != nil {
		return "", -1, failed
	}
	if held != nil {
		return held.Draft.ID, -1, nil
	}
	return "", index, err
}

// pushed has the access log take down what a source pushed in, as the API does of a request.
func (p *pushedIn) pushed(ctx context.Context, c httpapi.Caller, d httpapi.Decision, drafts []model.Draft, ids []model.OpID, err error) error {
	e := sdk.AccessEntry{
		Person: c.ID(), Name: c.Name(), Pseudonym: c.Person(), Agency: c.Agency(), Allowed: d.Allowed, Policy: d.Policy, Status: http.StatusAccepted,
	}
	var held *httpapi.Held
	if err != nil && !errors.As(err, &held) {
		e.Status = model.AsError(err).Status()
	}
	return p.takeDown(ctx, e, drafts, ids)
}

// takeDown adds to an entry what it is about, and returns when it is on the disk.
func (p *pushedIn) takeDown(ctx context.Context, e sdk.AccessEntry, drafts []model.Draft, ids []model.OpID) error {
	e.Time, e.Route, e.Count = model.TimeOf(time.Now()), routePush, uint64(len(drafts))
	for i := range drafts {
		dr := &drafts[i]
		r := sdk.AccessRecord{Kind: dr.Kind, ID: string(dr.Record)}
		if i < len(ids) {
			if o, err := p.seam.Outcome(ctx, ids[i]); err == nil {
				r = sdk.AccessRecord{Kind: o.Kind, ID: string(o.Record)}
			}
		}
		if r.Kind != "" && r.ID != "" {
			e.Records = append(e.Records, r)
		}
		if dr.Type != "" && !slices.Contains(strings.Split(e.Action, ","), string(dr.Type)) && len(e.Action) < 200 {
			e.Action = strings.TrimPrefix(e.Action+","+string(dr.Type), ",")
		}
	}
	wait, err := p.n.access.Begin(&e)
	if err != nil {
		return err
	}
	return wait(ctx)
}

// routePush stands in the access log where a back office pushed instead of asking the API.
const routePush = "push"

func (p *pushedIn) Outcomes(ctx context.Context, ids []model.OpID) ([]model.Outcome, error) {
	return p.seam.Wait(ctx, ids)
}

func (p *pushedIn) Known(ctx context.Context, id model.OpID) (bool, error) {
	_, err := p.seam.Outcome(ctx, id)
	if errors.Is(err, model.E(model.CodeNotFound)) {
		return false, nil
	}
	return err == nil, err
}

// Recovered has the access log take down what it may not have had when the process ended. That it was allowed is known,
// since it was accepted; by which policy is what holds now, where it still does.
func (p *pushedIn) Recovered(ctx context.Context, principal string, agency model.AgencyID, drafts []model.Draft, ids []model.OpID) error {
	e := sdk.AccessEntry{Person: principal, Agency: agency, Allowed: true, Status: http.StatusAccepted}
	if drafts = slices.Clone(drafts); drafts == nil { // the row is gone: what it asked for is what was made of it
		drafts = make([]model.Draft, len(ids))
	}
	for i := range ids {
		made, err := p.made(ctx, ids[i])
		if err != nil {
			return err
		}
		if made != nil {
			drafts[i].Type, e.Pseudonym = made.Type, made.Person
		}
	}
	if drafts[0].Type == "" { // nor is it on the ledger yet: it was in the outbox
		e.Action = ActionRecovered
	}
	if c := p.n.people.Find(principal); c != nil {
		e.Name, e.Pseudonym = c.Name(), c.Person()
		if drafts[0].Agency != "" {
			agency = drafts[0].Agency
		}
		if d := c.Decide(string(drafts[0].Type), agency); d.Allowed {
			e.Policy = d.Policy
		}
	}
	return p.takeDown(ctx, e, drafts, ids)
}

// made is the version of a record that an operation made; nil while it has made none.
func (p *pushedIn) made(ctx context.Context, id model.OpID) (*model.HistoryEntry, error) {
	o, err := p.seam.Outcome(ctx, id)
	if err != nil || o.Receipt == nil {
		return nil, err
	}
	s := p.n.records.Snapshot()
	defer s.Release()
	v, err := s.Versions(o.Kind, o.Record, int64(o.Receipt.Position)-1, 1)
	if err != nil || len(v) == 0 || v[0].Operation != id {
		return nil, err
	}
	return &v[0], nil
}

func (p *pushedIn) Refusal(ctx context.Context, draft string) (*model.Error, error) {
	h, _, err := desk{p.n}.Draft(ctx, draft)
	switch {
	case errors.Is(err, model.E(model.CodeNotFound)): // decided so long ago that it is no longer kept
		return model.E(model.CodeNotApproved), nil
	case err != nil:
		return nil, err
	case h.Problem != nil:
		return h.Problem.Error(), nil
	case h.State == sdk.DraftPending || h.State == sdk.DraftApproved:
		return nil, nil
	}
	return model.E(model.CodeNotApproved).With("%s", h.En), nil
}

func (p *pushedIn) Identifier(kind model.Kind, id model.RecordID) string {
	if kind != model.KindLicence {
		return ""
	}
	v, err := p.n.records.View(kind, id)
	if err != nil || v == nil {
		return ""
	}
	var l model.Licence
	if err := model.DecodeCanonical(v.Public, &l); err != nil {
		return ""
	}
	return string(l.Identifier)
}
