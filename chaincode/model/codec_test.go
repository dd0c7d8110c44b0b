package model

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// decodable are the types that meet outside bytes.
func decodable() []any {
	out := []any{new(GenesisDocument), new(Draft), new(Query), new(Operation), new(StateEntry), new(Response), new(Receipt), new(LicenceConfidential), new(View), new(Licence)}
	for _, t := range slices.Sorted(func(yield func(Type) bool) {
		for t := range Types {
			if !yield(t) {
				return
			}
		}
	}) {
		out = append(out, Types[t].Body())
	}
	for k := range Machines {
		if e := NewEntry(k); e != nil {
			out = append(out, e)
		}
	}
	return out
}

func fresh(v any) any { return reflect.New(reflect.TypeOf(v).Elem()).Interface() }

// TestPlansAreOurs: none of the types that stand on the ledger falls back to encoding/json.
func TestPlansAreOurs(t *testing.T) {
	var walk func(s *lazyShape, seen map[*lazyShape]bool)
	walk = func(s *lazyShape, seen map[*lazyShape]bool) {
		if seen[s] {
			return
		}
		seen[s] = true
		p := s.get()
		if p.class == foreign {
			t.Errorf("%s goes through encoding/json", s.typ)
		}
		if p.elem != nil {
			walk(p.elem, seen)
		}
		for _, f := range p.fields {
			walk(f.shape, seen)
		}
	}
	for _, v := range decodable() {
		walk(shapeOf(reflect.TypeOf(v).Elem()), map[*lazyShape]bool{})
	}
}

// FuzzDecode holds the decoder against encoding/json: on canonical input whose keys are exact they read the
// same value, and what the ledger's stricter reading accepts of a whole value is written again byte for byte.
func FuzzDecode(f *testing.F) {
	for i, v := range decodable() {
		raw, err := Canonical(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(i), raw)
	}
	agency, issue := sampleAgency(), sampleIssue(1)
	for i, v := range decodable() {
		for _, x := range []any{&agency, issue, &issue.Value} {
			if reflect.TypeOf(v) == reflect.TypeOf(x) {
				raw, err := Canonical(x)
				if err != nil {
					f.Fatal(err)
				}
				f.Add(byte(i), raw)
			}
		}
	}
	f.Fuzz(func(t *testing.T, which byte, raw []byte) {
		types := decodable()
		v := types[int(which)%len(types)]
		_ = decodeLedger(raw, fresh(v)) // whatever the bytes, no panic
		if !IsCanonical(raw) {
			return
		}
		ours, std := fresh(v), fresh(v)
		err := DecodeCanonical(raw, ours)
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		stdErr := dec.Decode(std)
		if err == nil && stdErr != nil && !strings.Contains(stdErr.Error(), "cannot unmarshal") {
			t.Fatalf("%T: we read %s, encoding/json does not: %v", v, raw, stdErr)
		}
		if err == nil && stdErr == nil {
			a, errA := Canonical(ours)
			b, errB := Canonical(std)
			if errA != nil || errB != nil || !bytes.Equal(a, b) {
				t.Fatalf("%T: %s\nours %s %v\nstd  %s %v", v, raw, a, errA, b, errB)
			}
		}
		ledger := fresh(v)
		if decodeLedger(raw, ledger) != nil {
			return
		}
		if err != nil {
			t.Fatalf("%T: the stricter reading accepts %s, the other not: %v", v, raw, err)
		}
		if _, whole := ledger.(wholeValue); whole {
			if again, err := Canonical(ledger); err != nil || !bytes.Equal(again, raw) {
				t.Fatalf("%T: %s is written again as %s, %v", v, raw, again, err)
			}
		}
	})
}

func TestDecodeFields(t *testing.T) {
	type inner struct {
		N    int8             `json:"n"`
		Opt  string           `json:"opt,omitempty"`
		When time.Time        `json:"when,omitzero"` // a tag and a type of encoding/json's own
		M    map[AgencyID]int `json:"m"`
	}
	type outer struct {
		A    int     `json:"a"`
		In   inner   `json:"in"`
		List []inner `json:"list"`
		P    *inner  `json:"p"`
		U    uint64  `json:"u"`
	}
	for _, tt := range []struct {
		in    string
		code  Code
		field string
	}{
		{`{"a":1,"in":{"n":1,"when":"2026-01-01T00:00:00Z"},"list":[],"p":null,"u":1}`, "", ""},
		{`{"A":1}`, CodeUnknownField, "A"},
		{`{"a":"1"}`, CodeWrongType, "a"},
		{`{"a":1.5}`, CodeNumberNotInteger, ""},
		{`{"u":-1}`, CodeWrongType, "u"},
		{`{"p":{"n":1}}`, "", ""},
		{`[]`, CodeWrongType, ""},
	} {
		var o outer
		_, err := DecodeStrict([]byte(tt.in), &o)
		if tt.code == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.in, err)
			}
			continue
		}
		if err == nil || AsError(err).Code != tt.code || AsError(err).Field != tt.field {
			t.Errorf("%s: %v, want %s (%s)", tt.in, err, tt.code, tt.field)
		}
	}
	for _, tt := range []struct {
		v     any
		in    string
		code  Code
		field string
	}{
		{new(Agency), `{"keys":[{"alg":"ES256","id":5}]}`, CodeWrongType, "keys.0.id"},
		{new(LicenceType), `{"issuers":{"BAD ID":"110000"}}`, CodeBadID, "issuers"},
		{new(LicenceType), `{"issuers":{"bj-x":"1"}}`, CodeBadRegion, "issuers.bj-x"},
		{new(Licence), `{"holder_code":"91110000802100433C"}`, CodeBadUSCC, "holder_code"},
		{new(Policy), `{"approvals":1,"level":300000000000000}`, "", ""},
		{new(Header), `{"version":9007199254740991}`, "", ""},
	} {
		err := DecodeCanonical([]byte(tt.in), tt.v)
		if tt.code == "" && err == nil {
			continue
		}
		if err == nil || AsError(err).Code != tt.code || AsError(err).Field != tt.field {
			t.Errorf("%s: %v, want %s (%s)", tt.in, err, tt.code, tt.field)
		}
	}
	if err := DecodeCanonical([]byte(`{}`), Agency{}); err == nil {
		t.Error("decoding into no pointer")
	}
}

// TestAbsentLists: Go's nil is written as the empty list or map, and null is read only off the ledger.
func TestAbsentLists(t *testing.T) {
	raw, err := Canonical(Agency{})
	if err != nil || !strings.Contains(string(raw), `"keys":[]`) || !strings.Contains(string(raw), `"roles":[]`) {
		t.Fatalf("%s, %v", raw, err)
	}
	null := bytes.Replace(raw, []byte(`"keys":[]`), []byte(`"keys":null`), 1)
	if err := DecodeCanonical(null, new(Agency)); err != nil {
		t.Error(err)
	}
	if err := decodeLedger(null, new(Agency)); err == nil {
		t.Error("null is read from the ledger")
	}
	if _, err := Canonical(Agency{NameZh: "a\x00b"}); AsError(err).Code != CodeControlCharacter {
		t.Error(err)
	}
	if _, err := Canonical(map[string]any{"\xff": 1}); AsError(err).Code != CodeBadUTF8 {
		t.Error(err)
	}
	if _, err := Canonical(uint64(MaxSafeInt)); AsError(err).Code != CodeNumberNotInteger {
		t.Error(err)
	}
}

func TestComplete(t *testing.T) {
	got, err := Complete(LicenceSuspend, KindLicence, []byte(`{"effective":"2026-06-01"}`))
	if err != nil || string(got) != `{"decision":{"date":"","number":""},"effective":"2026-06-01","from_start":false,"reason":""}` {
		t.Errorf("%s, %v", got, err)
	}
	got, err = Complete(Propose, KindProposal, []byte(`{"action":"registry.admit","kind":"organisation","record":"XMSP","value":{"msp":"XMSP","nodes":["xx"]},"version":1}`))
	if err != nil || !strings.Contains(string(got), `"value":{"msp":"XMSP","name_en":"","name_zh":"","nodes":["xx"]}`) {
		t.Errorf("%s, %v", got, err)
	}
	if _, err = Complete(Admit, KindOrganisation, []byte(`{"proposal":"bj.1","value":{"Msp":"XMSP"}}`)); AsError(err).Code != CodeUnknownField || AsError(err).Field != "value.Msp" {
		t.Error(err)
	}
	if _, err = Complete(Admit, KindOrganisation, []byte(`{"proposal":"bj.1"}`)); AsError(err).Code != CodeMissingField {
		t.Error(err)
	}
}

func BenchmarkDecodeBody(b *testing.B) {
	raw, err := sampleIssue(1).EncodeBody()
	if err != nil {
		b.Fatal(err)
	}
	op := &Operation{Agency: "bj-scjg", Body: raw, Kind: KindLicence, Record: "bj-scjg.1", Type: LicenceIssue, Version: 1}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeBody(op); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeOperation(b *testing.B) {
	raw, err := sampleIssue(1).EncodeBody()
	if err != nil {
		b.Fatal(err)
	}
	op := Operation{Agency: "bj-scjg", Body: raw, ID: OpID{1}, Kind: KindLicence, Record: "bj-scjg.1", Time: TimeOf(time.Unix(1780000000, 0)), Type: LicenceIssue, Version: 1}
	encoded := op.Encode()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := DecodeOperation(encoded); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCanonical(b *testing.B) {
	v := sampleIssue(1)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Canonical(v); err != nil {
			b.Fatal(err)
		}
	}
}
