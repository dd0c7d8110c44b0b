package httpapi

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

var draftSeeds = []string{
	`{"type":"licence.issue","body":{"value":{"number":"京A1"}}}`,
	`[{"agency":"bj-scjg","type":"licence.issue","kind":"licence","record":"bj-scjg.1","version":1,"body":{"a":"b"}}]`,
	` [ { "type" : "licence.suspend" , "body" : { "z" : 1 , "a" : [ 1 , 2 ] } } , {"type":"licence.issue","body":{}} ] `,
	`{"type":"licence.issue","body":{},"confidential":{"holder_code":"x","face":{"a":1}}}`,
	`{"type":"licence.issue","version":1e3,"body":{}}`,
	`{"type":"licence.issue","type":"licence.issue","body":{}}`,
	`{"ty\u0070e":"licence.issue","body":null}`,
	`{"type":"licence.issue","record":null,"body":{}}`,
	`[]`, `[{}]`, `[1]`, `{}`, `null`, `"x"`, `[{"a":1]}`, `[{"type":"a"}}`, `[{"type":"licence.issue"},]`, `[[]]`, ``,
	`{"type":"licence.issue","body":{}}{}`, `{"type":"licence.issue","version":01,"body":{}}`, `{"type":"licence.issue","confidential":[],"body":{}}`,
}

// The quick way accepts what the strict way accepts, with the same result, and refuses what it refuses.
func FuzzDecodeDrafts(f *testing.F) {
	for _, s := range draftSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, single, err := decodeDrafts(body)
		want, wantErr := strictList[model.Draft](body, model.MaxOperations)
		if wantErr == nil {
			for i := range want {
				if e := checkDraft(&want[i]); e != nil {
					wantErr = e
				}
			}
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("quick: %v, strict: %v", err, wantErr)
		}
		if err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("quick %+v, strict %+v (single %v)", got, want, single)
		}
		if err != nil && model.AsError(err).Code == model.CodeInternal {
			t.Fatalf("an outside fault became internal: %v", err)
		}
	})
}

func FuzzDecodeQueries(f *testing.F) {
	for _, s := range []string{
		`{"identifier":"1.2.156.3005.2.x"}`, `{"record":"bj-scjg.1"}`, `[{"record":"bj-scjg.1","at":"2026-01-01","knownAt":"2026-01-01"}]`,
		`{"number":"京1","type":"11100000000013338W001"}`, `{"file":"00"}`, `{"record":"bj-scjg.1","presentation":{"holder_code":{"salt":"","value":"x"}}}`,
		`{"record":"bj-scjg.1","at":"2026-02-30"}`, `{"record":""}`, `[]`, `{"record":"a.1","record":"a.1"}`,
		`{"record":"bj-scjg.1","at":"2999-01-01","knownAt":"2026-06-02"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		const today = model.Date("2026-06-01")
		got, _, err := decodeQueries(body, today)
		want, wantErr := strictList[model.Query](body, model.MaxQueries)
		if wantErr == nil {
			for i := range want {
				if e := checkQuery(&want[i], today); e != nil {
					wantErr = e
				}
			}
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("quick: %v, strict: %v", err, wantErr)
		}
		if err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("quick %+v, strict %+v", got, want)
		}
	})
}

// strictList decodes without any quick way.
func strictList[T any](body []byte, most int) ([]T, error) {
	c, err := model.Canonicalize(body)
	if err != nil {
		return nil, err
	}
	parts := []json.RawMessage{c}
	if c[0] == '[' {
		parts = nil
		if err := json.Unmarshal(c, &parts); err != nil {
			return nil, err
		}
	}
	if len(parts) == 0 || len(parts) > most {
		return nil, model.E(model.CodeTooMany)
	}
	out := make([]T, len(parts))
	for i, p := range parts {
		if p[0] != '{' {
			return nil, model.E(model.CodeWrongType)
		}
		if err := model.DecodeCanonical(p, &out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func BenchmarkDecodeDrafts(b *testing.B) {
	var list []model.Draft
	value := map[string]any{}
	for _, k := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"} {
		value[k] = "北京市某某食品经营有限公司 0123456789 0123456789 0123456789"
	}
	body, err := model.Canonical(map[string]any{"value": value})
	if err != nil {
		b.Fatal(err)
	}
	for range 100 {
		list = append(list, model.Draft{Agency: "bj-scjg", Type: model.LicenceIssue, Body: body})
	}
	raw, err := json.Marshal(list)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := decodeDrafts(raw); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/record")
}
