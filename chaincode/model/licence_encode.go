package model

import (
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
	if b, err = appendAny(b, l.Face); err != nil {
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
		{`,"legacy":`, l.Legacy}, {`,"number":`, l.Number}, {`,"region":`, string(l.Region)},
	} {
		if m.value == "" && m.key == `,"legacy":` {
			continue
		}
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

func sortedKeys[K ~string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return utf16Less(string(keys[i]), string(keys[j])) })
	return keys
}
