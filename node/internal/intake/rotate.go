package intake

import (
	"encoding/base64"
	"fmt"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

// rotateDraft asks for a new signing key. Whoever holds the keys elsewhere sends the whole body instead.
type rotateDraft struct {
	Alg    string     `json:"alg"`    // of the new key; the old one's by default
	Retire string     `json:"retire"` // the newest active key by default
	New    *model.Key `json:"new"`
	Proof  string     `json:"proof"`
}

// rotate draws the new key, which is on disk before the operation is accepted, and proves it with the old.
func (w *work) rotate(op *model.Operation) error {
	var d rotateDraft
	if err := model.DecodeCanonical(op.Body, &d); err != nil {
		return err
	}
	if d.New != nil || d.Proof != "" {
		return nil // complete as it came
	}
	agency := w.agencies[op.Agency]
	if string(op.Record) != string(agency.ID) {
		return model.E(model.CodeNotOwner, "record")
	}
	for i := len(agency.Keys) - 1; i >= 0; i-- {
		old := agency.Keys[i]
		signer, held := w.in.Keys.Signer(agency.ID, old.ID)
		if old.Retired || !held || (d.Retire != "" && d.Retire != old.ID) {
			continue
		}
		if d.Alg == "" {
			d.Alg = old.Alg
		}
		if w.dry {
			op.Body = nil
			return nil
		}
		id := fmt.Sprintf("%s-%d", agency.ID, len(agency.Keys)+1)
		next, exists := w.in.Keys.Signer(agency.ID, id) // left by a rotation that was refused
		if !exists || string(next.Alg()) != d.Alg {
			var err error
			if next, err = w.in.Keys.Create(agency.ID, id, envelope.Alg(d.Alg)); err != nil {
				return model.E(model.CodeBadValue, "alg").Because(err)
			}
		}
		b := model.RotateBody{Retire: old.ID, New: model.Key{Alg: d.Alg, ID: id, Public: base64.RawURLEncoding.EncodeToString(next.Public())}}
		proof, err := signer.Sign(model.RotationBytes(agency.ID, b.Retire, b.New))
		if err != nil {
			return model.E(model.CodeInternal).Because(err)
		}
		b.Proof = base64.RawURLEncoding.EncodeToString(proof)
		op.Body, err = model.Canonical(b)
		return err
	}
	return model.E(model.CodeKeyUnknown, "retire")
}
