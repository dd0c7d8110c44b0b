package sdk

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

func outcomes(n int) []model.Outcome {
	var list []model.Outcome
	for i := range n {
		o := model.Outcome{Operation: model.NewOpID(), Status: model.Committed, Kind: model.KindLicence, Record: "bj-scjg.12", Version: uint64(i)}
		o.Receipt = &model.Receipt{Operation: o.Operation, Digest: model.DigestOf([]byte{byte(i)}), Kind: o.Kind, Record: o.Record, Version: o.Version,
			State: model.InForce, Position: 1 << 40, Leaf: model.DigestOf(nil), Block: 7, Tx: strings.Repeat("ab", 32), Time: model.TimeOf(time.UnixMilli(1_790_000_000_123)), Late: i%2 == 1}
		list = append(list, o)
	}
	return list
}

// The form of committed outcomes is read as the general decoder reads it.
func TestDecodeOutcomes(t *testing.T) {
	for _, n := range []int{1, 2, 100} {
		want := outcomes(n)
		raw, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := committedOutcomes(raw)
		if !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%d outcomes: %v %+v", n, ok, got)
		}
	}
	mixed := outcomes(2)
	mixed[1].Receipt, mixed[1].Status, mixed[1].Problem = nil, model.Rejected, model.E(model.CodeNotOwner).Problem()
	raw, err := json.Marshal(mixed)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decodeOutcomes(raw); err != nil || !reflect.DeepEqual(got, mixed) {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzDecodeOutcomes(f *testing.F) {
	for _, n := range []int{1, 3} {
		raw, err := json.Marshal(outcomes(n))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`[]`))
	f.Add([]byte(`[{"operation":"x"}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		quick, ok := committedOutcomes(raw)
		if !ok {
			return
		}
		var general []model.Outcome
		if err := json.Unmarshal(raw, &general); err != nil || !reflect.DeepEqual(quick, general) {
			t.Fatalf("quick %+v\ngeneral %+v, %v", quick, general, err)
		}
	})
}

func FuzzReadEvents(f *testing.F) {
	f.Add([]byte("retry: 1000\nid: -1\n\n: beat\n\nid: 0\ndata: {\"position\":0}\n\nid: 1\ndata: a\ndata: b\n\n"))
	f.Add([]byte("id: 9999999999999999999999\n\n"))
	f.Add([]byte("data\n\nid\n\n:\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		err := readEvents(bytes.NewReader(raw), func() {}, func(id int64, data []byte) error {
			if id < FromFirst {
				t.Fatalf("id %d", id)
			}
			var e Event
			_ = decodeEvent(data, &e)
			return nil
		})
		if err == nil {
			t.Fatal("a stream that ends is no error")
		}
	})
}

func FuzzProblem(f *testing.F) {
	f.Add(404, []byte(`{"code":"not_found","index":3}`))
	f.Add(502, []byte(`<html>`))
	f.Add(422, []byte(`{"code":"made_up_later","title":"x"}`))
	f.Fuzz(func(t *testing.T, status int, raw []byte) {
		var e *model.Error
		if err := problemError(status, raw); !errors.As(err, &e) || !e.Code.Known() {
			t.Fatalf("%v", err)
		}
	})
}

// A code that a newer node has made keeps its kind.
func TestUnknownCode(t *testing.T) {
	err := problemError(http.StatusUnprocessableEntity, []byte(`{"code":"made_up_later","title":"new rule"}`))
	if e := model.AsError(err); e.Kind() != model.Refused || !strings.Contains(e.Detail, "made_up_later: new rule") {
		t.Errorf("%v", err)
	}
	for kind, status := range model.HTTPStatus {
		if e := statusError(status); e.Kind() != kind {
			t.Errorf("status %d is %s, want %s", status, e.Kind(), kind)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	for in, want := range map[string]time.Duration{"": 0, "2": 2 * time.Second, "-1": 0, "86400": 30 * time.Second, "soon": 0, "99999999999999999999": 0} {
		if got := retryAfter(http.Header{"Retry-After": {in}}); got != want {
			t.Errorf("%q: %v", in, got)
		}
	}
}

func TestEncodeDrafts(t *testing.T) {
	drafts := []model.Draft{
		{Type: model.LicenceIssue, Body: []byte(`{"value":{"a":"<字>"}}`), Confidential: &model.LicenceConfidential{HolderName: "甲<乙>"}},
		{Agency: "bj-scjg", Type: model.LicenceSuspend, Kind: model.KindLicence, Record: "bj-scjg.1", Version: 2, Body: []byte(`{}`)},
	}
	raw, err := encodeDrafts(drafts)
	if err != nil {
		t.Fatal(err)
	}
	var back []model.Draft
	if err := json.Unmarshal(raw, &back); err != nil || !reflect.DeepEqual(back, drafts) {
		t.Errorf("%s, %v", raw, err)
	}
}

func BenchmarkDecodeOutcomes(b *testing.B) {
	raw, err := json.Marshal(outcomes(100))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := committedOutcomes(raw); !ok {
			b.Fatal("not read by the form")
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100, "ns/outcome")
}
