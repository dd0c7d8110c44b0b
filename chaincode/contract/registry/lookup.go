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
	for range maxChain {
		h, e, err := l.Entry(model.KindSuccession, model.RecordID(id))
		if err != nil {
			return "", err
		}
		s, ok := e.(*model.Succession)
		if !ok || h.State != model.Active || day < s.Effective {
			return id, nil
		}
		id = s.To
	}
	return id, nil
}

// IssuesItself is the region in which an agency issues a type by its own right on a day: because the type
// lists it, or one that it has succeeded.
func IssuesItself(l Ledger, t *model.LicenceType, id model.AgencyID, day model.Date) (model.Region, error) {
	stands, err := Successor(l, id, day)
	if err != nil {
		return "", err
	}
	if stands != id { // another has taken over its types
		return "", model.E(model.CodeTypeNotPermitted, "agency")
	}
	if r, ok := t.Issuers[id]; ok {
		return r, nil
	}
	for _, listed := range sorted(t.Issuers) {
		s, err := Successor(l, listed, day)
		if err != nil {
			return "", err
		}
		if s == id {
			return t.Issuers[listed], nil
		}
	}
	return "", model.E(model.CodeTypeNotPermitted, "agency")
}
