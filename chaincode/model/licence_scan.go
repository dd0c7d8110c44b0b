package model

import "strings"

// scan reads the body of licence.issue as nearly all of them stand: every field, in canonical order, texts
// without escapes, face fields that are texts. Of any other body it says false and leaves b half filled; the
// general decoder reads that one and says what is wrong with it. It is some four times faster, and runs on
// every licence at each endorser and at each follower. raw is canonical.
//
// The texts share one copy of raw.
func (b *IssueBody) scan(raw []byte) bool {
	s := textScanner{rest: string(raw)}
	l := &b.Value
	into(&s, `{"under":"`, &b.Under, ParseRecordID)
	s.expect(`,"value":{`)
	if s.take(`"commitments":{`) {
		l.Commitments = map[string]Digest{}
		s.members(func(key string) {
			var d Digest
			if d.UnmarshalText([]byte(s.text(`"`))) != nil {
				s.failed = true
			}
			l.Commitments[key] = d
		})
		s.failed = s.failed || len(l.Commitments) == 0 // the canonical form leaves it out
		s.expect(",")
	}
	s.expect(`"face":{`)
	l.Face = map[string]any{}
	s.members(func(key string) { l.Face[key] = s.text(`"`) })
	if s.take(`,"file":{"sealed":`) {
		l.File = &FileDigest{Sealed: s.take("true")}
		if !l.File.Sealed {
			s.expect("false")
		}
		if l.File.SHA256.UnmarshalText([]byte(s.text(`,"sha256":"`))) != nil || l.File.SM3.UnmarshalText([]byte(s.text(`,"sm3":"`))) != nil {
			return false
		}
		s.expect("}")
	}
	into(&s, `,"holder_code":"`, &l.HolderCode, ParseUSCC)
	l.HolderKind = HolderKind(s.text(`,"holder_kind":"`))
	l.HolderName = s.text(`,"holder_name":"`)
	into(&s, `,"identifier":"`, &l.Identifier, ParseLicenceID)
	into(&s, `,"issued_on":"`, &l.IssuedOn, ParseDate)
	into(&s, `,"issuer":"`, &l.Issuer, ParseUSCC)
	if s.take(`,"legacy":"`) {
		l.Legacy = s.text("")
		s.failed = s.failed || l.Legacy == "" // the canonical form leaves it out
	}
	l.Number = s.text(`,"number":"`)
	into(&s, `,"region":"`, &l.Region, ParseRegion)
	if s.take(`,"signature":{`) {
		l.Signature = &Signature{Alg: s.text(`"alg":"`), Key: s.text(`,"key":"`), Value: s.text(`,"value":"`)}
		s.expect("}")
	}
	into(&s, `,"type":"`, &l.Type, ParseTypeCode)
	into(&s, `,"valid_from":"`, &l.ValidFrom, ParseDate)
	into(&s, `,"valid_until":"`, &l.ValidUntil, ParseDate)
	return !s.failed && s.rest == "}}"
}

// textScanner takes texts off canonical JSON in a known order. Once it has failed it gives nothing more.
type textScanner struct {
	rest   string
	failed bool
}

// take takes a prefix if it is there.
func (s *textScanner) take(prefix string) bool {
	rest, ok := strings.CutPrefix(s.rest, prefix)
	if ok && !s.failed {
		s.rest = rest
	}
	return ok && !s.failed
}

// expect takes a prefix that must be there.
func (s *textScanner) expect(prefix string) { s.failed = !s.take(prefix) }

// text takes a prefix, which ends with the opening quote, and the text up to its closing one.
func (s *textScanner) text(prefix string) string {
	s.expect(prefix)
	end := strings.IndexByte(s.rest, '"')
	if s.failed || end < 0 || strings.IndexByte(s.rest[:end], '\\') >= 0 {
		s.failed = true
		return ""
	}
	t := s.rest[:end]
	s.rest = s.rest[end+1:]
	return t
}

// members takes an object's members after its opening brace; value takes each one's value.
func (s *textScanner) members(value func(key string)) {
	for first := true; !s.failed && !s.take("}"); first = false {
		if !first {
			s.expect(",")
		}
		key := s.text(`"`)
		s.expect(":")
		value(key)
	}
}

func into[T ~string](s *textScanner, prefix string, dst *T, parse func(string) (T, error)) {
	t := s.text(prefix)
	if t == "" {
		return
	}
	v, err := parse(t)
	if err != nil {
		s.failed = true
	}
	*dst = v
}
