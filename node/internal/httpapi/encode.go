package httpapi

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
	"unicode/utf8"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// The answers of the hot routes are written without reflection. A test holds every encoder here to what
// encoding/json makes of the same value.

const hexDigits = "0123456789abcdef"

// appendText writes a JSON string as encoding/json does with HTML escaping off.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = append(b, s[from:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\b':
				b = append(b, '\\', 'b')
			case '\f':
				b = append(b, '\\', 'f')
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
			i++
			from = i
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(append(b, s[from:i]...), `\ufffd`...)
			from = i + n
		case r == '\u2028', r == '\u2029':
			b = append(append(b, s[from:i]...), `\u202`...)
			b = append(b, hexDigits[r&15])
			from = i + n
		}
		i += n
	}
	return append(append(b, s[from:]...), '"')
}

// member writes the name and the text; name holds its quotes, colon and leading comma.
func member(b []byte, name, value string) []byte { return appendText(append(b, name...), value) }

func memberHex(b []byte, name string, value []byte) []byte {
	b = append(append(b, name...), '"')
	return append(hex.AppendEncode(b, value), '"')
}

func memberUint(b []byte, name string, v uint64) []byte {
	return strconv.AppendUint(append(b, name...), v, 10)
}

func memberInt(b []byte, name string, v int64) []byte {
	return strconv.AppendInt(append(b, name...), v, 10)
}

func memberRaw(b []byte, name string, raw json.RawMessage) []byte {
	b = append(b, name...)
	if len(raw) == 0 {
		return append(b, "null"...)
	}
	return append(b, raw...)
}

func memberTime(b []byte, name string, t model.Time) []byte {
	b = append(append(b, name...), '"')
	if !t.IsZero() {
		b = t.Time().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	}
	return append(b, '"')
}

func appendVerdict(b []byte, v *model.Verdict) []byte {
	b = member(b, `{"verdict":`, string(v.Verdict))
	b = member(b, `,"reason":`, string(v.Reason))
	b = member(b, `,"check":`, v.Check)
	b = member(b, `,"zh":`, v.Zh)
	b = member(b, `,"en":`, v.En)
	if v.Since != "" {
		b = member(b, `,"since":`, string(v.Since))
	}
	b = member(b, `,"at":`, string(v.At))
	b = member(b, `,"knownAt":`, string(v.KnownAt))
	if v.Record != nil {
		b = appendView(append(b, `,"record":`...), v.Record)
	}
	b = memberUint(b, `,"position":`, v.Position)
	b = memberUint(b, `,"height":`, v.Height)
	b = memberInt(b, `,"age_ms":`, v.AgeMS)
	if v.Last != nil {
		b = member(b, `,"last_known":{"verdict":`, string(v.Last.Verdict))
		b = append(member(b, `,"reason":`, string(v.Last.Reason)), '}')
	}
	if len(v.History) > 0 {
		b = append(b, `,"history":[`...)
		for i := range v.History {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendHistory(append(b, '{'), &v.History[i]), '}')
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

func appendView(b []byte, v *model.View) []byte {
	b = member(b, `{"kind":`, string(v.Kind))
	b = member(b, `,"id":`, string(v.ID))
	b = memberUint(b, `,"version":`, v.Version)
	b = member(b, `,"state":`, string(v.State))
	b = member(b, `,"owner":`, string(v.Owner))
	b = memberHex(b, `,"value":`, v.Value[:])
	b = member(b, `,"from":`, string(v.From))
	b = member(b, `,"until":`, string(v.Until))
	b = member(b, `,"effective":`, string(v.Effective))
	b = memberHex(b, `,"op":`, v.Op[:])
	b = memberRaw(b, `,"public":`, v.Public)
	b = memberHex(b, `,"digest":`, v.Digest[:])
	b = memberUint(b, `,"position":`, v.Position)
	b = memberHex(b, `,"leaf":`, v.Leaf[:])
	if v.Duplicate {
		b = append(b, `,"duplicate":true`...)
	}
	return append(b, '}')
}

// appendHistory writes the members of an entry, without braces.
func appendHistory(b []byte, h *model.HistoryEntry) []byte {
	b = memberUint(b, `"position":`, h.Position)
	b = memberUint(b, `,"version":`, h.Version)
	b = memberHex(b, `,"operation":`, h.Operation[:])
	b = member(b, `,"type":`, string(h.Type))
	b = member(b, `,"agency":`, string(h.Agency))
	b = member(b, `,"msp":`, string(h.Msp))
	if h.Person != "" {
		b = member(b, `,"person":`, string(h.Person))
	}
	b = memberTime(b, `,"time":`, h.Time)
	b = member(b, `,"state":`, string(h.State))
	b = memberUint(b, `,"block":`, h.Block)
	b = member(b, `,"tx":`, h.Tx)
	if h.Late {
		b = append(b, `,"late":true`...)
	}
	return memberRaw(b, `,"body":`, h.Body)
}

func appendOutcome(b []byte, o *model.Outcome) []byte {
	b = memberHex(b, `{"operation":`, o.Operation[:])
	b = member(b, `,"status":`, string(o.Status))
	b = member(b, `,"kind":`, string(o.Kind))
	b = member(b, `,"record":`, string(o.Record))
	b = memberUint(b, `,"version":`, o.Version)
	if r := o.Receipt; r != nil {
		b = memberHex(b, `,"receipt":{"operation":`, r.Operation[:])
		b = memberHex(b, `,"digest":`, r.Digest[:])
		b = member(b, `,"kind":`, string(r.Kind))
		b = member(b, `,"record":`, string(r.Record))
		b = memberUint(b, `,"version":`, r.Version)
		b = member(b, `,"state":`, string(r.State))
		b = memberUint(b, `,"position":`, r.Position)
		b = memberHex(b, `,"leaf":`, r.Leaf[:])
		b = memberUint(b, `,"block":`, r.Block)
		b = member(b, `,"tx":`, r.Tx)
		b = memberTime(b, `,"time":`, r.Time)
		if r.Late {
			b = append(b, `,"late":true`...)
		}
		b = append(b, '}')
	}
	if o.Problem != nil {
		b = appendProblem(append(b, `,"problem":`...), o.Problem)
	}
	if len(o.Presentation) > 0 { // rare: a licence with a confidential body
		p, err := json.Marshal(o.Presentation)
		if err != nil {
			panic(err) // texts, integers and booleans that came as JSON; to leave them out would lose them
		}
		b = append(append(b, `,"presentation":`...), p...)
	}
	return append(b, '}')
}

func appendProblem(b []byte, p *model.Problem) []byte {
	b = member(b, `{"type":`, p.Type)
	b = member(b, `,"title":`, p.Title)
	b = member(b, `,"zh":`, p.Zh)
	b = memberInt(b, `,"status":`, int64(p.Status))
	b = member(b, `,"code":`, string(p.Code))
	if p.Field != "" {
		b = member(b, `,"field":`, p.Field)
	}
	if p.Detail != "" {
		b = member(b, `,"detail":`, p.Detail)
	}
	b = member(b, `,"written":`, p.Written)
	if p.Index != nil {
		b = memberInt(b, `,"index":`, int64(*p.Index))
	}
	return append(b, '}')
}

// appendList writes an array, or the one element bare where the request was not an array.
func appendList[T any](b []byte, single bool, list []T, one func([]byte, *T) []byte) []byte {
	if single && len(list) == 1 {
		return one(b, &list[0])
	}
	b = append(b, '[')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = one(b, &list[i])
	}
	return append(b, ']')
}
