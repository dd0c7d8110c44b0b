package intake

import (
	"bytes"
	"encoding/json"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// amendDraft is the body of amend and renew as a caller may send it: value holds only the fields that
// change; the rest is taken from the licence as it stands.
type amendDraft struct {
	model.Act
	How   model.AmendKind `json:"how"`
	Value json.RawMessage `json:"value"`
	// Previous may be given by a caller that guards against a change in between.
	Previous json.RawMessage `json:"previous"`
}

func (w *work) amend(op *model.Operation, d *model.Draft, view *model.View) error {
	if view == nil || w.in.pending.next(op.Kind, op.Record, view.Version) != view.Version+1 {
		return model.E(model.CodeVersionConflict, "version").With("an operation on this licence is still on its way; repeat once it is committed")
	}
	var a amendDraft
	if err := model.DecodeCanonical(op.Body, &a); err != nil {
		return err
	}
	b := model.AmendBody{Act: a.Act, How: a.How}
	if err := json.Unmarshal(view.Public, &b.Previous); err != nil {
		return model.E(model.CodeInternal).Because(err)
	}
	if a.Previous != nil && !bytes.Equal(a.Previous, view.Public) {
		return model.E(model.CodeValueMismatch, "previous")
	}
	if err := json.Unmarshal(view.Public, &b.Value); err != nil {
		return model.E(model.CodeInternal).Because(err)
	}
	b.Value.Signature = nil
	if a.Value != nil {
		// Top-level fields are replaced whole, so the face and the commitments must not be merged by the
		// decoder into the old ones.
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(a.Value, &fields); err != nil {
			return model.E(model.CodeWrongType, "value")
		}
		if _, ok := fields["face"]; ok {
			b.Value.Face = nil
		}
		if _, ok := fields["commitments"]; ok {
			b.Value.Commitments = nil
		}
		given := b.Value.Identifier
		if err := model.DecodeCanonical(a.Value, &b.Value); err != nil {
			return err
		}
		if b.Value.Identifier != given && b.Value.Signature == nil {
			return model.E(model.CodeIdentifierVersion, "value.identifier").With("the node gives the next identifier")
		}
	}
	if b.Value.Signature == nil || b.Value.Signature.Value == "" {
		p := b.Previous.Identifier.Parts()
		p.Version++
		var err error
		if b.Value.Identifier, err = model.NewLicenceID(p); err != nil {
			return err
		}
	}
	t, err := w.seal(op, d, &b.Value)
	if err != nil {
		return err
	}
	signed, err := w.sign(w.agencies[op.Agency], &b.Value)
	if err != nil {
		return err
	}
	if err := t.CheckFace(&b.Value); err != nil {
		return err
	}
	w.claimed = append(w.claimed, op.ID)
	if !w.in.pending.claim(newClaims(&b.Previous, &b.Value), op.ID) {
		return model.E(model.CodeNumberTaken, "value.number")
	}
	if b.Value.Number != b.Previous.Number {
		if taken, err := w.in.Ledger.Claimed(b.Value.Identifier, b.Value.Type, b.Value.Number); err != nil {
			return err
		} else if taken {
			return model.E(model.CodeNumberTaken, "value.number")
		}
	}
	if err := w.newFile(b.Previous.File, b.Value.File); err != nil {
		return err
	}
	w.in.pending.signed(op.ID, signed)
	if op.Body, err = model.Canonical(b); err != nil {
		return err
	}
	_, err = model.DecodeBody(op)
	return err
}

// transfer adds the licence as it stands, which the contract needs to see whether the receiver may hold it.
func (w *work) transfer(op *model.Operation, view *model.View) error {
	if view == nil {
		return model.E(model.CodeNotFound, "record")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(op.Body, &fields); err != nil || fields == nil {
		return model.E(model.CodeWrongType, "body")
	}
	if v, ok := fields["value"]; ok && !bytes.Equal(v, view.Public) {
		return model.E(model.CodeValueMismatch, "value")
	}
	fields["value"] = view.Public
	body, err := model.Canonical(fields)
	op.Body = body
	return err
}
