package model

import (
	"math"
	"sort"
	"strconv"
)

// AppendCanonical appends the licence's canonical form: what Canonical gives, an order of magnitude faster,
// because every licence issued is encoded twice on its way (once to be signed). Texts must be free of
// control characters, as the decoder leaves them; Check and the schema see to the rest.
func (l *Licence) AppendCanonical(b []byte) ([]byte, error) {
	b = append(b, '{')
	if len(l.Commitments) > 0 {
		b = append(b, `"commitments":{`...)
		for i, k := range sortedKeys(l.Commitments) {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendText(b, k)
			b = append(b, ':', '"')
			b = append(b, l.Commitments[k].String()...)
			b = append(b, '"')
		}
		b = append(b, '}', ',')
	}
	b = append(b, `"face":`...)
	var err error
	if l.Face == nil {
		b = append(b, "null"...)
	} else if b, err = appendAny(b, l.Face); err != nil {
		return nil, err
	}
	if f := l.File; f != nil {
		b = append(b, `,"file":{"sealed":`...)
		b = strconv.AppendBool(b, f.Sealed)
		b = append(b, `,"sha256":"`...)
		b = append(b, f.SHA256.String()...)
		b = append(b, `","sm3":"`...)
		b = append(b, f.SM3.String()...)
		b = append(b, '"', '}')
	}
	for _, m := range [...]struct{ key, value string }{
		{`,"holder_code":`, string(l.HolderCode)}, {`,"holder_kind":`, string(l.HolderKind)}, {`,"holder_name":`, l.HolderName},
		{`,"identifier":`, string(l.Identifier)}, {`,"issued_on":`, string(l.IssuedOn)}, {`,"issuer":`, string(l.Issuer)},
		{`,"number":`, l.Number}, {`,"region":`, string(l.Region)},
	} {
		if _, err := checkText(m.value); err != nil {
			return nil, err
		}
		b = appendText(append(b, m.key...), m.value)
	}
	if s := l.Signature; s != nil {
		b = appendText(append(b, `,"signature":{"alg":`...), s.Alg)
		b = appendText(append(b, `,"key":`...), s.Key)
		b = appendText(append(b, `,"value":`...), s.Value)
		b = append(b, '}')
	}
	b = appendText(append(b, `,"type":`...), string(l.Type))
	b = appendText(append(b, `,"valid_from":`...), string(l.ValidFrom))
	b = appendText(append(b, `,"valid_until":`...), string(l.ValidUntil))
	return append(b, '}'), nil
}

// EncodeBody is the canonical body of licence.issue.
func (i *IssueBody) EncodeBody() ([]byte, error) {
	b := append(make([]byte, 0, 1024), `{"under":"`...)
	b = append(b, i.Under...)
	b, err := i.Value.AppendCanonical(append(b, `","value":`...))
	if err != nil {
		return nil, err
	}
	return append(b, '}'), nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return utf16Less(keys[i], keys[j]) })
	return keys
}

// appendAny writes a decoded JSON value canonically.
func appendAny(b []byte, v any) ([]byte, error) {
	switch x := v.(type) {
	case string:
		if _, err := checkText(x); err != nil {
			return nil, err
		}
		return appendText(b, x), nil
	case bool:
		return strconv.AppendBool(b, x), nil
	case float64:
		if x != math.Trunc(x) || math.Abs(x) >= MaxSafeInt {
			return nil, E(CodeNumberNotInteger)
		}
		return strconv.AppendInt(b, int64(x), 10), nil
	case map[string]any:
		b = append(b, '{')
		for i, k := range sortedKeys(x) {
			if i > 0 {
				b = append(b, ',')
			}
			if _, err := checkText(k); err != nil {
				return nil, err
			}
			b = append(appendText(b, k), ':')
			var err error
			if b, err = appendAny(b, x[k]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	// Lists, null and Go's own types take the general way.
	c, err := Canonical(v)
	if err != nil {
		return nil, err
	}
	return append(b, c...), nil
}
