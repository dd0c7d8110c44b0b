package importer

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Directory answers what the importer asks of the registry, each entry once. Used by one goroutine.
type Directory struct {
	node        Node
	issuers     map[model.AgencyID]Issuer
	agencies    map[model.AgencyID]*model.Agency // nil: not registered
	types       map[model.TypeCode]*model.LicenceType
	delegations []delegation
	successions map[model.AgencyID]model.Succession
	loaded      bool
}

type delegation struct {
	id model.RecordID
	model.Delegation
}

// Issuer says how an agency may issue a type.
type Issuer struct {
	Agency *model.Agency
	Under  model.RecordID // the delegation; "" by its own right
	Region model.Region   // where
	Err    *model.Error   // why it may not
}

// NewDirectory reads from a node.
func NewDirectory(n Node) *Directory {
	return &Directory{
		node: n, issuers: map[model.AgencyID]Issuer{}, agencies: map[model.AgencyID]*model.Agency{},
		types: map[model.TypeCode]*model.LicenceType{}, successions: map[model.AgencyID]model.Succession{},
	}
}

// Type is a licence type that may be issued.
func (d *Directory) Type(ctx context.Context, code model.TypeCode) (*model.LicenceType, error) {
	if t, ok := d.types[code]; ok {
		return t, nil
	}
	t := new(model.LicenceType)
	if ok, err := d.entry(ctx, model.KindLicenceType, model.RecordID(code), t); err != nil {
		return nil, err
	} else if !ok {
		return nil, model.E(model.CodeTypeUnknown, "type")
	}
	d.types[code] = t
	return t, nil
}

// Agency is an active agency, nil for none.
func (d *Directory) Agency(ctx context.Context, id model.AgencyID) (*model.Agency, error) {
	if a, ok := d.agencies[id]; ok {
		return a, nil
	}
	a := new(model.Agency)
	ok, err := d.entry(ctx, model.KindAgency, model.RecordID(id), a)
	if err != nil {
		return nil, err
	}
	if !ok {
		a = nil
	}
	d.agencies[id] = a
	return a, nil
}

func (d *Directory) entry(ctx context.Context, kind model.Kind, id model.RecordID, into any) (bool, error) {
	v, err := d.node.Entry(ctx, kind, id)
	if errors.Is(err, model.E(model.CodeNotFound)) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if v.State != model.Active {
		return false, nil
	}
	return true, json.Unmarshal(v.Public, into)
}

// Issuer finds by what right an agency issues a type on a day: its own, that of an agency that it has
// succeeded, or a delegation. One Directory is asked about one type and one day.
func (d *Directory) Issuer(ctx context.Context, id model.AgencyID, t *model.LicenceType, day model.Date) (Issuer, error) {
	if i, ok := d.issuers[id]; ok {
		return i, nil
	}
	if err := d.load(ctx); err != nil {
		return Issuer{}, err
	}
	a, err := d.Agency(ctx, id)
	if err != nil {
		return Issuer{}, err
	}
	i := Issuer{Agency: a}
	switch {
	case a == nil:
		i.Err = model.E(model.CodeAgencyUnknown, "agency")
	case !a.Has(model.RoleIssuer):
		i.Err = model.E(model.CodeNotIssuer, "agency")
	default:
		d.right(&i, t, day)
	}
	d.issuers[id] = i
	return i, nil
}

func (d *Directory) right(i *Issuer, t *model.LicenceType, day model.Date) {
	own := func(id model.AgencyID) (model.Region, bool) {
		if d.successor(id, day) != id {
			return "", false
		}
		if r, ok := t.Issuers[id]; ok {
			return r, true
		}
		for listed, r := range t.Issuers {
			if d.successor(listed, day) == id {
				return r, true
			}
		}
		return "", false
	}
	if r, ok := own(i.Agency.ID); ok {
		i.Region = r
		return
	}
	i.Err = model.E(model.CodeTypeNotPermitted, "agency")
	for _, g := range d.delegations {
		if g.To != i.Agency.ID || g.Type != t.Code {
			continue
		}
		if _, ok := own(d.successor(g.From, day)); !ok || !g.Window.Holds(day) {
			i.Err = model.E(model.CodeDelegationNotValid, "agency")
			continue
		}
		if !i.Agency.Region.Within(g.Region) {
			i.Err = model.E(model.CodeRegionNotPermitted, "agency")
			continue
		}
		i.Under, i.Region, i.Err = g.id, g.Region, nil
		return
	}
}

// successor is who stands for an agency on a day.
func (d *Directory) successor(id model.AgencyID, day model.Date) model.AgencyID {
	for range len(d.successions) {
		s, ok := d.successions[id]
		if !ok || day < s.Effective {
			break
		}
		id = s.To
	}
	return id
}

func (d *Directory) load(ctx context.Context) error {
	if d.loaded {
		return nil
	}
	err := d.node.Entries(ctx, model.KindDelegation, func(v model.View) error {
		g := delegation{id: v.ID}
		if v.State != model.Active {
			return nil
		}
		if err := json.Unmarshal(v.Public, &g.Delegation); err != nil {
			return err
		}
		d.delegations = append(d.delegations, g)
		return nil
	})
	if err != nil {
		return err
	}
	// The same delegation is chosen whatever the order in which the node lists them.
	slices.SortFunc(d.delegations, func(a, b delegation) int { return strings.Compare(string(a.id), string(b.id)) })
	err = d.node.Entries(ctx, model.KindSuccession, func(v model.View) error {
		var s model.Succession
		if v.State != model.Active {
			return nil
		}
		if err := json.Unmarshal(v.Public, &s); err != nil {
			return err
		}
		d.successions[s.From] = s
		return nil
	})
	d.loaded = err == nil
	return err
}
