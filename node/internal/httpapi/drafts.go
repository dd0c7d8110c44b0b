package httpapi

import (
	"strconv"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// decodeDrafts reads the body of POST /v1/operations. Bodies of the drafts are canonical afterwards and may
// be parts of the request's own bytes.
func decodeDrafts(body []byte) ([]model.Draft, bool, error) {
	drafts, single, err := decodeList(body, model.MaxOperations, quickDraft)
	if err != nil {
		return nil, single, err
	}
	for i := range drafts {
		if err := checkDraft(&drafts[i]); err != nil {
			if single {
				return nil, true, err
			}
			return nil, false, &elementError{i, err}
		}
	}
	return drafts, single, nil
}

func checkDraft(d *model.Draft) error {
	if d.Type == "" {
		return model.E(model.CodeMissingField, "type")
	}
	if _, ok := model.Types[d.Type]; !ok {
		return model.E(model.CodeUnknownOperation, "type")
	}
	if d.Kind != "" && model.Machines[d.Kind] == nil {
		return model.E(model.CodeUnknownOperation, "kind")
	}
	if len(d.Body) > 0 && d.Body[0] != '{' {
		return model.E(model.CodeWrongType, "body")
	}
	if len(d.Body) > model.MaxOperation {
		return model.E(model.CodeTooLarge, "body")
	}
	return nil
}

func quickDraft(raw []byte, d *model.Draft) (err error) {
	var seen uint8
	once := func(bit uint8) bool {
		again := seen&bit != 0
		seen |= bit
		return !again
	}
	ok := members(raw, func(key string, value []byte) bool {
		switch key {
		case "agency":
			err = quickText(&d.Agency, value, key, model.ParseAgencyID)
			return once(1) && err == nil
		case "type":
			err = quickText(&d.Type, value, key, anyText[model.Type])
			return once(2) && err == nil
		case "kind":
			err = quickText(&d.Kind, value, key, anyText[model.Kind])
			return once(4) && err == nil
		case "record":
			err = quickText(&d.Record, value, key, model.ParseRecordID)
			return once(8) && err == nil
		case "version":
			v, bad := strconv.ParseUint(string(value), 10, 53)
			d.Version = v
			return once(16) && bad == nil && strconv.FormatUint(v, 10) == string(value)
		case "body":
			if !once(32) {
				return false
			}
			if model.IsCanonical(value) {
				d.Body = value
				return true
			}
			d.Body, err = model.Canonicalize(value)
			err = within(key, err)
			return err == nil
		case "confidential":
			d.Confidential = new(model.LicenceConfidential)
			_, err = model.DecodeStrict(value, d.Confidential)
			err = within(key, err)
			return once(64) && err == nil && value[0] == '{'
		}
		return false
	})
	return quickResult(raw, ok, err)
}

// within names the member in which a fault was found.
func within(field string, err error) error {
	if err == nil {
		return nil
	}
	e := *model.AsError(err)
	if e.Field == "" {
		e.Field = field
	}
	return &e
}

func anyText[T ~string](s string) (T, error) {
	if len(s) > 64 {
		return "", model.E(model.CodeTooLong)
	}
	return T(s), nil
}
