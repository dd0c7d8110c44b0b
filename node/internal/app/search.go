package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/records"
	"github.com/zhenglian/zhenglian/node/internal/search"
	"github.com/zhenglian/zhenglian/node/internal/vault"
	"github.com/zhenglian/zhenglian/sdk"
)

const (
	searchFile   = "search.db"      // made anew at any time, so it is in no backup
	exportsDir   = "exports"        // sheets that are being put together
	searchSecret = "search-cursors" // name of the secret of cursors in the vault
)

// openSearch makes the index; it is opened and kept by its Run.
func (n *Node) openSearch() error {
	secret, err := n.vault.Secret(searchSecret, func() []byte { s := model.NewSalt(); return s[:] })
	if err != nil {
		return err
	}
	// What a killed process left behind.
	if err := errors.Join(os.RemoveAll(n.path(exportsDir)), os.MkdirAll(n.path(exportsDir), 0o700)); err != nil {
		return err
	}
	n.index = search.New(search.Config{
		Path: n.path(searchFile), Log: leaves{n.records}, Vault: holders{n.vault}, Secret: secret, Logger: n.log.With("part", "search"),
	})
	n.metrics.MustRegister(n.index.Collectors()...)
	return nil
}

// leaves gives the index the log.
type leaves struct{ store *records.Store }

func (l leaves) Grown() (uint64, <-chan struct{}) { return l.store.Grown() }

func (l leaves) Leaves(from uint64, limit int) ([]search.Leaf, error) {
	entries, err := l.store.Entries(from, limit)
	if err != nil {
		return nil, err
	}
	out := make([]search.Leaf, len(entries))
	for i := range entries {
		e := &entries[i]
		out[i] = search.Leaf{
			Position: e.Receipt.Position, Previous: e.Previous, State: e.Receipt.State, Hash: e.Receipt.Leaf, Block: e.Receipt.Block, Operation: e.Operation,
		}
	}
	return out, nil
}

// holders gives the index what the vault keeps of a person's licence.
type holders struct{ vault *vault.Vault }

func (h holders) Holder(id model.OpID) (code, name string, ok bool, err error) {
	openings, err := h.vault.Openings(id)
	if err != nil || openings == nil {
		return "", "", false, err
	}
	code, _ = openings[model.FieldHolderCode].Value.(string)
	name, _ = openings[model.FieldHolderName].Value.(string)
	return code, name, code != "" || name != "", nil
}

// searching gives the API the index, with what the registry says of agencies.
type searching struct {
	n    *Node
	tree *agencyTree
}

func (s searching) query(q sdk.LicenceSearch, agency model.AgencyID) (*search.Query, error) {
	t, err := s.tree.current(s.n.records)
	if err != nil {
		return nil, err
	}
	today := model.DateOf(time.Now())
	out := &search.Query{LicenceSearch: q, Today: today}
	if agency != "" {
		out.See = t.below(agency, today)
	}
	if q.Owner != "" {
		out.Owners = t.below(q.Owner, today)
	}
	if q.Issuer != "" {
		if code, err := model.ParseUSCC(q.Issuer); err == nil {
			out.Issuers = []model.USCC{code}
		} else if id, err := model.ParseAgencyID(q.Issuer); err == nil {
			for _, a := range t.below(id, today) {
				if code := t.codes[a]; code != "" {
					out.Issuers = append(out.Issuers, code)
				}
			}
		} else {
			return nil, model.E(model.CodeBadValue, "issuer").With("an agency's id or its unified social credit code")
		}
	}
	return out, nil
}

func (s searching) Page(ctx context.Context, q sdk.LicenceSearch, agency model.AgencyID, after string, limit int, count bool) (sdk.LicencePage, error) {
	query, err := s.query(q, agency)
	if err != nil {
		return sdk.LicencePage{}, err
	}
	f, err := s.n.index.Page(ctx, query, after, limit, count)
	if err != nil {
		return sdk.LicencePage{}, err
	}
	page := sdk.LicencePage{Licences: f.Licences, Next: f.Next, More: f.More}
	if f.Count >= 0 {
		page.Count = &f.Count
	}
	snap := s.n.records.Snapshot()
	defer snap.Release()
	if page.At, err = (reading{s.n, s.n.records}).reflects(snap); err != nil {
		return page, err
	}
	if of := page.At.Position; of > f.Position {
		page.Behind = of - f.Position
		page.At.Position, page.At.Height = f.Position, f.Block+1
	}
	return page, nil
}

func (s searching) Walk(ctx context.Context, q sdk.LicenceSearch, agency model.AgencyID, f func(*sdk.FoundLicence) error) error {
	query, err := s.query(q, agency)
	if err != nil {
		return err
	}
	return s.n.index.Walk(ctx, query, f)
}

// agencyTree is the registry's tree of agencies, read anew when the registry's version has changed.
type agencyTree struct {
	mu   sync.Mutex
	last *agencies // guarded by mu
}

// agencies are all agencies that ever stood in the registry. It is not changed once it is made.
type agencies struct {
	version   uint64
	children  map[model.AgencyID][]model.AgencyID
	codes     map[model.AgencyID]model.USCC
	succeeded map[model.AgencyID][]model.Succession // by who succeeds
}

func (t *agencyTree) current(store *records.Store) (*agencies, error) {
	snap := store.Snapshot()
	defer snap.Release()
	version, err := snap.RegistryVersion()
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last != nil && t.last.version == version {
		return t.last, nil
	}
	a := &agencies{version, map[model.AgencyID][]model.AgencyID{}, map[model.AgencyID]model.USCC{}, map[model.AgencyID][]model.Succession{}}
	for _, kind := range []model.Kind{model.KindAgency, model.KindSuccession} {
		for after := model.RecordID(""); ; {
			views, err := snap.List(kind, after, 1000)
			if err != nil {
				return nil, err
			}
			for i := range views {
				if err := a.add(&views[i]); err != nil {
					return nil, err
				}
			}
			if len(views) < 1000 {
				break
			}
			after = views[len(views)-1].ID
		}
	}
	t.last = a
	return a, nil
}

func (a *agencies) add(v *model.View) error {
	switch v.Kind {
	case model.KindAgency:
		var agency model.Agency
		if err := json.Unmarshal(v.Public, &agency); err != nil {
			return err
		}
		a.codes[agency.ID] = agency.USCC
		if agency.Parent != "" {
			a.children[agency.Parent] = append(a.children[agency.Parent], agency.ID)
		}
	case model.KindSuccession:
		var s model.Succession
		if v.State != model.Active {
			return nil
		}
		if err := json.Unmarshal(v.Public, &s); err != nil {
			return err
		}
		a.succeeded[s.To] = append(a.succeeded[s.To], s)
	}
	return nil
}

// below lists an agency and those below it, agencies that have left the registry among them, and those that any of them
// has succeeded by a day.
func (a *agencies) below(top model.AgencyID, day model.Date) []model.AgencyID {
	if _, ok := a.codes[top]; !ok {
		return nil
	}
	out := []model.AgencyID{top}
	add := func(id model.AgencyID) {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	for i := 0; i < len(out); i++ { // it grows
		for _, c := range a.children[out[i]] {
			add(c)
		}
		for _, s := range a.succeeded[out[i]] {
			if s.Effective <= day {
				add(s.From)
			}
		}
	}
	return out
}

// late is how far the index may lag before the node says that it does, in leaves.
const late = 20_000

// searchComponent tells how the search index is. It never makes a node unready: all else goes on without it.
func (n *Node) searchComponent() sdk.Component {
	c := sdk.Component{Name: "search", Status: sdk.OK}
	s := n.index.Status()
	switch {
	case s.Full:
		c.Status, c.Code, c.Detail = sdk.Degraded, model.CodeStorageFull, "the disk has no room for the search index"
	case s.Rebuilding:
		c.Status, c.Code = sdk.Degraded, model.CodeSearchRebuilding
		c.Detail = fmt.Sprintf("made anew from the log: %d of %d leaves, %d %%", s.Next, s.Of, s.Percent)
		if s.Why != "" {
			c.Detail += "; the file before was set aside: " + s.Why
		}
	case s.Of-s.Next > late:
		c.Status, c.Detail = sdk.Degraded, fmt.Sprintf("%d leaves behind", s.Of-s.Next)
	}
	if s.Stuck != nil && c.Status != sdk.OK {
		c.Detail += "; " + brief(s.Stuck.Error())
	}
	return c
}
