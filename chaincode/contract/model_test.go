package contract_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

const thirdType model.TypeCode = "11100000MB0143028R003"

// checkEvery is after how many steps the whole state is compared. Every call compares what it touched; the
// whole shows what a call changed elsewhere.
const checkEvery = 3

// TestModel drives random operations through the contract and through the plain model: equal after every
// call in what is accepted, in the code of what is refused and in each record and key that the call touched;
// and equal in the whole state every few steps and at the end.
func TestModel(t *testing.T) {
	seen := tally{}
	// A model that nothing ever passed would agree with anything: some types take long to be accepted, with -short longer.
	for round := 0; round < 3 || len(seen.missing()) > 0; round++ {
		if round == 50 {
			t.Fatalf("after %d rounds none was ever accepted of %v: %v", round, seen.missing(), seen)
		}
		rapid.Check(t, func(t *rapid.T) { drive(t, seen) })
	}
	t.Log(seen)
}

func drive(t *rapid.T, seen tally) {
	w := newWorld(t)
	w.seen = seen
	steps := []func(){
		w.licences, w.licences, w.licences, w.licences, w.licences, w.licences, w.decide, w.proposals, w.delegations, w.parties, w.selfManaged, w.anchors, w.anchors, w.replay,
		func() { w.peer.now = w.peer.now.Add(time.Duration(1+w.roll(60*24, "hours")) * time.Hour) },
	}
	t.Repeat(map[string]func(*rapid.T){
		"step": func(t *rapid.T) { w.t = t; pick(w, "step", steps)() },
		"": func(t *rapid.T) {
			w.t = t
			if w.steps++; w.steps%checkEvery == 0 {
				w.check()
			}
		},
	})
	w.t = t
	w.check()
	if w.chance(6, "moves") {
		w.moves()
	}
}

// tally counts accepted operations by type and refusals by code.
type tally map[string]int

// missing lists the types of which none was accepted.
func (seen tally) missing() (types []model.Type) {
	for _, m := range model.Machines {
		for _, tr := range m.Transitions {
			if tr.Type != model.Genesis && seen[string(tr.Type)] == 0 && !slices.Contains(types, tr.Type) {
				types = append(types, tr.Type)
			}
		}
	}
	return types
}

// send submits operations as their agency.
func (w *world) send(agency model.AgencyID, ops ...planned) bool {
	msp, cn := w.caller(agency)
	return w.call(msp, cn, false, ops...)
}

// replay sends an accepted operation again, under a new time and a new transaction.
func (w *world) replay() {
	if len(w.history) == 0 {
		return
	}
	o := pick(w, "replayed", w.history)
	if w.send(o.op.Agency, o) {
		w.t.Fatalf("%s of %s %s was applied twice", o.op.Type, o.op.Kind, o.op.Record)
	}
}

func (w *world) licences() {
	agency := w.issuer()
	records := ids(w.plain.records[model.KindLicence])
	issue := len(records) == 0 || w.chance(3, "issue")
	if !issue && !w.chance(8, "not the owner") {
		agency = w.plain.successor(w.plain.records[model.KindLicence][pick(w, "licence", records)].header.Owner, w.today())
	}
	var ops []planned
	personal := false
	for range pick(w, "operations", []int{1, 1, 1, 2, 2, 3, 5}) {
		if issue != w.chance(6, "the other") || len(records) == 0 {
			o, p := w.issue(agency)
			ops, personal = append(ops, o), personal || p
			continue
		}
		ops = append(ops, w.onLicence(agency, records))
	}
	msp, cn := w.caller(agency)
	w.call(msp, cn, personal, ops...)
}

func (w *world) issue(agency model.AgencyID) (planned, bool) {
	var b model.IssueBody
	a, _ := w.plain.agency(agency)
	if a == nil {
		a = &w.genesis.Agencies[0]
	}
	regions := []model.Region{a.Region, a.Region, a.Region, a.Region, a.Region, a.Region, "110000", "110101", "120000", "130600"}
	issuer := a
	var ds []model.RecordID
	for _, id := range ids(w.plain.records[model.KindDelegation]) {
		if w.plain.records[model.KindDelegation][id].value.(*model.Delegation).To == agency || w.chance(10, "another's delegation") {
			ds = append(ds, id)
		}
	}
	if len(ds) > 0 && w.chance(2, "under a delegation") {
		b.Under = pick(w, "delegation", ds)
		d := w.plain.records[model.KindDelegation][b.Under].value.(*model.Delegation)
		regions = append(regions, d.Region, d.Region)
		if from, _ := w.plain.agency(d.From); from != nil && w.chance(2, "in the delegator's name") {
			issuer = from
		}
	}
	if w.chance(40, "no such delegation") {
		b.Under = "zz-nobody.1"
	}
	record := w.next(model.KindLicence, agency)
	if w.chance(30, "another's serial") {
		record = "he-scjg.77"
	}
	b.Value = w.licence(issuer, a, pick(w, "region", regions))
	personal := w.chance(40, "personal identifier")
	if personal {
		b.Value.Face["scope"] = pick(w, "identifier", []string{"11010519491231002X", "联系人：１１０１０５１９４９１２３１００２Ｘ", "id 110105 19491231 002x."})
	}
	return w.plan(agency, model.LicenceIssue, model.KindLicence, record, &b), personal
}

// licence draws a licence of an issuer, signed by the actor's key; now and then one thing is wrong with it.
func (w *world) licence(issuer, signer *model.Agency, region model.Region) model.Licence {
	w.n++
	l := model.Licence{
		Face: map[string]any{}, HolderKind: model.HolderEnterprise, HolderCode: contracttest.EnterpriseUSCC(w.n), HolderName: fmt.Sprintf("样例%d有限公司", w.n),
		IssuedOn: w.day("2026-05-20", 10), Issuer: issuer.USCC, Number: fmt.Sprint("N", w.n), Region: region,
		Type: contracttest.BusinessLicence, ValidFrom: w.day("2026-06-01", 30), ValidUntil: w.day("2036-06-01", 30),
	}
	if w.chance(5, "without end") {
		l.ValidUntil = ""
	}
	switch w.roll(7, "type") {
	case 0:
		if w.plain.licenceType(thirdType) != nil || w.chance(10, "unknown type") {
			l.Type = thirdType
		}
	case 1, 2:
		w.personal(&l)
	}
	if l.Type == contracttest.BusinessLicence {
		l.Face["scope"] = pick(w, "scope", []string{"软件开发", "a \"quoted\" \\ text", "进出口（不含危险品）"})
		if w.chance(3, "committed representative") {
			l.Commitments = map[string]model.Digest{"representative": w.commit("representative", fmt.Sprint("代表人", w.n))}
		}
	}
	key := model.Key{ID: "none", Alg: "ES256"}
	for _, k := range signer.Keys {
		if !k.Retired || w.chance(10, "retired key") {
			key = k
		}
	}
	l.Signature = &model.Signature{Alg: key.Alg, Key: key.ID, Value: strings.Repeat("A", 86)}
	w.legacy(&l)
	version := 1
	switch w.roll(61, "fault") {
	case 0:
		l.Face["nonsense"] = "x"
	case 1:
		l.Face["representative"] = "张三"
	case 2:
		l.Face["scope"] = float64(5)
	case 3:
		l.Face["capital"] = strings.Repeat("万", 65)
	case 4:
		l.IssuedOn = "2029-01-01"
	case 5:
		l.Signature.Key = "unknown"
	case 6:
		l.Signature.Alg = "SM2"
	case 7:
		l.Issuer = contracttest.AgencyUSCC("110000", 999)
	case 8:
		l.Type = "11100000MB0143028R0ZZ"
	case 9:
		version = 2
	case 10:
		l.Commitments = map[string]model.Digest{"scope": {1}}
	case 11:
		l.Commitments = map[string]model.Digest{"holder_code": {1}, "holder_name": {2}}
	case 12:
		delete(l.Face, "grade")
	case 13:
		l.Face["nonsense"], l.Face["rubbish"], l.Face["scope"] = "x", true, false
	}
	w.identify(&l, fmt.Sprint(w.n), version)
	return l
}

func (w *world) identify(l *model.Licence, serial string, version int) {
	id, err := model.NewLicenceID(model.LicenceIDParts{Type: string(l.Type), Issuer: string(l.Issuer), Serial: serial, Version: version})
	if err != nil {
		w.t.Fatal(err)
	}
	l.Identifier = id
}

// legacy takes the licence over from an older list now and then: with a holder's code that does not check.
func (w *world) legacy(l *model.Licence) {
	switch w.roll(12, "legacy") {
	case 0, 1:
		l.Legacy = "confidential"
		if l.HolderKind == model.HolderEnterprise {
			l.HolderCode, l.Legacy = "", fmt.Sprint("91110105X", w.n)
		}
	case 2:
		if w.chance(3, "a mark beside a code") {
			l.Legacy = "91110105X"
		}
	case 3:
		if l.HolderKind != model.HolderEnterprise && w.chance(2, "a permit") {
			l.HolderKind = pick(w, "kind of permit", []model.HolderKind{model.HolderPassport, model.HolderHongKong, model.HolderTaiwan})
		}
	}
}

// personal makes the holder a person: on the ledger stand commitments, the rest is a secret.
func (w *world) personal(l *model.Licence) {
	l.Type, l.HolderKind, l.HolderCode, l.HolderName = contracttest.PersonalLicence, model.HolderPerson, "", ""
	l.Face["grade"] = pick(w, "grade", []string{"A", "B", "C", "C", "A", "B", "C", "C", "A", "Z"})
	l.Commitments = map[string]model.Digest{
		model.FieldHolderCode: w.commit(model.FieldHolderCode, fmt.Sprintf("secret-%dX", w.n)),
		model.FieldHolderName: w.commit(model.FieldHolderName, fmt.Sprint("某人", w.n)),
	}
}

func (w *world) commit(field, secret string) model.Digest {
	salt := model.NewSalt()
	text, _ := salt.MarshalText()
	w.secrets = append(w.secrets, []byte(secret), salt[:], text)
	d, err := model.Commit(salt, field, secret)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

var acts = []model.Type{
	model.LicenceSuspend, model.LicenceSuspend, model.LicenceResume, model.LicenceResume, model.LicenceResume, model.LicenceResume, model.LicenceResume,
	model.LicenceDormant, model.LicenceDormant, model.LicenceDormant, model.LicenceRescind,
	model.LicenceWithdraw, model.LicenceRevoke, model.LicenceCancel, model.LicenceVoidLost,
}

func (w *world) act() model.Act {
	day := w.day(w.today(), 20)
	return model.Act{Decision: model.Decision{Date: day, Number: "京市监〔2026〕9号"}, Effective: day, Reason: "by-decision"}
}

func (w *world) onLicence(agency model.AgencyID, records []model.RecordID) planned {
	// Mostly on what the agency owns, now or by succession.
	var own []model.RecordID
	for _, id := range records {
		if w.plain.successor(w.plain.records[model.KindLicence][id].header.Owner, w.today()) == agency {
			own = append(own, id)
		}
	}
	if len(own) == 0 || w.chance(10, "another's licence") {
		own = records
	}
	id := pick(w, "licence", own)
	now := w.plain.records[model.KindLicence][id].value.(*model.Licence)
	if w.chance(50, "no such licence") {
		id = "bj-scjg.99999"
	}
	signer, _ := w.plain.agency(agency)
	if signer == nil {
		signer = &w.genesis.Agencies[0]
	}
	switch w.roll(10, "act") {
	case 0, 1, 2:
		b := &model.AmendBody{Act: w.act(), Previous: *now, How: pick(w, "how", []model.AmendKind{model.Correct, model.ChangeOf, model.ChangeOf, ""})}
		b.Value = w.amended(now, signer)
		if w.chance(15, "other previous") {
			b.Previous.Number += "'"
		}
		return w.plan(agency, model.LicenceAmend, model.KindLicence, id, b)
	case 3, 4:
		b := &model.AmendBody{Act: w.act(), Previous: *now}
		b.Value = w.amended(now, signer)
		if now.ValidUntil != "" && !w.chance(5, "not later") {
			b.Value.ValidUntil = w.day("2046-06-01", 100)
		}
		if w.chance(15, "a renewal with how") {
			b.How = model.ChangeOf
		}
		return w.plan(agency, model.LicenceRenew, model.KindLicence, id, b)
	case 5:
		b := &model.TransferBody{Act: w.act(), To: w.issuer(), Value: *now}
		if w.chance(10, "to nobody") {
			b.To = ""
		}
		if w.chance(10, "other value") {
			b.Value.Number += "'"
		}
		return w.plan(agency, model.LicenceTransfer, model.KindLicence, id, b)
	}
	act := pick(w, "type of act", acts)
	if r := w.plain.records[model.KindLicence][id]; r != nil && !w.chance(5, "whatever the state") {
		var fitting []model.Type
		for _, a := range acts {
			if _, ok := states[a][r.header.State]; ok {
				fitting = append(fitting, a)
			}
		}
		if len(fitting) > 0 {
			act = pick(w, "fitting act", fitting)
		}
	}
	b := &model.ActBody{Act: w.act(), FromStart: act == model.LicenceRescind && w.chance(2, "from the start") || w.chance(15, "from the start anyhow")}
	return w.plan(agency, act, model.KindLicence, id, b)
}

func (w *world) amended(now *model.Licence, signer *model.Agency) model.Licence {
	l := *now
	p := now.Identifier.Parts()
	step := 1
	switch w.roll(13, "amendment") {
	case 0:
		l.Region = pick(w, "new region", []model.Region{"110000", "110101", "110105", "120000", "130000", "130600"})
	case 1:
		step = 0
	case 2:
		step = 2
	case 3:
		l.HolderKind, l.HolderCode, l.HolderName = model.HolderEnterprise, contracttest.EnterpriseUSCC(7), "另一公司"
	case 4:
		l.IssuedOn = "2029-01-01"
	case 5, 6, 7:
		if l.Legacy == "" {
			w.legacy(&l)
			break
		}
		l.Legacy = "" // its code is put right, or should be
		if l.HolderKind == model.HolderEnterprise {
			l.HolderCode = contracttest.EnterpriseUSCC(w.n)
		} else if w.chance(2, "another code") {
			l.Commitments = maps.Clone(l.Commitments)
			l.Commitments[model.FieldHolderCode] = w.commit(model.FieldHolderCode, "righted")
		}
	default:
		l.Number += "a"
	}
	key := model.Key{ID: "none", Alg: "ES256"}
	for _, k := range signer.Keys {
		if !k.Retired {
			key = k
		}
	}
	l.Signature = &model.Signature{Alg: key.Alg, Key: key.ID, Value: strings.Repeat("A", 86)}
	if p.Version+step < 1000 && len(l.Number) < 60 {
		w.identify(&l, p.Serial, p.Version+step)
	}
	if len(l.Number) > 60 {
		l.Number = "N"
	}
	return l
}

func (w *world) delegations() {
	agency := w.issuer()
	if ds := ids(w.plain.records[model.KindDelegation]); len(ds) > 0 && w.chance(3, "end") {
		id := pick(w, "delegation", ds)
		if d := w.plain.records[model.KindDelegation][id].value.(*model.Delegation); !w.chance(5, "by another") {
			agency = w.plain.successor(d.From, w.today())
		}
		w.send(agency, w.plan(agency, model.EndDelegation, model.KindDelegation, id, &model.EmptyBody{}))
		return
	}
	to := w.issuer()
	if to == agency {
		return
	}
	from := agency
	if w.chance(15, "in another's name") && to != "bj-scjg" {
		from = "bj-scjg"
	}
	b := &model.DelegateBody{Value: model.Delegation{
		From: from, To: to, Type: pick(w, "type", []model.TypeCode{contracttest.BusinessLicence, contracttest.BusinessLicence, contracttest.PersonalLicence, thirdType}),
		Region: pick(w, "region", []model.Region{"110000", "110101", "120000", "130000", "130600"}),
		Window: model.Window{From: w.day(w.today(), 20)},
	}}
	if w.chance(2, "with an end") {
		b.Value.Window.Until = model.DateFromDays(b.Value.Window.From.Days() + uint32(w.roll(101, "length")))
	}
	w.send(agency, w.plan(agency, model.Delegate, model.KindDelegation, w.next(model.KindDelegation, agency), b))
}

func (w *world) parties() {
	agency := w.agency()
	u := contracttest.EnterpriseUSCC(1 + w.roll(3, "party"))
	if w.chance(2, "release") {
		if r := w.plain.records[model.KindParty][model.RecordID(u)]; r != nil && !w.chance(4, "by another") {
			agency = w.plain.successor(r.header.Owner, w.today())
		}
		w.send(agency, w.plan(agency, model.ReleaseParty, model.KindParty, model.RecordID(u), &model.EmptyBody{}))
		return
	}
	b := &model.PartyBody{Value: model.Party{Host: agency, NameZh: "某报关行", Trades: []string{"broker"}, USCC: u}}
	if w.chance(10, "another host") {
		b.Value.Host = "bj-scjg"
	}
	record := model.RecordID(u)
	if w.chance(15, "another id") {
		record = "abc"
	}
	w.send(agency, w.plan(agency, model.HostParty, model.KindParty, record, b))
}

// anchors puts the head of a node's access log on the ledger; at contract level 1 nobody knows what that is.
func (w *world) anchors() {
	agency := w.agency()
	a, _ := w.plain.agency(agency)
	if a == nil {
		return
	}
	v := model.AccessLog{Count: uint64(w.roll(50, "count")), Msp: a.Msp, Node: a.Node, Start: model.Digest{31: byte(1 + w.roll(2, "log"))}}
	v.From = w.today()
	if r := w.plain.records[model.KindAccessLog][logRecord(a.Msp, a.Node)]; r != nil {
		before := r.value.(*model.AccessLog)
		if !w.chance(8, "a day again") {
			v.From = model.DateFromDays(before.Until.Days() + 1)
		}
		if !w.chance(8, "whatever count") {
			v.Start, v.Count = before.Start, before.Count+uint64(w.roll(3, "more"))
		}
	}
	v.Until = model.DateFromDays(v.From.Days() + uint32(max(0, w.roll(5, "days")-2)))
	v.Head = v.Start
	if v.Count > 0 {
		v.Head = model.Digest{byte(v.Count), byte(w.roll(5, "head") / 4)}
	}
	if w.chance(20, "another's log") {
		v.Node = "hebei"
	}
	if w.chance(20, "another organisation") {
		v.Msp = "HebeiMSP"
	}
	record := logRecord(v.Msp, v.Node)
	if w.chance(20, "another id") {
		record = pick(w, "its record", []model.RecordID{"beijing", logRecord(a.Msp, a.Node), logRecord("ExtraMSP", v.Node)})
	}
	msp, cn := w.caller(agency)
	o := w.plan(agency, model.AnchorAccess, model.KindAccessLog, record, &model.AnchorBody{Value: v})
	if w.plain.records[model.KindPolicy]["policy"].value.(*model.Policy).Level < 2 {
		w.unknown(msp, cn, o)
		return
	}
	w.call(msp, cn, false, o)
}

func (w *world) selfManaged() {
	agency := w.agency()
	record := model.RecordID(agency)
	if w.chance(10, "another's record") {
		record = "bj-scjg"
	}
	if w.chance(3, "endpoint") {
		w.send(agency, w.plan(agency, model.SetEndpoint, model.KindAgency, record, &model.EndpointBody{Endpoint: fmt.Sprintf("https://n%d.example", w.n)}))
		return
	}
	a, _ := w.plain.agency(agency)
	if a == nil || len(a.Keys) == 0 {
		return
	}
	w.n++
	old := a.Keys[len(a.Keys)-1]
	if w.chance(8, "an older key") {
		old = pick(w, "old key", a.Keys)
	}
	next := model.Key{ID: fmt.Sprint("k", w.n), Alg: pick(w, "alg", []string{"ES256", "SM2"}), Public: contracttest.Point(byte(w.n))}
	if reused := pick(w, "reused", a.Keys).ID; w.chance(10, "reused id") && reused != old.ID {
		next.ID = reused
	}
	b := &model.RotateBody{New: next, Retire: old.ID, Proof: sign(old, model.RotationBytes(agency, old.ID, next))}
	if w.chance(8, "wrong proof") {
		b.Proof = sign(next, model.RotationBytes(agency, old.ID, next))
	}
	w.send(agency, w.plan(agency, model.RotateKey, model.KindAgency, record, b))
}

// decide carries a registry change through its whole life, with a stumble now and then.
func (w *world) decide() {
	proposer := w.agency()
	b := w.change()
	if b == nil {
		return
	}
	id := w.next(model.KindProposal, proposer)
	w.send(proposer, w.plan(proposer, model.Propose, model.KindProposal, id, b))
	approvers := []model.AgencyID{"bj-scjg", "tj-scjg", "he-scjg", "bj-customs", "ex-one"}
	approvers = append(approvers, w.agency())
	for _, a := range approvers[w.roll(3, "first approver"):] {
		if known, _ := w.plain.agency(a); known == nil {
			continue
		}
		w.send(a, w.plan(a, model.Approve, model.KindProposal, id, w.approval(b)))
	}
	if w.chance(6, "too late to enact") {
		return
	}
	enactor := proposer
	if w.chance(3, "enacted by another") {
		enactor = w.agency()
	}
	e := &model.EnactBody{Proposal: id, Value: b.Value}
	if w.chance(15, "no such proposal") {
		e.Proposal = "bj-scjg.999"
	}
	o := w.plan(enactor, b.Action, b.Kind, b.Record, e)
	o.op.Version = b.Version
	if w.chance(6, "with an issue in the same call") {
		i, personal := w.issue(enactor)
		msp, cn := w.caller(enactor)
		w.call(msp, cn, personal, o, i)
		return
	}
	w.send(enactor, o)
}

func (w *world) approval(b *model.ProposeBody) *model.ApproveBody {
	a := &model.ApproveBody{Content: content(b), Registry: w.plain.registry}
	if w.chance(20, "old registry") {
		a.Registry--
	}
	if w.chance(20, "other content") {
		a.Content[0]++
	}
	return a
}

// proposals acts on a proposal that stands: approve, close or enact it, out of turn.
func (w *world) proposals() {
	open := ids(w.plain.records[model.KindProposal])
	if len(open) == 0 {
		return
	}
	id := pick(w, "proposal", open)
	r := w.plain.records[model.KindProposal][id]
	p := r.value.(*model.Proposal)
	agency := w.agency()
	b := &model.ProposeBody{Action: p.Action, Kind: p.Kind, Record: p.Record, Value: p.Value, Version: p.Version}
	switch w.roll(4, "what") {
	case 0:
		if w.chance(2, "by its maker") {
			agency = r.header.Owner
		}
		w.send(agency, w.plan(agency, model.CloseProposal, model.KindProposal, id, &model.EmptyBody{}))
	case 1:
		w.send(agency, w.plan(agency, model.Approve, model.KindProposal, id, w.approval(b)))
	default:
		e := &model.EnactBody{Proposal: id, Value: p.Value}
		o := w.plan(agency, p.Action, p.Kind, p.Record, e)
		if w.chance(10, "another action") && p.Kind != model.KindPolicy {
			o.op.Type = model.Remove
		}
		w.send(agency, o)
	}
}

// change draws a change of the registry.
func (w *world) change() *model.ProposeBody {
	b := &model.ProposeBody{Version: 1}
	kinds := []model.Kind{model.KindAgency, model.KindAgency, model.KindOrganisation, model.KindLicenceType, model.KindSuccession, model.KindSuccession, model.KindPolicy}
	b.Kind = pick(w, "kind", kinds)
	stand := ids(w.plain.records[b.Kind])
	b.Action = pick(w, "action", []model.Type{model.Admit, model.Change, model.Change, model.Change, model.Remove})
	if b.Kind == model.KindPolicy || len(stand) == 0 {
		b.Action = model.Change
	}
	if b.Kind == model.KindSuccession && (len(stand) == 0 || w.chance(2, "new succession")) {
		b.Action = model.Admit
	}
	var value any
	if b.Action == model.Admit {
		b.Record, value = w.newcomer(b.Kind)
	} else if len(stand) == 0 {
		return nil
	} else {
		b.Record = pick(w, "record", stand)
		if b.Kind == model.KindOrganisation && b.Action == model.Remove && !w.chance(4, "a founder leaves") {
			b.Record = stand[slices.Index(stand, "BeijingMSP")+1]
		}
		r := w.plain.records[b.Kind][b.Record]
		b.Version = r.header.Version + 1
		value = r.value
		if b.Action == model.Change {
			value = w.varied(r.value)
		} else if w.chance(10, "another value") {
			value = w.varied(r.value)
		}
	}
	raw, err := model.Canonical(value)
	if err != nil {
		w.t.Fatal(err)
	}
	b.Value = raw
	if w.chance(20, "another version") {
		b.Version++
	}
	return b
}

func (w *world) newcomer(k model.Kind) (model.RecordID, any) {
	switch k {
	case model.KindOrganisation:
		msp := pick(w, "new msp", []model.MSPID{"ExtraMSP", "OtherMSP"})
		return model.RecordID(msp), &model.Organisation{Msp: msp, NameZh: "新成员", NameEn: "new", Nodes: []model.NodeID{"extra"}}
	case model.KindAgency:
		id := pick(w, "new agency", []model.AgencyID{"ex-one", "bj-two", "he-bd", "tj-bh"})
		msp := pick(w, "its msp", []model.MSPID{"ExtraMSP", "BeijingMSP", "HebeiMSP", "TianjinMSP"})
		node := map[model.MSPID]model.NodeID{"ExtraMSP": "extra", "BeijingMSP": "beijing", "HebeiMSP": "hebei", "TianjinMSP": "tianjin"}[msp]
		w.n++
		return model.RecordID(id), &model.Agency{ID: id, Msp: msp, Node: node, NameZh: "新机构", NameEn: "new", Region: "130600", USCC: contracttest.AgencyUSCC("130600", w.n),
			Parent: pick(w, "parent", []model.AgencyID{"", "bj-scjg", "he-bd", "bj-two", "zz-nobody"}), Roles: []model.Role{model.RoleIssuer},
			Keys: []model.Key{{ID: string(id) + "-1", Alg: "ES256", Public: contracttest.Point(byte(w.n))}}}
	case model.KindLicenceType:
		return model.RecordID(thirdType), &model.LicenceType{Authority: "11100000MB0143028R", Code: thirdType, NameZh: "许可证", NameEn: "Permit",
			HolderKinds: []model.HolderKind{model.HolderEnterprise}, Face: map[string]model.FaceField{}, Issuers: map[model.AgencyID]model.Region{w.issuer(): "110000"}}
	}
	s := &model.Succession{From: w.agency(), To: w.agency(), Effective: w.day(w.today(), 30)}
	if s.From == s.To {
		s.From, s.To = "bj-dc-scjg", "bj-scjg"
	}
	return model.RecordID(s.From), s
}

// varied is a copy with one thing changed.
func (w *world) varied(v any) any {
	switch x := v.(type) {
	case *model.Organisation:
		c := *x
		c.Nodes = pick(w, "nodes", [][]model.NodeID{x.Nodes, {"extra"}, append([]model.NodeID{"extra"}, x.Nodes...)})
		return &c
	case *model.Agency:
		c := *x
		c.Keys = slices.Clone(x.Keys)
		switch w.roll(8, "agency's change") {
		case 0:
			c.Roles = pick(w, "roles", [][]model.Role{{}, {model.RoleIssuer}, {model.RoleIssuer, model.RoleVerifier}})
		case 1:
			c.Parent = pick(w, "parent", []model.AgencyID{"", "bj-scjg", "bj-dc-scjg", "he-bd", "bj-two", "ex-one"})
			if c.Parent == c.ID {
				c.Parent = ""
			}
		case 2:
			c.Node = pick(w, "node", []model.NodeID{"beijing", "hebei", "extra"})
		case 3:
			c.Msp = pick(w, "msp", []model.MSPID{"BeijingMSP", "HebeiMSP", "ExtraMSP"})
		case 4:
			if len(c.Keys) > 0 {
				c.Keys[0].Retired = !c.Keys[0].Retired
			}
		case 5:
			if len(c.Keys) > 0 {
				c.Keys[0].Public = contracttest.Point(byte(w.n))
			}
		case 6:
			w.n++
			c.Keys = append(c.Keys[:len(c.Keys)/2], model.Key{ID: fmt.Sprint("a", w.n), Alg: "ES256", Public: contracttest.Point(byte(w.n))})
		default:
			c.NameEn += "'"
		}
		if len(c.NameEn) > 30 {
			c.NameEn = ""
		}
		return &c
	case *model.LicenceType:
		c := *x
		c.Issuers = map[model.AgencyID]model.Region{}
		for a, r := range x.Issuers {
			c.Issuers[a] = r
		}
		c.Issuers[w.agency()] = pick(w, "issuing region", []model.Region{"110000", "110101", "120000", "130600"})
		if w.chance(3, "one issuer less") {
			delete(c.Issuers, pick(w, "which", []model.AgencyID{"tj-scjg", "he-scjg", "zz-nobody"}))
		}
		delete(c.Issuers, "zz-nobody")
		return &c
	case *model.Succession:
		c := *x
		c.To = w.agency()
		if c.To == c.From {
			c.To = x.To
		}
		c.Effective = w.day(w.today(), 30)
		return &c
	}
	c := *v.(*model.Policy)
	c.Approvals = w.roll(4, "k")
	c.Level = pick(w, "level", []int{1, 2, 2, 2, 3})
	return &c
}
