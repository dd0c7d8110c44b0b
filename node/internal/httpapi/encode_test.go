package httpapi

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// plain is what encoding/json makes of a value.
func plain(t *rapid.T, v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	return string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

func drawDigest(t *rapid.T) model.Digest {
	return model.Digest(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "digest"))
}

func drawID(t *rapid.T) model.OpID {
	return model.OpID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
}

func drawTime(t *rapid.T) model.Time {
	return model.TimeOf(time.UnixMilli(rapid.Int64Range(-2e12, 4e12).Draw(t, "time")))
}

func drawText(t *rapid.T) string { return rapid.String().Draw(t, "text") }

func drawHistory(t *rapid.T) model.HistoryEntry {
	return model.HistoryEntry{
		Position: rapid.Uint64().Draw(t, "position"), Version: rapid.Uint64().Draw(t, "version"), Operation: drawID(t),
		Type: model.Type(drawText(t)), Agency: model.AgencyID(drawText(t)), Msp: model.MSPID(drawText(t)),
		Person: model.Pseudonym(drawText(t)), Time: drawTime(t), State: model.State(drawText(t)), Block: rapid.Uint64().Draw(t, "block"),
		Tx: drawText(t), Late: rapid.Bool().Draw(t, "late"), Body: json.RawMessage(`{"a":["字",1]}`),
	}
}

func drawView(t *rapid.T) *model.View {
	v := &model.View{
		Kind: model.Kind(drawText(t)), ID: model.RecordID(drawText(t)),
		Header: model.Header{Version: rapid.Uint64().Draw(t, "version"), State: model.State(drawText(t)), Owner: model.AgencyID(drawText(t)),
			Value: drawDigest(t), From: model.Date(drawText(t)), Until: model.Date(drawText(t)), Effective: model.Date(drawText(t)), Op: drawID(t)},
		Digest: drawDigest(t), Position: rapid.Uint64().Draw(t, "position"), Leaf: drawDigest(t), Duplicate: rapid.Bool().Draw(t, "duplicate"),
	}
	if rapid.Bool().Draw(t, "public") {
		v.Public = json.RawMessage(`{"holder_name":"甲"}`)
	}
	return v
}

func drawProblem(t *rapid.T) *model.Problem {
	p := &model.Problem{Type: drawText(t), Title: drawText(t), Zh: drawText(t), Status: rapid.Int().Draw(t, "status"),
		Code: model.Code(drawText(t)), Field: drawText(t), Detail: drawText(t), Written: drawText(t)}
	if rapid.Bool().Draw(t, "index") {
		i := rapid.Int().Draw(t, "i")
		p.Index = &i
	}
	return p
}

// Every encoder writes what encoding/json would.
func TestEncodersAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := model.Verdict{
			Verdict: model.Word(drawText(t)), Reason: model.Reason(drawText(t)), Check: drawText(t), Zh: drawText(t), En: drawText(t),
			Since: model.Date(drawText(t)), At: model.Date(drawText(t)), KnownAt: model.Date(drawText(t)),
			Position: rapid.Uint64().Draw(t, "p"), Height: rapid.Uint64().Draw(t, "h"), AgeMS: rapid.Int64().Draw(t, "age"),
		}
		if rapid.Bool().Draw(t, "record") {
			v.Record = drawView(t)
		}
		if rapid.Bool().Draw(t, "last") {
			v.Last = &model.LastKnown{Verdict: model.Word(drawText(t)), Reason: model.Reason(drawText(t))}
		}
		for range rapid.IntRange(0, 3).Draw(t, "history") {
			v.History = append(v.History, drawHistory(t))
		}
		if got, want := string(appendVerdict(nil, &v)), plain(t, v); got != want {
			t.Fatalf("verdict\n%s\nwant\n%s", got, want)
		}

		o := model.Outcome{Operation: drawID(t), Status: model.Progress(drawText(t)), Kind: model.Kind(drawText(t)), Record: model.RecordID(drawText(t)),
			Version: rapid.Uint64().Draw(t, "v")}
		if rapid.Bool().Draw(t, "receipt") {
			o.Receipt = &model.Receipt{Operation: drawID(t), Digest: drawDigest(t), Kind: model.Kind(drawText(t)), Record: model.RecordID(drawText(t)),
				Version: 3, State: model.State(drawText(t)), Position: rapid.Uint64().Draw(t, "p"), Leaf: drawDigest(t), Block: 9, Tx: drawText(t), Time: drawTime(t)}
		}
		if rapid.Bool().Draw(t, "problem") {
			o.Problem = drawProblem(t)
		}
		if got, want := string(appendOutcome(nil, &o)), plain(t, o); got != want {
			t.Fatalf("outcome\n%s\nwant\n%s", got, want)
		}

		e := sdk.Event{Kind: model.Kind(drawText(t)), Record: model.RecordID(drawText(t)), Leaf: drawDigest(t), HistoryEntry: drawHistory(t)}
		_, data, _ := bytes.Cut(appendEvent(nil, &e), []byte("data: "))
		if got, want := string(data), plain(t, e)+"\n\n"; got != want {
			t.Fatalf("event\n%s\nwant\n%s", got, want)
		}
	})
}

func TestListShapes(t *testing.T) {
	one := func(b []byte, v *int) []byte { return append(b, byte('0'+*v)) }
	for _, tt := range []struct {
		single bool
		list   []int
		want   string
	}{{true, []int{1}, "1"}, {false, []int{1}, "[1]"}, {false, []int{1, 2}, "[1,2]"}, {false, nil, "[]"}} {
		if got := string(appendList(nil, tt.single, tt.list, one)); got != tt.want {
			t.Errorf("%v: %s", tt, got)
		}
	}
}

// fill sets every field that JSON shows to something that is not its zero value.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Interface().(type) {
	case model.Time:
		v.Set(reflect.ValueOf(model.TimeOf(time.UnixMilli(1_790_000_000_123))))
		return
	case json.RawMessage:
		v.SetBytes([]byte(`{"a":1}`))
		return
	case model.Presentation:
		v.Set(reflect.ValueOf(model.Presentation{"b": {Value: "甲"}, "a": {Salt: model.NewSalt(), Value: 7}}))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(t, v.Index(0))
		fill(t, v.Index(1))
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint64, reflect.Uint8:
		v.SetUint(7)
	default:
		t.Fatalf("a field of type %s", v.Type())
	}
}

// A field that is added to a type must be added to its encoder.
func TestEncodersKnowEveryField(t *testing.T) {
	var (
		verdict model.Verdict
		outcome model.Outcome
		event   sdk.Event
	)
	for _, tt := range []struct {
		v      any
		encode func() []byte
	}{
		{&verdict, func() []byte { return appendVerdict(nil, &verdict) }},
		{&outcome, func() []byte { return appendOutcome(nil, &outcome) }},
		{&event, func() []byte {
			_, data, _ := bytes.Cut(appendEvent(nil, &event), []byte("data: "))
			return bytes.TrimSpace(data)
		}},
	} {
		fill(t, reflect.ValueOf(tt.v).Elem())
		want, err := json.Marshal(tt.v)
		if err != nil {
			t.Fatal(err)
		}
		if got := tt.encode(); !bytes.Equal(got, want) {
			t.Errorf("%T\n%s\nwant\n%s", tt.v, got, want)
		}
	}
}
