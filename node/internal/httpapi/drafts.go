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
			c, bad := model.Canonicalize(value)
			if bad != nil {
				e := *model.AsError(bad)
				if e.Field == "" {
					e.Field = "body"
				}
				err = &e
			}
			d.Body = c
			return bad == nil
		case "confidential":
			d.Confidential = new(model.LicenceConfidential)
			_, err = model.DecodeStrict(value, d.Confidential)
			return once(64) && err == nil && value[0] == '{'
		}
		return false
	})
	if err != nil && err != error(errSlow) {
		// A fault of one member is the fault to report only if the element as a whole is JSON.
		if _, bad := model.Canonicalize(raw); bad != nil {
			return bad
		}
		return err
	}
	if !ok {
		return errSlow
	}
	return nil
}

func anyText[T ~string](s string) (T, error) {
	if len(s) > 64 {
		return "", model.E(model.CodeTooLong)
	}
	return T(s), nil
}
