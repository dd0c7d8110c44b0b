package model

import "encoding/json"

// Step decides a transition: the header that op makes of a record whose header is h (zero where there is
// none), and the public value where op sets one. It is pure, and the only place where transitions are
// decided: the contract calls it under endorsement, every follower calls it again on what the block says.
//
// Beyond Step, the contract checks what needs other records: that the caller acts for the agency, that
// the agency may issue the type in the region, that k approvals stand. It passes h with the owner that
// stands after successions.
//
// body is op's decoded body (DecodeBody).
func Step(h Header, op *Operation, body any) (Effect, error) {
	m := Machines[op.Kind]
	if m == nil || !m.Allows(op.Type) {
		return Effect{}, E(CodeUnknownOperation, "type")
	}
	if op.Version != h.Version+1 {
		return Effect{}, E(CodeVersionConflict, "version")
	}
	next, err := m.Next(h.State, op.Type)
	if err != nil {
		return Effect{}, err
	}
	if h.Exists() && ownerActs[op.Type] && h.Owner != op.Agency {
		return Effect{}, E(CodeNotOwner, "agency")
	}
	e := Effect{Header: h}
	e.Header.Version = op.Version
	e.Header.State = next
	e.Header.Op = op.ID
	if !h.Exists() {
		e.Header.Owner = op.Agency
	}
	if s, ok := body.(stepper); ok {
		if err := s.step(h, op, &e); err != nil {
			return Effect{}, err
		}
	}
	if e.Value != nil {
		e.Header.Value = DigestOf(e.Value)
	}
	return e, nil
}

// stepper is a body with rules of its own on the header. It may set Header's owner and dates and Value.
type stepper interface {
	step(h Header, op *Operation, e *Effect) error
}

// ownerActs lists the types that only the record's owner may use. The others have their own rule:
// approvals come from any organisation, enactments rest on k approvals.
var ownerActs = map[Type]bool{
	CloseProposal: true, SetEndpoint: true, RotateKey: true, ReleaseParty: true, EndDelegation: true,
	LicenceAmend: true, LicenceSuspend: true, LicenceResume: true, LicenceDormant: true, LicenceRenew: true,
	LicenceTransfer: true, LicenceRescind: true, LicenceWithdraw: true, LicenceRevoke: true,
	LicenceCancel: true, LicenceVoidLost: true,
}

// checker of bodies: what can be said of a body without any state.
type bodyChecker interface{ check() error }

// DecodeBody decodes an operation's body into the type's struct and checks it: fields, formats, lengths,
// and that no personal identifier stands in a free value.
func DecodeBody(op *Operation) (any, error) {
	body, err := undecided(op)
	if err != nil {
		// What cannot be told field from field is free throughout: a body that is refused anyway must not
		// carry a person's number into a block beside its refusal.
		if textsPersonal(op.Body) {
			return nil, E(CodePersonalIdentifier, "body")
		}
		return nil, err
	}
	if err := Guard(op.Body, body); err != nil {
		return nil, err
	}
	if c, ok := body.(bodyChecker); ok {
		if err := c.check(); err != nil {
			return nil, err
		}
	}
	return body, nil
}

// undecided decodes a body and checks nothing of what it says.
func undecided(op *Operation) (any, error) {
	r, ok := Types[op.Type]
	if !ok {
		return nil, E(CodeUnknownOperation, "type")
	}
	if m := Machines[op.Kind]; m == nil || !m.Allows(op.Type) {
		return nil, E(CodeUnknownOperation, "kind")
	}
	if err := guardNames(op); err != nil {
		return nil, err
	}
	if _, _, serial := op.Record.Serial(); serial == naturalID(op.Kind) {
		return nil, E(CodeBadID, "record")
	}
	if op.Type == LicenceIssue {
		if b := new(IssueBody); b.scan(op.Body) {
			return b, nil
		}
	}
	body := r.Body()
	return body, decodeLedger(op.Body, body)
}

// Complete writes a body as a caller may send it in the ledger's form: fields that were left out stand
// empty, as a licence and a registry entry must have them. It checks no more than that the fields are
// known and of their types. raw is canonical.
func Complete(t Type, kind Kind, raw json.RawMessage) (json.RawMessage, error) {
	r, ok := Types[t]
	if !ok {
		return nil, E(CodeUnknownOperation, "type")
	}
	body := r.Body()
	if err := DecodeCanonical(raw, body); err != nil {
		return nil, err
	}
	var err error
	switch b := body.(type) {
	case *ProposeBody:
		b.Value, err = completeEntry(b.Kind, b.Value)
	case *EnactBody:
		b.Value, err = completeEntry(kind, b.Value)
	}
	if err != nil {
		return nil, err
	}
	return Canonical(body)
}

func completeEntry(k Kind, raw json.RawMessage) (json.RawMessage, error) {
	e := NewEntry(k)
	if e == nil {
		return nil, E(CodeBadValue, "kind")
	}
	if len(raw) == 0 {
		return nil, E(CodeMissingField, "value")
	}
	if err := DecodeCanonical(raw, e); err != nil {
		return nil, within("value", err)
	}
	return Canonical(e)
}

func naturalID(k Kind) bool {
	switch k {
	case KindLicence, KindProposal, KindDelegation:
		return false
	}
	return true
}
