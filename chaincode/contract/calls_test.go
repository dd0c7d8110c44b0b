package contract_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

func code(err error) model.Code {
	if err == nil {
		return ""
	}
	return model.AsError(err).Code
}

// refusal is the one refusal of a response, or the failure of the call.
func refusal(r model.Response, err error) model.Code {
	if err != nil {
		return code(err)
	}
	if len(r.Refused) > 0 {
		return r.Refused[0].Code
	}
	return ""
}

// TestPageOfTwoCalls: the headers of one page are written by two calls and both stand.
func TestPageOfTwoCalls(t *testing.T) {
	l := contracttest.New()
	for _, serial := range []int{1, 2, 15, 16, 3} {
		if _, r, err := l.Submit(issue(l, "bj-scjg", serial)); refusal(r, err) != "" {
			t.Fatal(refusal(r, err))
		}
	}
	first, err := model.DecodePage(model.KindLicence, l.State["p/licence/bj-scjg/0"])
	if err != nil {
		t.Fatal(err)
	}
	for slot, h := range first.Headers {
		if want := slot == 1 || slot == 2 || slot == 3 || slot == 15; h.Exists() != want {
			t.Errorf("slot %d: exists %v", slot, h.Exists())
		}
	}
	if second, err := model.DecodePage(model.KindLicence, l.State["p/licence/bj-scjg/1"]); err != nil || !second.Headers[0].Exists() {
		t.Errorf("serial 16: %v", err)
	}
}

func TestInit(t *testing.T) {
	g := contracttest.Genesis()
	doc, err := model.Canonical(g)
	if err != nil {
		t.Fatal(err)
	}
	c := &contract.Contract{Genesis: model.DigestOf(doc)}
	state := contracttest.State{}
	run := func(function string, args ...[]byte) error {
		x, err := c.Execute(state, model.Call{Function: function, Args: args, Msp: "BeijingMSP", CommonName: "beijing", Time: now})
		if err == nil {
			for _, w := range x.Writes {
				state[w.Key] = w.Value
			}
		}
		return err
	}
	l := contracttest.New()
	early := issue(l, "bj-scjg", 1)
	if got := code(run("Apply", early.Encode())); got != model.CodeNotInitialised {
		t.Errorf("before Init: %q", got)
	}
	other := bytes.Replace(doc, []byte("北京海关"), []byte("上海海关"), 1)
	if got := code(run("Init", other)); got != model.CodeGenesisMismatch {
		t.Errorf("another document: %q", got)
	}
	if got := code(run("Init")); got != model.CodeMissingField {
		t.Errorf("no document: %q", got)
	}
	if err := run("Init", append([]byte(" \n"), doc...)); err != nil {
		t.Errorf("a document with blanks has the digest of what it says: %v", err)
	}
	if got := code(run("Init", doc)); got != model.CodeInitialised {
		t.Errorf("twice: %q", got)
	}
	if got := code(run("Init", other)); got != model.CodeGenesisMismatch {
		t.Errorf("another document after: %q", got)
	}
	if got := code(run("Burn", doc)); got != model.CodeUnknownOperation {
		t.Errorf("another function: %q", got)
	}
	if got := code(run("Apply")); got != model.CodeTooMany {
		t.Errorf("no operation: %q", got)
	}
	g.Policy.Level = contract.MaxLevel + 1
	newer, err := model.Canonical(g)
	if err != nil {
		t.Fatal(err)
	}
	c = &contract.Contract{Genesis: model.DigestOf(newer)}
	state = contracttest.State{}
	if got := code(run("Init", newer)); got != model.CodeLevelUnsupported {
		t.Errorf("a newer level: %q", got)
	}
}

// TestLevelAboveThisBuild: a ledger whose level was raised by newer builds is not touched by this one.
func TestLevelAboveThisBuild(t *testing.T) {
	l := contracttest.New()
	key := model.StateKey(model.KindPolicy, model.PolicyID)
	l.State[key] = bytes.Replace(l.State[key], []byte(`"level":1`), []byte(`"level":3`), 1)
	if _, _, err := l.Submit(issue(l, "bj-scjg", 1)); code(err) != model.CodeLevelUnsupported {
		t.Fatalf("got %v", err)
	}
}

// TestTimes: an operation's time lies within 60 s of its proposal's, the proposal's within 5 minutes of the
// endorser's clock.
func TestTimes(t *testing.T) {
	l := contracttest.New()
	for _, tt := range []struct {
		operation, clock time.Duration // from the proposal's timestamp
		want             string
	}{
		{0, 0, ""}, {60 * time.Second, 0, ""}, {-60 * time.Second, 0, ""}, {60*time.Second + time.Millisecond, 0, "time_mismatch"},
		{-61 * time.Second, 0, "time_mismatch"}, {0, 5 * time.Minute, ""}, {0, -5 * time.Minute, ""},
		{0, 5*time.Minute + time.Second, "time_skew"}, {0, -301 * time.Second, "time_skew"},
	} {
		op := issue(l, "bj-scjg", 1)
		op.Time = model.TimeOf(now.Add(tt.operation))
		l.Contract.Clock = func() time.Time { return now.Add(tt.clock) }
		p := &peerNode{contract: l.Contract, state: l.State}
		r, s := p.propose("BeijingMSP", "beijing", now, []byte("Apply"), op.Encode())
		got := r.Message
		if strings.Contains(string(r.Payload), "refused") {
			got = "time_mismatch"
			if !strings.Contains(string(r.Payload), `"code":"time_mismatch"`) {
				t.Errorf("%s", r.Payload)
			}
		}
		if got != tt.want || (tt.want == "") != (len(s.writes) > 0) {
			t.Errorf("operation %v, clock %v: %q with %d writes", tt.operation, tt.clock, got, len(s.writes))
		}
	}
}

// TestBodiesHaveOneReading: what encoding/json would have read another way, or in more than one, is refused.
func TestBodiesHaveOneReading(t *testing.T) {
	l := contracttest.New()
	good := string(issue(l, "bj-scjg", 1).Body)
	if !strings.Contains(good, `"holder_name":"`) || !strings.Contains(good, `"valid_until":"2036-01-04"`) {
		t.Fatal(good)
	}
	signature := good[strings.Index(good, `,"signature":`):strings.Index(good, `,"type":`)]
	for _, tt := range []struct {
		name, body string
		want       model.Code
	}{
		{"key in capitals", strings.Replace(good, `{"under":"","value"`, `{"Under":"","value"`, 1), model.CodeUnknownField},
		{"both cases", strings.Replace(good, `{"under":""`, `{"Under":"x.1","under":""`, 1), model.CodeUnknownField},
		{"nested key in capitals", strings.Replace(good, `{"face"`, `{"Number":"N","face"`, 1), model.CodeUnknownField},
		{"null value", `{"under":"","value":null}`, model.CodeWrongType},
		{"no value", `{"under":""}`, model.CodeMissingField},
		{"empty body", `{}`, model.CodeMissingField},
		{"null face", strings.Replace(good, `{"scope":"软件开发；技术服务"}`, `null`, 1), model.CodeWrongType},
		{"null in the face", strings.Replace(good, `"软件开发；技术服务"`, `null`, 1), model.CodeWrongType},
		{"null signature", strings.Replace(good, signature, `,"signature":null`, 1), model.CodeWrongType},
		{"no signature", strings.Replace(good, signature, ``, 1), model.CodeMissingField},
		{"empty signature", strings.Replace(good, signature, `,"signature":{}`, 1), model.CodeMissingField},
		{"signature that is text", strings.Replace(good, strings.Repeat("A", 86), strings.Repeat("公", 28)+"AA", 1), model.CodeSignatureInvalid},
		{"end left out", strings.Replace(good, `,"valid_until":"2036-01-04"`, ``, 1), model.CodeMissingField},
		{"empty commitments", strings.Replace(good, `{"face"`, `{"commitments":{},"face"`, 1), model.CodeNotCanonical},
		{"number as integer", strings.Replace(good, `"number":"N00000001"`, `"number":1`, 1), model.CodeWrongType},
		{"list for object", `{"under":"","value":[]}`, model.CodeWrongType},
		{"unknown field", strings.Replace(good, `{"under"`, `{"extra":1,"under"`, 1), model.CodeUnknownField},
	} {
		if tt.body == good {
			t.Fatalf("%s: nothing replaced", tt.name)
		}
		op := issue(l, "bj-scjg", 1)
		op.Body = []byte(tt.body)
		_, r, err := l.Submit(op)
		if got := refusal(r, err); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestNoIdentifierBesideARefusal: an operation that would be refused anyway carries no personal identifier
// into a block either; the whole proposal fails.
func TestNoIdentifierBesideARefusal(t *testing.T) {
	const number = "11010519491231002X"
	for name, change := range map[string]func(*model.Operation){
		"unknown field": func(o *model.Operation) { o.Body = []byte(`{"extra":"` + number + `"}`) },
		"null value":    func(o *model.Operation) { o.Body = []byte(`{"under":"` + number + `","value":null}`) },
		"record id":     func(o *model.Operation) { o.Kind, o.Type, o.Record = "agency", "registry.set-endpoint", number },
		"wrong kind":    func(o *model.Operation) { o.Kind, o.Body = "party", []byte(`{"x":"`+number+`"}`) },
		"stranger":      func(o *model.Operation) { o.Agency = "a" + "110105-19491231002x" },
		"signature value": func(o *model.Operation) {
			o.Body = []byte(strings.Replace(string(o.Body), "AAAAAAAAAAAAAAAAAA", number, 1))
		},
	} {
		l := contracttest.New()
		op := issue(l, "bj-scjg", 1)
		change(&op)
		args := op.Encode()
		msp, cn := contracttest.Caller(l.Genesis, "bj-scjg")
		_, err := l.Contract.Execute(l.State, model.Call{Function: "Apply", Args: [][]byte{args}, Msp: msp, CommonName: cn, Time: now})
		want := model.CodePersonalIdentifier
		switch name {
		case "signature value":
			want = "" // random bits that happen to read like one are no identifier
		case "stranger":
			want = model.CodeAgencyUnknown // who acts for nobody gets nothing into a block, whatever it is
		}
		if code(err) != want {
			t.Errorf("%s: got %q", name, code(err))
		}
	}
}

// TestUnknownOperationsFailTheCall: what this level has no rule for cannot be refused one by one.
func TestUnknownOperationsFailTheCall(t *testing.T) {
	l := contracttest.New()
	for _, change := range []func(*model.Operation){
		func(o *model.Operation) { o.Type = "licence.burn" },
		func(o *model.Operation) { o.Kind = "nonsense" },
		func(o *model.Operation) { o.Type, o.Kind = model.Genesis, model.KindAgency },
	} {
		op := issue(l, "bj-scjg", 1)
		change(&op)
		if _, _, err := l.Submit(op); code(err) != model.CodeUnknownOperation {
			t.Errorf("%s on %s: %v", op.Type, op.Kind, err)
		}
	}
}

// enactor runs registry changes through k approvals.
type enactor struct {
	*testing.T
	l *contracttest.Ledger
	n int
}

func (e *enactor) enact(action model.Type, kind model.Kind, record model.RecordID, version uint64, value model.Entry, beside ...model.Operation) model.Code {
	e.Helper()
	raw, err := model.Canonical(value)
	if err != nil {
		e.Fatal(err)
	}
	e.n++
	id := model.NewRecordID("bj-scjg", uint64(e.n))
	if _, r, err := e.l.Submit(contracttest.Op("bj-scjg", model.Propose, model.KindProposal, id, 1, now,
		model.ProposeBody{Action: action, Kind: kind, Record: record, Value: raw, Version: version})); refusal(r, err) != "" {
		return refusal(r, err)
	}
	registry, err := contract.RegistryVersion(e.l.State)
	if err != nil {
		e.Fatal(err)
	}
	content := model.ContentDigest(action, kind, record, version, raw)
	for i, a := range []model.AgencyID{"bj-scjg", "bj-customs", "he-scjg"} {
		_, r, err := e.l.Submit(contracttest.Op(a, model.Approve, model.KindProposal, id, uint64(i+2), now, model.ApproveBody{Content: content, Registry: registry}))
		if refusal(r, err) != "" {
			e.Fatal(refusal(r, err))
		}
	}
	o := contracttest.Op("bj-scjg", action, kind, record, version, now, model.EnactBody{Proposal: id, Value: raw})
	_, r, err := e.l.Submit(append([]model.Operation{o}, beside...)...)
	return refusal(r, err)
}

// TestSuccessionsNeverCircle: neither a new succession nor the change of one closes a circle, even one that
// passes through the record being changed.
func TestSuccessionsNeverCircle(t *testing.T) {
	e := &enactor{T: t, l: contracttest.New()}
	s := func(from, to model.AgencyID) *model.Succession {
		return &model.Succession{From: from, To: to, Effective: "2026-01-01"}
	}
	for i, tt := range []struct {
		action  model.Type
		from    model.AgencyID
		version uint64
		to      model.AgencyID
		want    model.Code
	}{
		{model.Admit, "bj-dc-scjg", 1, "bj-scjg", ""},
		{model.Admit, "bj-scjg", 1, "bj-dc-scjg", model.CodeBadValue},
		{model.Admit, "he-scjg", 1, "bj-dc-scjg", ""},
		{model.Change, "bj-dc-scjg", 2, "he-scjg", model.CodeBadValue}, // he → dc → he
		{model.Change, "bj-dc-scjg", 2, "tj-scjg", ""},
		{model.Admit, "tj-scjg", 1, "he-scjg", model.CodeBadValue}, // tj → he → dc → tj
		{model.Remove, "he-scjg", 2, "bj-dc-scjg", ""},
		{model.Admit, "tj-scjg", 1, "he-scjg", ""},
	} {
		if got := e.enact(tt.action, model.KindSuccession, model.RecordID(tt.from), tt.version, s(tt.from, tt.to)); got != tt.want {
			t.Fatalf("%d: got %q, want %q", i, got, tt.want)
		}
	}
}

// TestSuccessorOfTwo issues in the regions of all that it succeeded, beside its own.
func TestSuccessorOfTwo(t *testing.T) {
	e := &enactor{T: t, l: contracttest.New()}
	for _, from := range []model.AgencyID{"bj-scjg", "tj-scjg"} {
		if got := e.enact(model.Admit, model.KindSuccession, model.RecordID(from), 1, &model.Succession{From: from, To: "he-scjg", Effective: "2026-06-01"}); got != "" {
			t.Fatal(got)
		}
	}
	for i, region := range []model.Region{"130600", "110101", "120000", "440000"} {
		v := contracttest.Licence(e.l.Genesis, "he-scjg", i+1)
		v.Region = region
		_, r, err := e.l.Submit(contracttest.Op("he-scjg", model.LicenceIssue, model.KindLicence, model.NewRecordID("he-scjg", uint64(i+1)), 1, now, model.IssueBody{Value: v}))
		want := model.Code("")
		if region == "440000" {
			want = model.CodeRegionNotPermitted
		}
		if got := refusal(r, err); got != want {
			t.Errorf("%s: got %q, want %q", region, got, want)
		}
	}
	if _, r, err := e.l.Submit(issue(e.l, "bj-scjg", 1)); refusal(r, err) != model.CodeTypeNotPermitted {
		t.Errorf("the one succeeded: %q", refusal(r, err))
	}
}

// TestSuccessorOfTheRemoved: licences of an agency that was removed first and succeeded afterwards are the
// successor's to act on.
func TestSuccessorOfTheRemoved(t *testing.T) {
	e := &enactor{T: t, l: contracttest.New()}
	if _, r, err := e.l.Submit(issue(e.l, "tj-scjg", 1)); refusal(r, err) != "" {
		t.Fatal(refusal(r, err))
	}
	tj := e.l.Genesis.Agencies[2]
	if tj.ID != "tj-scjg" {
		t.Fatal(tj.ID)
	}
	if got := e.enact(model.Remove, model.KindAgency, "tj-scjg", 2, &tj); got != "" {
		t.Fatal(got)
	}
	if _, r, err := e.l.Submit(act("he-scjg", model.LicenceCancel, "tj-scjg.1", 2)); refusal(r, err) != model.CodeNotOwner {
		t.Errorf("before: %q", refusal(r, err))
	}
	for _, tt := range []struct {
		from, to model.AgencyID
		want     model.Code
	}{{"nobody", "he-scjg", model.CodeAgencyUnknown}, {"he-scjg", "tj-scjg", model.CodeAgencyNotActive}, {"tj-scjg", "he-scjg", ""}} {
		s := &model.Succession{From: tt.from, To: tt.to, Effective: "2026-01-01"}
		if got := e.enact(model.Admit, model.KindSuccession, model.RecordID(tt.from), 1, s); got != tt.want {
			t.Errorf("%s to %s: got %q, want %q", tt.from, tt.to, got, tt.want)
		}
	}
	if _, r, err := e.l.Submit(act("he-scjg", model.LicenceCancel, "tj-scjg.1", 2)); refusal(r, err) != "" {
		t.Errorf("after: %q", refusal(r, err))
	}
}

// TestSerialsEnd: a new record's serial leaves room for those after it.
func TestSerialsEnd(t *testing.T) {
	l := contracttest.New()
	for record, want := range map[model.RecordID]model.Code{
		"bj-scjg.1000000000000": "", "bj-scjg.1000000000001": model.CodeBadID, "bj-scjg.999999999999999": model.CodeBadID,
	} {
		op := issue(l, "bj-scjg", 1)
		op.Record = record
		if _, r, err := l.Submit(op); refusal(r, err) != want {
			t.Errorf("%s: got %q, want %q", record, refusal(r, err), want)
		}
	}
	// What never existed is not a new record's id either way: nothing but its creation asks for the bound.
	if _, r, err := l.Submit(act("bj-scjg", model.LicenceCancel, "bj-scjg.1000000000001", 2)); refusal(r, err) == model.CodeBadID {
		t.Error("an act on a record that is not there is refused for its id")
	}
}

// TestPolicyStays: the policy is never removed, its level neither falls nor passes what this build can run.
func TestPolicyStays(t *testing.T) {
	e := &enactor{T: t, l: contracttest.New()}
	if got := e.enact(model.Remove, model.KindPolicy, model.PolicyID, 2, &model.Policy{Level: 1}); got != model.CodeBadValue {
		t.Errorf("remove: %q", got)
	}
	if got := e.enact(model.Change, model.KindPolicy, model.PolicyID, 2, &model.Policy{Level: contract.MaxLevel + 1}); got != model.CodeLevelUnsupported {
		t.Errorf("a level to come: %q", got)
	}
	if got := e.enact(model.Change, model.KindPolicy, model.PolicyID, 2, &model.Policy{Approvals: 2, Level: 1}); got != "" {
		t.Errorf("k: %q", got)
	}
}

// TestLevelCountsFromTheNextCall: what a level brings is not known yet in the call that raises it.
func TestLevelCountsFromTheNextCall(t *testing.T) {
	e := &enactor{T: t, l: contracttest.New()}
	b := model.IssueBody{Value: contracttest.Licence(e.l.Genesis, "bj-scjg", 1)}
	b.Value.HolderCode, b.Value.Legacy = "", "91110105X"
	taken := contracttest.Op("bj-scjg", model.LicenceIssue, model.KindLicence, "bj-scjg.1", 1, now, b)
	for _, tt := range []struct {
		beside []model.Operation
		want   model.Code
	}{{[]model.Operation{taken}, model.CodeUnknownField}, {nil, ""}} {
		if got := e.enact(model.Change, model.KindPolicy, model.PolicyID, 2, &model.Policy{Level: 2}, tt.beside...); got != tt.want {
			t.Fatalf("with %d operations beside: %q, want %q", len(tt.beside), got, tt.want)
		}
	}
	if _, r, err := e.l.Submit(taken); refusal(r, err) != "" {
		t.Error(refusal(r, err))
	}
}

// TestRegionOfAnAmendment: an owner does not amend its way out of its jurisdiction.
func TestRegionOfAnAmendment(t *testing.T) {
	l := contracttest.New()
	if _, r, err := l.Submit(issue(l, "bj-scjg", 1)); refusal(r, err) != "" {
		t.Fatal(refusal(r, err))
	}
	was := contracttest.Licence(l.Genesis, "bj-scjg", 1)
	for _, tt := range []struct {
		region model.Region
		want   model.Code
	}{{"120000", model.CodeRegionNotPermitted}, {"110105", ""}} {
		is := was
		is.Region, is.Identifier = tt.region, contracttest.Identifier(was, 1, 2)
		body := model.AmendBody{Act: contracttest.Act("2026-06-01").Act, How: model.ChangeOf, Previous: was, Value: is}
		_, r, err := l.Submit(contracttest.Op("bj-scjg", model.LicenceAmend, model.KindLicence, "bj-scjg.1", 2, now, body))
		if got := refusal(r, err); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.region, got, tt.want)
		}
	}
}

// TestRefusalsNameTheFirstField: endorsers answer alike whatever order their maps have.
func TestRefusalsNameTheFirstField(t *testing.T) {
	l := contracttest.New()
	v := contracttest.Licence(l.Genesis, "bj-scjg", 1)
	v.Face = map[string]any{"zeta": "x", "alpha": true, "scope": false, "mid": "y", "capital": true}
	op := contracttest.Op("bj-scjg", model.LicenceIssue, model.KindLicence, "bj-scjg.1", 1, now, model.IssueBody{Value: v})
	for range 50 {
		_, r, err := l.Submit(op)
		if err != nil || len(r.Refused) != 1 || r.Refused[0].Field != "value.face.alpha" {
			t.Fatalf("%v %+v", err, r)
		}
	}
}

func FuzzExecute(f *testing.F) {
	l := contracttest.New()
	first := issue(l, "bj-scjg", 1)
	if _, r, err := l.Submit(first); refusal(r, err) != "" {
		f.Fatal(refusal(r, err))
	}
	second, end := issue(l, "bj-scjg", 2), act("bj-scjg", model.LicenceCancel, "bj-scjg.1", 2)
	f.Add("Apply", second.Encode(), end.Encode())
	f.Add("Apply", []byte(`{}`), []byte(`{"agency":"bj-scjg","body":{},"id":"00","kind":"licence"}`))
	f.Add("Init", l.Document, []byte{})
	f.Add("Get", []byte("licence"), []byte("bj-scjg.1"))
	p := contracttest.NewPilot()
	f.Add("Init", l.Document, p.Blocks[0])
	f.Add("Import", p.Blocks[1], []byte{})
	f.Add("CloseImport", []byte("12"), []byte(p.Chain().String()))
	f.Fuzz(func(t *testing.T, function string, a, b []byte) {
		args := [][]byte{a}
		if len(b) > 0 {
			args = append(args, b)
		}
		x, err := l.Contract.Execute(l.State, model.Call{Function: function, Args: args, Msp: "BeijingMSP", CommonName: "beijing", Time: now})
		if err != nil {
			if e := model.AsError(err); e.Code == model.CodeInternal {
				t.Fatalf("an outsider's bytes are no internal error: %v", err)
			}
			return
		}
		again, err := l.Contract.Execute(l.State, model.Call{Function: function, Args: args, Msp: "BeijingMSP", CommonName: "beijing", Time: now})
		if err != nil || !bytes.Equal(x.Response, again.Response) || len(x.Writes) != len(again.Writes) {
			t.Fatalf("two answers to one call")
		}
	})
}

func BenchmarkExecute(b *testing.B) {
	for _, n := range []int{1, 100, 500} {
		b.Run(map[int]string{1: "1", 100: "100", 500: "500"}[n], func(b *testing.B) {
			l := contracttest.New()
			call := model.Call{Function: "Apply", Msp: "BeijingMSP", CommonName: "beijing", Time: now}
			for i := range n {
				op := issue(l, "bj-scjg", i+1)
				call.Args = append(call.Args, op.Encode())
			}
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				x, err := l.Contract.Execute(l.State, call)
				if err != nil || len(x.Applied) != n {
					b.Fatal(err, string(x.Response))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n)/1000, "µs/record")
		})
	}
}
