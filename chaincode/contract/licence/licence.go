// Package licence holds the rules of electronic licences that need more than the licence's own header:
// who may issue a type where, on whose delegation, with which key, and who stands as owner after a
// succession. The transitions themselves are model.Step's.
package licence

import (
	"github.com/zhenglian/zhenglian/chaincode/contract/registry"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Apply decides an operation on a licence.
func Apply(l registry.Ledger, op *model.Operation, body any) (model.Effect, error) {
	h, err := l.Header(op.Kind, op.Record)
	if err != nil {
		return model.Effect{}, err
	}
	if h.Exists() {
		if h.Owner, err = registry.Successor(l, h.Owner, op.Time.Date()); err != nil {
			return model.Effect{}, err
		}
	}
	e, err := model.Step(h, op, body)
	if err != nil {
		return model.Effect{}, err
	}
	actor, err := registry.Agency(l, op.Agency)
	if err != nil {
		return model.Effect{}, err
	}
	if !actor.Has(model.RoleIssuer) {
		return model.Effect{}, model.E(model.CodeNotIssuer, "agency")
	}
	switch b := body.(type) {
	case *model.IssueBody:
		err = permit(l, actor, op, b.Under, &b.Value)
	case *model.AmendBody:
		err = amend(l, actor, op, b)
	case *model.TransferBody:
		err = receive(l, b, op.Time.Date())
	}
	if err != nil {
		return model.Effect{}, err
	}
	return e, nil
}

// permit checks the right to issue: the agency's own, or a delegation in force. The licence names the
// issuing agency's code, or the delegator's where it issues in the delegator's name.
func permit(l registry.Ledger, actor *model.Agency, op *model.Operation, under model.RecordID, v *model.Licence) error {
	t, err := registry.LicenceType(l, v.Type)
	if err != nil {
		return err
	}
	day := op.Time.Date()
	issuer := v.Issuer == actor.USCC
	if under == "" {
		if err := registry.Issues(l, t, actor.ID, v.Region, day); err != nil {
			return err
		}
	} else {
		d, err := registry.Delegation(l, under)
		if err != nil {
			return err
		}
		if d.To != actor.ID || d.Type != v.Type || !d.Window.Holds(day) {
			return model.E(model.CodeDelegationNotValid, "under")
		}
		// What the delegator lost by succession its successor holds; the delegation goes on under it.
		from, err := registry.Successor(l, d.From, day)
		if err != nil {
			return err
		}
		delegator, err := registry.Agency(l, from)
		if err != nil {
			return err
		}
		if _, err := registry.Organisation(l, delegator.Msp); err != nil {
			return gone(err)
		}
		if err := registry.Issues(l, t, from, "", day); err != nil {
			return gone(err)
		}
		// Neither the delegation nor what is left of the delegator's own right is exceeded.
		if !v.Region.Within(d.Region) {
			return model.E(model.CodeRegionNotPermitted, "value.region")
		}
		if err := registry.Issues(l, t, from, v.Region, day); err != nil {
			return err
		}
		issuer = issuer || v.Issuer == delegator.USCC
	}
	if !issuer {
		return model.E(model.CodeBadValue, "value.issuer").With("not the acting agency's code")
	}
	return check(t, actor, op, v)
}

// gone says that a delegator no longer holds what it delegated.
func gone(err error) error {
	if model.AsError(err).Kind() == model.Internal {
		return err
	}
	return model.E(model.CodeDelegationNotValid, "under")
}

// amend checks the new value. The region may be narrowed; any other is the owner's to give only where it
// issues the type by its own right (after a transfer, that of the receiving agency).
func amend(l registry.Ledger, actor *model.Agency, op *model.Operation, b *model.AmendBody) error {
	t, err := registry.LicenceType(l, b.Value.Type)
	if err != nil {
		return err
	}
	if !b.Value.Region.Within(b.Previous.Region) {
		if err := registry.Issues(l, t, actor.ID, b.Value.Region, op.Time.Date()); err != nil {
			return err
		}
	}
	return check(t, actor, op, &b.Value)
}

func check(t *model.LicenceType, signer *model.Agency, op *model.Operation, v *model.Licence) error {
	if v.IssuedOn > op.Time.Date() {
		return model.E(model.CodeBadDate, "value.issued_on").With("it lies in the future")
	}
	if err := t.CheckFace(v); err != nil {
		return err
	}
	k, ok := signer.ActiveKey(v.Signature.Key)
	if !ok || k.Alg != v.Signature.Alg {
		return model.E(model.CodeKeyUnknown, "value.signature.key")
	}
	return nil
}

// receive checks that the agency that a licence moves to may hold such a licence.
func receive(l registry.Ledger, b *model.TransferBody, day model.Date) error {
	to, err := registry.Agency(l, b.To)
	if err != nil {
		return err
	}
	if !to.Has(model.RoleIssuer) {
		return model.E(model.CodeNotIssuer, "to")
	}
	t, err := registry.LicenceType(l, b.Value.Type)
	if err != nil {
		return err
	}
	if err := registry.Issues(l, t, to.ID, "", day); err != nil {
		if model.AsError(err).Kind() == model.Internal {
			return err
		}
		return model.E(model.CodeTypeNotPermitted, "to")
	}
	return nil
}
