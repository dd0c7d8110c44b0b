package httpapi

import (
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// decodeQueries reads the body of POST /v1/verify.
func decodeQueries(body []byte, today model.Date) ([]model.Query, bool, error) {
	queries, single, err := decodeList(body, model.MaxQueries, quickQuery)
	if err != nil {
		return nil, single, err
	}
	for i := range queries {
		if err := checkQuery(&queries[i], today); err != nil {
			if single {
				return nil, true, err
			}
			return nil, false, &elementError{i, err}
		}
	}
	return queries, single, nil
}

// checkQuery holds a query to exactly one way of naming the licence, and to what can be known today. The day asked
// about may lie ahead: whether a licence will be in force then is answered by what is known now.
func checkQuery(q *model.Query, today model.Date) error {
	ways := 0
	for _, given := range [...]bool{q.Record != "", q.Identifier != "", q.Number != "", q.File != ""} {
		if given {
			ways++
		}
	}
	switch {
	case ways == 0:
		return model.E(model.CodeMissingField, "identifier")
	case ways > 1:
		return model.E(model.CodeBadValue).With("give one of record, identifier, number with type, file")
	case q.Number != "" && q.Type == "":
		return model.E(model.CodeMissingField, "type")
	case q.Number == "" && q.Type != "":
		return model.E(model.CodeMissingField, "number")
	case len(q.Number) > 256:
		return model.E(model.CodeTooLong, "number")
	case q.File != "" && !isDigest(q.File):
		return model.E(model.CodeBadValue, "file")
	case q.KnownAt > today:
		return model.E(model.CodeBadDate, "knownAt").With("a day to come, of which nothing is known yet")
	case q.Use != nil && q.Use.Check() != nil:
		return q.Use.Check()
	case len(q.Presentation) > model.MaxFields+3:
		return model.E(model.CodeTooMany, "presentation")
	}
	return nil
}

func isDigest(s string) bool {
	if len(s) != 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return true
}

func quickQuery(raw []byte, q *model.Query) (err error) {
	var seen uint8
	ok := members(raw, func(key string, value []byte) bool {
		var bit uint8
		switch key {
		case "identifier":
			bit, err = 1, quickText(&q.Identifier, value, key, model.ParseLicenceID)
		case "record":
			bit, err = 2, quickText(&q.Record, value, key, model.ParseRecordID)
		case "number":
			bit, err = 4, quickText(&q.Number, value, key, func(s string) (string, error) { return s, nil })
		case "type":
			bit, err = 8, quickText(&q.Type, value, key, model.ParseTypeCode)
		case "file":
			bit, err = 16, quickText(&q.File, value, key, func(s string) (string, error) { return s, nil })
		case "at":
			bit, err = 32, quickText(&q.At, value, key, model.ParseDate)
		case "knownAt":
			bit, err = 64, quickText(&q.KnownAt, value, key, model.ParseDate)
		case "use":
			q.Use = new(model.Use)
			_, err = model.DecodeStrict(value, q.Use)
			bit, err = 128, within(key, err)
		default:
			return false // a presentation, or something unknown
		}
		again := seen&bit != 0
		seen |= bit
		return err == nil && !again
	})
	return quickResult(raw, ok, err)
}
