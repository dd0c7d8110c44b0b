package push

import (
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// DecodeDraft reads one operation as POST /v1/operations takes it, strictly.
func DecodeDraft(raw []byte) (model.Draft, error) {
	var d model.Draft
	if len(raw) > model.MaxOperation {
		return d, model.E(model.CodeTooLarge)
	}
	if _, err := model.DecodeStrict(raw, &d); err != nil {
		return d, err
	}
	return d, checkDraft(&d)
}

// DecodeDrafts reads an array of them, or one; an error is about element index where index ≥ 0.
func DecodeDrafts(raw []byte) (drafts []model.Draft, index int, err error) {
	canonical, err := model.Canonicalize(raw)
	if err != nil {
		return nil, -1, err
	}
	if canonical[0] != '[' {
		var d model.Draft
		if err := model.DecodeCanonical(canonical, &d); err != nil {
			return nil, -1, err
		}
		return []model.Draft{d}, -1, checkDraft(&d)
	}
	var elements []model.RawValue
	if err := model.DecodeCanonical(canonical, &elements); err != nil {
		return nil, -1, err
	}
	if len(elements) == 0 || len(elements) > model.MaxOperations {
		return nil, -1, model.E(model.CodeTooMany)
	}
	drafts = make([]model.Draft, len(elements))
	for i, e := range elements {
		if err := model.DecodeCanonical(e, &drafts[i]); err != nil {
			return nil, i, err
		}
		if err := checkDraft(&drafts[i]); err != nil {
			return nil, i, err
		}
	}
	return drafts, -1, nil
}

func checkDraft(d *model.Draft) error {
	if d.Type == "" {
		return model.E(model.CodeMissingField, "type")
	}
	if _, ok := model.Types[d.Type]; !ok {
		return model.E(model.CodeUnknownOperation, "type")
	}
	if len(d.Body) > 0 && d.Body[0] != '{' {
		return model.E(model.CodeWrongType, "body")
	}
	return nil
}
