// Package registry holds the rules of the registry: who is a member, who acts for whom, who may issue
// what and where, and how that changes: by k approvals of organisations, or by an agency itself where
// only its own endpoint or key is concerned.
package registry

import (
	"bytes"
	"encoding/base64"
	"sort"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// MaxLevel is the highest contract.level that this build can run.
const MaxLevel = 2

// Ledger is what the rules read. Entries are shared and read only; an absent one is nil with a zero header.
type Ledger interface {
	Header(kind model.Kind, id model.RecordID) (model.Header, error)
	Entry(kind model.Kind, id model.RecordID) (model.Header, model.Entry, error)
	RegistryVersion() (uint64, error)
	Members() (int, error) // organisations that are members now
}

// Caller is who signed the transaction, by organisation and certificate, and the signature check of its contract.
type Caller struct {
	Msp        model.MSPID
	CommonName string
	Verify     func(alg string, public, message, signature []byte) error
}

// Genesis is the effect of an operation derived from the genesis document.
func Genesis(l Ledger, op *model.Operation, body *model.GenesisBody) (model.Effect, error) {
	return write(l, op, body, body.Value)
}

// ImportClosed is the effect of the operation that closes an import.
func ImportClosed(l Ledger, op *model.Operation, body *model.ImportBody) (model.Effect, error) {
	return writeValue(l, op, body, &body.Value)
}

// Apply decides an operation on a registry record.
func Apply(l Ledger, op *model.Operation, body any, by Caller) (model.Effect, error) {
	switch b := body.(type) {
	case *model.ProposeBody:
		return propose(l, op, b, by)
	case *model.ApproveBody:
		return approve(l, op, b, by)
	case *model.EnactBody:
		return enact(l, op, b)
	case *model.EndpointBody:
		return changeSelf(l, op, b, func(a *model.Agency) error {
			a.Endpoint = b.Endpoint
			return nil
		})
	case *model.RotateBody:
		return changeSelf(l, op, b, func(a *model.Agency) error { return rotate(a, b, by) })
	case *model.PartyBody:
		if b.Value.Host != op.Agency || string(op.Record) != string(b.Value.USCC) {
			return model.Effect{}, model.E(model.CodeBadValue, "value.host")
		}
		return writeValue(l, op, b, &b.Value)
	case *model.DelegateBody:
		return delegate(l, op, b)
	case *model.AnchorBody:
		return anchor(l, op, b, by)
	case *model.EmptyBody:
		h, err := l.Header(op.Kind, op.Record)
		if err != nil {
			return model.Effect{}, err
		}
		if h.Exists() { // a successor withdraws, releases and ends what its predecessor began
			if h.Owner, err = Successor(l, h.Owner, op.Time.Date()); err != nil {
				return model.Effect{}, err
			}
		}
		return model.Step(h, op, body)
	}
	return model.Effect{}, model.E(model.CodeUnknownOperation, "type")
}

// write steps the record and sets its value.
func write(l Ledger, op *model.Operation, body any, value []byte) (model.Effect, error) {
	h, err := l.Header(op.Kind, op.Record)
	if err != nil {
		return model.Effect{}, err
	}
	e, err := model.Step(h, op, body)
	if err != nil {
		return model.Effect{}, err
	}
	e.Value = value
	e.Header.Value = model.DigestOf(value)
	switch op.Kind {
	case model.KindAgency: // an agency owns its own record, whoever proposed it
		e.Header.Owner = model.AgencyID(op.Record)
	case model.KindOrganisation, model.KindLicenceType, model.KindSuccession, model.KindPolicy:
		e.Header.Owner = "" // only k approvals change it
	}
	return e, nil
}

func writeValue(l Ledger, op *model.Operation, body any, value model.Entry) (model.Effect, error) {
	raw, err := model.Canonical(value)
	if err != nil {
		return model.Effect{}, err
	}
	return write(l, op, body, raw)
}

func propose(l Ledger, op *model.Operation, b *model.ProposeBody, by Caller) (model.Effect, error) {
	if err := admissible(l, b); err != nil {
		return model.Effect{}, err
	}
	p := model.Proposal{
		Action: b.Action, Kind: b.Kind, Record: b.Record, Version: b.Version, Value: b.Value, Approvals: []model.Approval{},
		Content: model.ContentDigest(b.Action, b.Kind, b.Record, b.Version, b.Value),
	}
	return writeValue(l, op, b, &p)
}

// admissible holds a proposed change against the registry as it stands.
func admissible(l Ledger, b *model.ProposeBody) error {
	h, now, err := l.Entry(b.Kind, b.Record)
	if err != nil {
		return err
	}
	if b.Version != h.Version+1 {
		return model.E(model.CodeVersionConflict, "version")
	}
	if _, err := model.Machines[b.Kind].Next(h.State, b.Action); err != nil {
		return err
	}
	if b.Action == model.Remove {
		if raw, err := model.Canonical(now); err != nil || !bytes.Equal(raw, b.Value) {
			return model.E(model.CodeValueMismatch, "value")
		}
		return notLast(l, b.Kind)
	}
	entry, err := model.DecodeEntry(b.Kind, b.Record, b.Value)
	if err != nil {
		return err
	}
	switch v := entry.(type) {
	case *model.Agency:
		if _, err := Organisation(l, v.Msp); err != nil {
			return err
		}
		if was, ok := now.(*model.Agency); ok {
			if err := sameKeys(was, v); err != nil {
				return err
			}
		}
		return acyclic(l, v)
	case *model.LicenceType:
		for _, id := range sorted(v.Issuers) {
			if _, err := Agency(l, id); err != nil {
				return err
			}
		}
	case *model.Succession:
		// An agency that was removed before anybody succeeded it has left its licences without an owner.
		if _, err := Agency(l, v.From); err != nil && model.AsError(err).Code != model.CodeAgencyNotActive {
			return err
		}
		if _, err := Agency(l, v.To); err != nil {
			return err
		}
		return unsucceeded(l, v.To, v.From)
	case *model.Policy:
		if v.Level > MaxLevel {
			return model.E(model.CodeLevelUnsupported, "value.level")
		}
		if was, ok := now.(*model.Policy); ok && v.Level < was.Level {
			return model.E(model.CodeBadValue, "value.level").With("the contract's level never falls")
		}
	}
	return nil
}

// notLast keeps the last member: without one nobody could decide anything again.
func notLast(l Ledger, removed model.Kind) error {
	if removed != model.KindOrganisation {
		return nil
	}
	n, err := l.Members()
	if err != nil {
		return err
	}
	if n < 2 {
		return model.E(model.CodeForbidden, "record").With("the last member stays")
	}
	return nil
}

// sameKeys checks that a key id keeps its meaning through a change by approvals: what was signed before
// must verify after, and a retired key never signs again.
func sameKeys(was, is *model.Agency) error {
	for _, k := range is.Keys {
		for _, old := range was.Keys {
			if k.ID == old.ID && (k.Alg != old.Alg || k.Public != old.Public || (old.Retired && !k.Retired)) {
				return model.E(model.CodeBadValue, "value.keys").With("a key id is never used again")
			}
		}
	}
	return nil
}

func sorted(m map[model.AgencyID]model.Region) []model.AgencyID {
	ids := make([]model.AgencyID, 0, len(m))
	for id := range m {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i] < ids[j] })
	return ids
}

func acyclic(l Ledger, a *model.Agency) error {
	id := a.Parent
	for i := 0; id != ""; i++ {
		if id == a.ID || i == model.MaxTree {
			return model.E(model.CodeBadValue, "value.parent").With("the tree of agencies would have a circle or be too deep")
		}
		p, err := Agency(l, id)
		if err != nil {
			return err
		}
		id = p.Parent
	}
	return nil
}

func approve(l Ledger, op *model.Operation, b *model.ApproveBody, by Caller) (model.Effect, error) {
	p, err := proposal(l, op.Record)
	if err != nil {
		return model.Effect{}, err
	}
	if b.Content != p.Content {
		return model.Effect{}, model.E(model.CodeContentMismatch, "content")
	}
	version, err := l.RegistryVersion()
	if err != nil {
		return model.Effect{}, err
	}
	if b.Registry != version {
		return model.Effect{}, model.E(model.CodeRegistryChanged, "registry")
	}
	next := *p
	next.Approvals = append([]model.Approval{}, p.Approvals...)
	for _, a := range next.Approvals {
		if a.Msp == by.Msp {
			return model.Effect{}, model.E(model.CodeAlreadyApproved)
		}
	}
	next.Approvals = append(next.Approvals, model.Approval{Agency: op.Agency, Msp: by.Msp, Registry: b.Registry})
	e, err := writeValue(l, op, b, &next)
	if err != nil {
		return model.Effect{}, err
	}
	enough, err := approved(l, &next)
	if err != nil {
		return model.Effect{}, err
	}
	if enough {
		e.Header.State = model.Approved
	}
	return e, nil
}

// approved counts a proposal's approvals.
func approved(l Ledger, p *model.Proposal) (bool, error) {
	ids := make([]model.MSPID, len(p.Approvals))
	for i := range p.Approvals {
		ids[i] = p.Approvals[i].Msp
	}
	return Enough(l, ids)
}

// Enough counts approvals of organisations that are members now against k.
func Enough(l Ledger, approvals []model.MSPID) (bool, error) {
	policy, err := Policy(l)
	if err != nil {
		return false, err
	}
	n, err := l.Members()
	if err != nil {
		return false, err
	}
	count := 0
	for _, id := range approvals {
		switch _, err := Organisation(l, id); {
		case err == nil:
			count++
		case model.AsError(err).Kind() == model.Internal:
			return false, err
		}
	}
	return count >= policy.Needed(n), nil
}

func enact(l Ledger, op *model.Operation, b *model.EnactBody) (model.Effect, error) {
	p, err := proposal(l, b.Proposal)
	if err != nil {
		return model.Effect{}, err
	}
	h, err := l.Header(model.KindProposal, b.Proposal)
	if err != nil {
		return model.Effect{}, err
	}
	if h.State != model.Approved {
		return model.Effect{}, model.E(model.CodeApprovalsMissing, "proposal")
	}
	if model.ContentDigest(op.Type, op.Kind, op.Record, op.Version, b.Value) != p.Content {
		return model.Effect{}, model.E(model.CodeContentMismatch, "value")
	}
	if enough, err := approved(l, p); err != nil {
		return model.Effect{}, err
	} else if !enough {
		return model.Effect{}, model.E(model.CodeApprovalsMissing, "proposal")
	}
	// The registry may have moved since the proposal.
	if err := admissible(l, &model.ProposeBody{Action: p.Action, Kind: p.Kind, Record: p.Record, Version: p.Version, Value: p.Value}); err != nil {
		return model.Effect{}, err
	}
	return write(l, op, b, b.Value)
}

func changeSelf(l Ledger, op *model.Operation, body any, change func(*model.Agency) error) (model.Effect, error) {
	if string(op.Record) != string(op.Agency) {
		return model.Effect{}, model.E(model.CodeNotOwner, "agency")
	}
	a, err := Agency(l, op.Agency)
	if err != nil {
		return model.Effect{}, err
	}
	next := *a
	next.Keys = append([]model.Key{}, a.Keys...)
	if err := change(&next); err != nil {
		return model.Effect{}, err
	}
	return writeValue(l, op, body, &next)
}

func rotate(a *model.Agency, b *model.RotateBody, by Caller) error {
	old, ok := a.ActiveKey(b.Retire)
	if !ok {
		return model.E(model.CodeKeyUnknown, "retire")
	}
	for i := range a.Keys {
		if a.Keys[i].ID == b.New.ID {
			return model.E(model.CodeBadValue, "new.id").With("a key id is never used again")
		}
		if a.Keys[i].ID == b.Retire {
			a.Keys[i].Retired = true
		}
	}
	public, err := old.PublicBytes()
	if err != nil {
		return model.E(model.CodeInternal).Because(err)
	}
	proof, err := base64.RawURLEncoding.Strict().DecodeString(b.Proof)
	if err != nil || by.Verify == nil || by.Verify(old.Alg, public, model.RotationBytes(a.ID, b.Retire, b.New), proof) != nil {
		return model.E(model.CodeSignatureInvalid, "proof")
	}
	if len(a.Keys) >= 16 {
		return model.E(model.CodeTooMany, "new")
	}
	a.Keys = append(a.Keys, b.New)
	return nil
}

func delegate(l Ledger, op *model.Operation, b *model.DelegateBody) (model.Effect, error) {
	d := &b.Value
	if d.From != op.Agency {
		return model.Effect{}, model.E(model.CodeBadValue, "value.from")
	}
	t, err := LicenceType(l, d.Type)
	if err != nil {
		return model.Effect{}, err
	}
	if err := Issues(l, t, d.From, d.Region, op.Time.Date()); err != nil {
		return model.Effect{}, err
	}
	to, err := Agency(l, d.To)
	if err != nil {
		return model.Effect{}, err
	}
	if !to.Has(model.RoleIssuer) {
		return model.Effect{}, model.E(model.CodeNotIssuer, "value.to")
	}
	return writeValue(l, op, b, d)
}
