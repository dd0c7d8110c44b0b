package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/accesslog"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/backup"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/node/internal/records"
	"github.com/zhenglian/zhenglian/sdk"
)

// AccessLogDir is the access log in a node's folder.
const AccessLogDir = "access-log"

// AccessLogConfig is about the access log.
type AccessLogConfig struct {
	KeepYears int `yaml:"keep_years"` // older entries are removed, behind an anchor, a file at a time; 0: nothing ever is
}

// access is the node's access log. log is nil where it cannot be used, and trouble says why: then nobody who has to sign
// in is answered.
type access struct {
	log     *accesslog.Log
	trouble error
	secret  []byte // of the node, for pseudonyms
	anchor  *anchorer
}

// openAccess opens the access log. The first start makes it; where the ledger says that there was one, its absence is a
// finding and nothing takes its place unasked.
func (n *Node) openAccess() error {
	secret, err := n.vault.Secret(NodeSecret, func() []byte { s := model.NewSalt(); return s[:] })
	if err != nil {
		return err
	}
	n.access = &access{secret: secret}
	dir := n.path(AccessLogDir)
	if err := n.keepAccess(dir); err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		v, err := n.records.View(model.KindAccessLog, model.AccessLogID(n.cfg.Msp, n.cfg.Node))
		if err != nil {
			return err
		}
		if v != nil {
			n.access.trouble = fmt.Errorf("%s is gone, and the ledger holds anchors of it: restore it from a backup, or begin another with `zhenglian audit begin`", dir)
			n.log.Error("access log", "error", n.access.trouble)
			return nil
		}
		if err := accesslog.Create(dir); err != nil {
			return err
		}
	}
	l, err := accesslog.Open(dir, accesslog.Options{Logger: n.log.With("part", "access")})
	if errors.Is(err, accesslog.ErrDamaged) {
		n.access.trouble = fmt.Errorf("%w; `zhenglian audit access --verify` says more, `zhenglian audit begin` sets it aside", err)
		n.log.Error("access log", "error", n.access.trouble)
		return nil
	}
	if err != nil {
		return err
	}
	n.access.log = l
	n.opened(l.Close)
	n.metrics.MustRegister(l.Collectors()...)
	n.access.anchor = &anchorer{node: n.cfg.Node, msp: n.cfg.Msp, log: l, ledger: anchoring{n}, keepYears: n.cfg.AccessLog.KeepYears, now: anchorClock}
	return n.recovered()
}

// keepAccess has the log copied into backups, and those that were set aside.
func (n *Node) keepAccess(dir string) error {
	aside, err := filepath.Glob(dir + setAside + "*")
	if err != nil {
		return err
	}
	for _, old := range aside {
		n.keep(filepath.Base(old), func(t *backup.Writer) error { return addTree(t, n.cfg.dir, filepath.Base(old)) })
	}
	n.keep(AccessLogDir, func(t *backup.Writer) error {
		if n.access.log == nil { // it stands still
			if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
				return nil
			}
			return addTree(t, n.cfg.dir, AccessLogDir)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		pieces, err := n.access.log.Cut(ctx)
		if err != nil {
			return err
		}
		for _, p := range pieces {
			f, err := os.Open(p.Path)
			if err != nil {
				return err
			}
			err = t.File(AccessLogDir+"/"+filepath.Base(p.Path), 0o600, p.Size, io.LimitReader(f, p.Size))
			if err = errors.Join(err, f.Close()); err != nil {
				return err
			}
		}
		return nil
	})
	return nil
}

// setAside is between a former log's name and the moment at which another was begun.
const setAside = ".until-"

// recovered takes down what the outbox still holds at start. A crash can fall between the moment at which operations are
// accepted and the one at which their entry is on the disk; nobody was answered then, and here they are told.
func (n *Node) recovered() error {
	type who struct {
		agency model.AgencyID
		person model.Pseudonym
	}
	waiting := map[who][]sdk.AccessRecord{}
	if err := n.outbox.Pending(func(op model.Operation, _ []byte) error {
		w := who{op.Agency, op.Person}
		waiting[w] = append(waiting[w], sdk.AccessRecord{Kind: op.Kind, ID: string(op.Record)})
		return nil
	}); err != nil {
		return err
	}
	for w, records := range waiting {
		for some := range slices.Chunk(records, accesslog.MaxRecords) {
			if err := n.access.log.Append(&sdk.AccessEntry{
				Time: model.TimeOf(time.Now()), Agency: w.agency, Pseudonym: w.person, Action: ActionRecovered, Status: 202, Count: uint64(len(some)), Records: some,
			}); err != nil {
				return err
			}
		}
	}
	return n.approvedBefore()
}

// approvedBefore takes down who approved the drafts that an earlier run of this node has not sent: it may have ended
// between the decision and its entry. It is on the disk before any of them is sent. An entry that there was stands twice.
func (n *Node) approvedBefore() error {
	if n.inbox == nil {
		return nil
	}
	unsent := n.inbox.Unsent()
	for _, id := range unsent {
		h, err := n.inbox.Get(id)
		if err != nil {
			return err
		}
		var actions []string
		for t := range h.Types {
			if a := httpapi.ApprovalAction(t); !slices.Contains(actions, a) {
				actions = append(actions, a)
			}
		}
		slices.Sort(actions)
		e := sdk.AccessEntry{
			Time: model.TimeOf(time.Now()), Person: h.Decision.By.Principal, Name: h.Decision.By.Name, Pseudonym: h.Decision.By.Pseudonym,
			Agency: h.Decision.By.Agency, Action: strings.Join(actions, ","), Route: ActionRecovered, Allowed: true, Status: 202,
			Count: uint64(h.Operations), Records: []sdk.AccessRecord{{Kind: kindDraft, ID: h.ID}},
		}
		ops, err := n.inbox.Operations(h, false)
		if err != nil { // nor will it be sent; who approved it is told all the same
			n.log.Error("an approved draft's content cannot be read", "draft", id, "error", err)
		}
		for i := range ops {
			if ops[i].Record != "" && len(e.Records) < accesslog.MaxRecords {
				e.Records = append(e.Records, sdk.AccessRecord{Kind: ops[i].Kind, ID: string(ops[i].Record)})
			}
		}
		if err := n.access.log.Append(&e); err != nil {
			return err
		}
	}
	if len(unsent) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := n.access.log.Sync(ctx)
	return err
}

// ActionRecovered is the action of the node's own entries about operations that its outbox held when it started.
const ActionRecovered = "outbox.recovered"

func (a *access) Ready() error {
	if a.log == nil {
		return model.E(model.CodeAccessLogUnavailable)
	}
	return a.log.Ready()
}

func (a *access) Append(e *sdk.AccessEntry) error {
	if a.log == nil {
		return model.E(model.CodeAccessLogUnavailable)
	}
	return a.log.Append(e)
}

func (a *access) Begin(e *sdk.AccessEntry) (func(context.Context) error, error) {
	if a.log == nil {
		return nil, model.E(model.CodeAccessLogUnavailable)
	}
	return a.log.Begin(e)
}

func (a *access) Count(status int) {
	switch {
	case a.log == nil:
	case status == 401:
		a.log.SignInFailed()
	default:
		a.log.RateLimited()
	}
}

// Read reads the log for the API.
func (a *access) Read(ctx context.Context, q httpapi.AccessQuery) (sdk.AccessPage, error) {
	if a.log == nil {
		return sdk.AccessPage{}, model.E(model.CodeAccessLogUnavailable)
	}
	// A search reads files, which an entry reaches some milliseconds after its answer: what was answered before the auditor
	// asks is to be in what he sees. Where the disk refuses he sees what there is.
	_, _ = a.log.Sync(ctx)
	p, err := a.log.Search(ctx, accesslog.Query{
		Record: q.Record, Person: q.Person, Agency: q.Agency, From: q.From, Until: q.Until, Sees: q.Sees, After: q.After, Limit: q.Limit,
	})
	if err != nil {
		return sdk.AccessPage{}, model.E(model.CodeInternal).Because(err)
	}
	page := sdk.AccessPage{Entries: p.Entries}
	if p.More {
		page.Next = &p.Next
	}
	return page, nil
}

// Clerk is a stated user name as the log keeps it: a hash under the node's secret, the same for the same name.
func (a *access) Clerk(username string) model.Pseudonym {
	return auth.Pseudonym(a.secret, "clerk:"+strings.TrimSpace(username))
}

// component tells readiness how the log is.
func (a *access) component() sdk.Component {
	c := sdk.Component{Name: "access-log", Status: sdk.OK}
	switch {
	case a.trouble != nil:
		c.Status, c.Code, c.Detail = sdk.Failed, model.CodeAccessLogUnavailable, brief(a.trouble.Error())
	case a.log.Ready() != nil:
		c.Status, c.Code, c.Detail = sdk.Failed, model.CodeAccessLogUnavailable, "the disk under the node's folder is full or fails: nobody who has to sign in is answered"
	default:
		if err := a.anchor.trouble(); err != nil {
			c.Status, c.Detail = sdk.Degraded, brief(err.Error())
		}
	}
	return c
}

// BeginAccessLog sets a stopped node's access log aside, under a name that says until when it was kept, and makes an
// empty one. The ledger shows it: the next anchor has another start. It returns the old one's folder.
func BeginAccessLog(cfg *Config, now time.Time) (old string, err error) {
	dir := cfg.path(AccessLogDir)
	if _, err := os.Stat(dir); err == nil {
		if l, err := accesslog.Open(dir, accesslog.Options{}); err == nil {
			if err := l.Close(); err != nil {
				return "", err
			}
		} else if errors.Is(err, accesslog.ErrInUse) {
			return "", fmt.Errorf("the node is running; stop it first: %w", err)
		}
		old = dir + setAside + now.UTC().Format("20060102T150405Z")
		if err := os.Rename(dir, old); err != nil {
			return "", err
		}
	}
	return old, accesslog.Create(dir)
}

// AccessLogPath is the folder of a node's access log.
func AccessLogPath(cfg *Config) string { return cfg.path(AccessLogDir) }

// Anchors are the anchors of its access log that a stopped node's records hold.
func Anchors(cfg *Config) ([]accesslog.Anchor, error) {
	s, err := records.Open(cfg.path("records"), records.Options{})
	if err != nil {
		return nil, fmt.Errorf("%w; while the node runs, ask it for its anchors: give --url and a key", err)
	}
	defer s.Close()
	at := s.Snapshot()
	defer at.Release()
	var out []accesslog.Anchor
	for after := int64(-1); ; {
		versions, err := at.Versions(model.KindAccessLog, model.AccessLogID(cfg.Msp, cfg.Node), after, 1000)
		if err != nil || len(versions) == 0 {
			return out, err
		}
		for _, v := range versions {
			a, err := AnchorOf(v)
			if err != nil {
				return nil, err
			}
			out, after = append(out, a), int64(v.Position)
		}
	}
}

// AnchorOf reads an anchor from its version of the record.
func AnchorOf(v model.HistoryEntry) (accesslog.Anchor, error) {
	var b model.AnchorBody
	if err := model.DecodeCanonical(v.Body, &b); err != nil {
		return accesslog.Anchor{}, err
	}
	return accesslog.Anchor{AccessLog: b.Value, Version: v.Version, Time: v.Time}, nil
}
