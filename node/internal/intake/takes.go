package intake

import (
	"encoding/json"
	"slices"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Takes reports whether any of the drafts takes from a licence what its holder has: an amendment, of either kind, or a
// renewal, that ends it under another name. It does so by days (an earlier last day, or one where there was none; a later
// first day; a renewal that begins after a gap), or by making another licence of it: another number, type or identifier
// apart from its version, or another holder. Another name under the same code takes nothing, and no more does a good code
// under the same name where the licence was taken over unchecked.
//
// The drafts that it returns are the same, with the versions of those that it looked at fixed: accepted instead of
// them, they are acts on what was looked at or refused. Drafts are as Accept takes them, and one that it would refuse
// for its form takes nothing.
func (in *Intake) Takes(drafts []model.Draft) (fixed []model.Draft, takes bool, err error) {
	fixed = drafts
	for i := range drafts {
		d := &drafts[i]
		if d.Type != model.LicenceAmend && d.Type != model.LicenceRenew {
			continue
		}
		view, err := in.Ledger.View(model.KindLicence, d.Record) // the one kind of both types
		if err != nil {
			return nil, false, err
		}
		next := uint64(1)
		if view != nil {
			next = view.Version + 1
			ends, err := in.takesFrom(d, view)
			if err != nil {
				return nil, false, err
			}
			takes = takes || ends
		}
		if d.Version != 0 {
			takes = takes || d.Version != next // from a licence that was not looked at
			continue
		}
		if &fixed[0] == &drafts[0] {
			fixed = slices.Clone(drafts)
		}
		fixed[i].Version = next
	}
	return fixed, takes, nil
}

func (in *Intake) takesFrom(d *model.Draft, view *model.View) (bool, error) {
	var a amendDraft
	var was, is model.Licence
	if model.DecodeCanonical(d.Body, &a) != nil {
		return false, nil
	}
	for _, l := range []*model.Licence{&was, &is} { // twice: the two share nothing
		if err := json.Unmarshal(view.Public, l); err != nil {
			return false, model.E(model.CodeInternal).Because(err)
		}
	}
	if a.Value != nil {
		var given struct {
			Commitments json.RawMessage `json:"commitments"`
		}
		if json.Unmarshal(a.Value, &given) != nil {
			return false, nil
		}
		if given.Commitments != nil { // they are replaced whole
			is.Commitments = nil
		}
		if model.DecodeCanonical(a.Value, &is) != nil {
			return false, nil
		}
	}
	if takesDays(d.Type, &was, &is) || another(&was, &is) {
		return true, nil
	}
	held, err := in.sameHolder(d, &was, &is)
	return !held, err
}

func takesDays(t model.Type, was, is *model.Licence) bool {
	if t == model.LicenceRenew {
		return was.ValidUntil != "" && is.ValidFrom != "" && is.ValidFrom.Days() > was.ValidUntil.Days()+1
	}
	return is.ValidFrom > was.ValidFrom || is.ValidUntil != "" && (was.ValidUntil == "" || is.ValidUntil < was.ValidUntil)
}

// another reports whether it is another licence by what is looked up. The contract refuses most of it; this does not rely
// on that.
func another(was, is *model.Licence) bool {
	p, q := was.Identifier.Parts(), is.Identifier.Parts()
	p.Version, q.Version = 0, 0
	return is.Number != was.Number || is.Type != was.Type || is.Issuer != was.Issuer || p != q
}

// sameHolder reports whether the licence stays with its holder: who has the code, or of a licence that was taken over
// unchecked, whose code says nothing, who has the name. A person's are known by what this node keeps in its vault; where
// it keeps nothing, nobody can tell, and the holder counts as another.
func (in *Intake) sameHolder(d *model.Draft, was, is *model.Licence) (bool, error) {
	if is.HolderKind != was.HolderKind {
		return false, nil
	}
	byName := was.Legacy != ""
	if !was.HolderKind.Personal() {
		if byName {
			return is.HolderName == was.HolderName, nil
		}
		return is.HolderCode == was.HolderCode, nil
	}
	field, value := model.FieldHolderCode, ""
	if byName {
		field = model.FieldHolderName
	}
	if c := d.Confidential; c != nil {
		if value = c.HolderCode; byName {
			value = c.HolderName
		}
	}
	if value == "" { // nothing is stated anew
		return is.Commitments[field] == was.Commitments[field], nil
	}
	o, err := in.opened(d.Record, field, was.Commitments[field])
	return o != nil && o.Value == value, err
}

// opened finds the opening of a commitment among what the vault keeps of a licence's versions, nil where it keeps none.
func (in *Intake) opened(record model.RecordID, field string, c model.Digest) (*model.Opening, error) {
	if in.History == nil {
		return nil, nil
	}
	for before := uint64(0); ; {
		page, err := in.History(model.KindLicence, record, before, 256)
		if err != nil || len(page) == 0 {
			return nil, err
		}
		for i := range page {
			all, err := in.Vault.Openings(page[i].Operation)
			if err != nil {
				return nil, err
			}
			if o, ok := all[field]; ok && o.Opens(field, c) {
				return &o, nil
			}
			before = page[i].Version
		}
		if before <= 1 {
			return nil, nil
		}
	}
}
