package registry

import (
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// active reads an entry that must stand and not be removed.
func active[T model.Entry](l Ledger, kind model.Kind, id model.RecordID, absent, gone model.Code) (T, error) {
	var none T
	h, e, err := l.Entry(kind, id)
	if err != nil {
		return none, err
	}
	v, ok := e.(T)
	if !ok {
		return none, model.E(absent)
	}
	if h.State == model.Removed {
		return none, model.E(gone)
	}
	return v, nil
}

// Agency reads an active agency.
func Agency(l Ledger, id model.AgencyID) (*model.Agency, error) {
	return active[*model.Agency](l, model.KindAgency, model.RecordID(id), model.CodeAgencyUnknown, model.CodeAgencyNotActive)
}

// Organisation reads a member.
func Organisation(l Ledger, id model.MSPID) (*model.Organisation, error) {
	return active[*model.Organisation](l, model.KindOrganisation, model.RecordID(id), model.CodeNotActingFor, model.CodeNotActingFor)
}

// LicenceType reads a type that may be issued.
func LicenceType(l Ledger, code model.TypeCode) (*model.LicenceType, error) {
	return active[*model.LicenceType](l, model.KindLicenceType, model.RecordID(code), model.CodeTypeUnknown, model.CodeTypeUnknown)
}

// Policy reads the ledger's rules.
func Policy(l Ledger) (*model.Policy, error) {
	return active[*model.Policy](l, model.KindPolicy, model.PolicyID, model.CodeNotInitialised, model.CodeNotInitialised)
}

// Delegation reads a delegation that has not been ended.
func Delegation(l Ledger, id model.RecordID) (*model.Delegation, error) {
	return active[*model.Delegation](l, model.KindDelegation, id, model.CodeDelegationUnknown, model.CodeDelegationNotValid)
}

func proposal(l Ledger, id model.RecordID) (*model.Proposal, error) {
	return active[*model.Proposal](l, model.KindProposal, id, model.CodeProposalUnknown, model.CodeProposalUnknown)
}

// Successor is who stands for an agency on a day: itself, or the last of its chain of successors.
func Successor(l Ledger, id model.AgencyID, day model.Date) (model.AgencyID, error) {
	for start := id; ; {
		h, e, err := l.Entry(model.KindSuccession, model.RecordID(id))
		if err != nil {
			return "", err
		}
		s, ok := e.(*model.Succession)
		if !ok || h.State != model.Active || day < s.Effective {
			return id, nil
		}
		if id = s.To; id == start {
			return "", model.E(model.CodeInternal).With("successions of %s go in a circle", start)
		}
	}
}

// unsucceeded checks that no chain of successions that begins at an agency, on whatever days, leads to another.
func unsucceeded(l Ledger, from, never model.AgencyID) error {
	for id := from; ; {
		if id == never {
			return model.E(model.CodeBadValue, "value.to").With("successions would go in a circle")
		}
		h, e, err := l.Entry(model.KindSuccession, model.RecordID(id))
		if err != nil {
			return err
		}
		s, ok := e.(*model.Succession)
		if !ok || h.State != model.Active {
			return nil
		}
		id = s.To
	}
}

// Issues checks that an agency issues a type in a region by its own right on a day: because the type lists
// it, or an agency that it has succeeded, for a region around. An empty region asks for any.
func Issues(l Ledger, t *model.LicenceType, id model.AgencyID, region model.Region, day model.Date) error {
	stands, err := Successor(l, id, day)
	if err != nil {
		return err
	}
	if stands != id { // another has taken over its types
		return model.E(model.CodeTypeNotPermitted, "agency")
	}
	own, listed := t.Issuers[id]
	if listed && (region == "" || region.Within(own)) {
		return nil
	}
	for _, other := range sorted(t.Issuers) {
		s, err := Successor(l, other, day)
		if err != nil {
			return err
		}
		if s != id {
			continue
		}
		if listed = true; region == "" || region.Within(t.Issuers[other]) {
			return nil
		}
	}
	if listed {
		return model.E(model.CodeRegionNotPermitted, "value.region")
	}
	return model.E(model.CodeTypeNotPermitted, "agency")
}
