package intake

import (
	"encoding/json"
	"slices"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Shortens reports whether any of the drafts takes days from a licence as it stands: an amendment, of either kind, to an
// earlier last day, or to one where there was none, or to a later first day; a renewal that begins after a gap. Such a
// draft ends the licence for those days, under another name.
//
// The drafts that it returns are the same, with the versions of those that it looked at fixed: accepted instead of
// them, they are acts on what was looked at or refused. Drafts are as Accept takes them, and one that it would refuse
// for its form shortens nothing.
func (in *Intake) Shortens(drafts []model.Draft) (fixed []model.Draft, shortens bool, err error) {
	fixed = drafts
	for i := range drafts {
		d := &drafts[i]
		if d.Type != model.LicenceAmend && d.Type != model.LicenceRenew {
			continue
		}
		view, err := in.Ledger.View(d.Kind, d.Record)
		if err != nil {
			return nil, false, err
		}
		next := uint64(1)
		if view != nil {
			next = view.Version + 1
			ends, err := takesDays(d, view)
			if err != nil {
				return nil, false, err
			}
			shortens = shortens || ends
		}
		if d.Version != 0 {
			shortens = shortens || d.Version != next // of a licence that was not looked at
			continue
		}
		if &fixed[0] == &drafts[0] {
			fixed = slices.Clone(drafts)
		}
		fixed[i].Version = next
	}
	return fixed, shortens, nil
}

func takesDays(d *model.Draft, view *model.View) (bool, error) {
	var a amendDraft
	if model.DecodeCanonical(d.Body, &a) != nil || a.Value == nil {
		return false, nil
	}
	var was, is model.Licence
	if err := json.Unmarshal(view.Public, &was); err != nil {
		return false, model.E(model.CodeInternal).Because(err)
	}
	is.ValidFrom, is.ValidUntil = was.ValidFrom, was.ValidUntil
	if model.DecodeCanonical(a.Value, &is) != nil {
		return false, nil
	}
	if d.Type == model.LicenceRenew {
		return was.ValidUntil != "" && is.ValidFrom != "" && is.ValidFrom.Days() > was.ValidUntil.Days()+1, nil
	}
	return is.ValidFrom > was.ValidFrom || is.ValidUntil != "" && (was.ValidUntil == "" || is.ValidUntil < was.ValidUntil), nil
}
