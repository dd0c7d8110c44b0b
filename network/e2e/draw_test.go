package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// draw makes up groups of transactions. It knows what became of earlier ones, so that most operations are accepted; the
// transactions of one group know nothing of one another, so that many conflict, as those of many nodes would.
type draw struct {
	t       testing.TB
	r       *rand.Rand
	genesis *model.GenesisDocument
	sound   bool // draws nothing that is wrong

	licences    []*drawnLicence
	delegations []*drawnRecord
	parties     []*drawnRecord
	agencies    map[model.AgencyID]*drawnRecord
	proposal    *drawnProposal // the one that is under way
	policy      *drawnRecord
	serials     map[string]uint64 // by kind and agency
	n           int
	registry    uint64 // version
}

type drawnRecord struct {
	id      model.RecordID
	agency  model.AgencyID // may act on it
	other   model.AgencyID // a delegation's receiver
	version uint64
	state   model.State
}

type drawnLicence struct {
	drawnRecord
	value model.Licence
}

type drawnProposal struct {
	drawnRecord
	content  model.Digest
	value    json.RawMessage
	approved map[string]bool // by node
}

// drawnTx is a transaction to be made: who sends it, what it calls, and what follows if it becomes valid.
type drawnTx struct {
	by       string // node
	function string
	ops      []model.Operation
	then     []func()
	what     string
	packed   bool
}

// touches tells whether an operation of the transaction is on a record already.
func (d *drawnTx) touches(record model.RecordID) bool {
	return slices.ContainsFunc(d.ops, func(op model.Operation) bool { return op.Record == record })
}

func (d *drawnTx) args() [][]byte {
	out := make([][]byte, len(d.ops))
	for i := range d.ops {
		out[i] = d.ops[i].Encode()
	}
	if d.packed {
		return model.Pack(out)
	}
	return out
}

func newDraw(t testing.TB, seed uint64, genesis []byte) *draw {
	t.Helper()
	g, _, err := model.DecodeGenesis(genesis)
	if err != nil {
		t.Fatal(err)
	}
	d := &draw{
		t: t, r: rand.New(rand.NewPCG(seed, 0)), genesis: g, serials: map[string]uint64{}, agencies: map[model.AgencyID]*drawnRecord{},
		policy: &drawnRecord{id: model.PolicyID, version: 1}, registry: 1,
	}
	for i := range g.Agencies {
		id := g.Agencies[i].ID
		d.agencies[id] = &drawnRecord{id: model.RecordID(id), agency: id, version: 1, state: model.Active}
	}
	return d
}

func (d *draw) chance(oneIn int) bool { return d.r.IntN(oneIn) == 0 }

func anyOf[T any](d *draw, from []T) T { return from[d.r.IntN(len(from))] }

func (d *draw) agency(id model.AgencyID) *model.Agency {
	for i := range d.genesis.Agencies {
		if d.genesis.Agencies[i].ID == id {
			return &d.genesis.Agencies[i]
		}
	}
	d.t.Fatalf("no agency %s", id)
	return nil
}

var issuing = []model.AgencyID{"bj-scjg", "tj-scjg", "he-scjg"}

// group draws transactions that are to be endorsed at one height.
func (d *draw) group() []*drawnTx {
	var out []*drawnTx
	for range 2 + d.r.IntN(8) {
		agency := anyOf(d, issuing)
		if d.chance(6) {
			agency = anyOf(d, []model.AgencyID{"bj-scjg-cy", "tj-scjg-bh", "he-scjg-lf", "bj-customs"})
		}
		tx := &drawnTx{by: string(d.agency(agency).Node), function: model.FunctionApply, packed: d.chance(2)}
		if d.chance(40) {
			tx.by = anyOf(d, memberNames) // perhaps not the agency's node
		}
		for range anyOf(d, []int{1, 1, 2, 3, 5}) {
			d.operation(tx, agency)
		}
		if d.chance(40) && len(out) > 0 { // the very same operations again, in another transaction
			tx = &drawnTx{by: out[0].by, function: out[0].function, ops: out[0].ops, then: out[0].then, packed: d.chance(2), what: "again: " + out[0].what}
		}
		out = append(out, tx)
	}
	if d.chance(3) {
		out = slices.Insert(out, d.r.IntN(len(out)), d.consent())
	}
	return out
}

func (d *draw) operation(tx *drawnTx, agency model.AgencyID) {
	switch roll := d.r.IntN(100); {
	case roll < 30:
		d.issue(tx, agency)
	case roll < 78:
		d.act(tx, agency)
	case roll < 83:
		d.endpoint(tx, agency)
	case roll < 93:
		d.delegate(tx, agency)
	default:
		d.party(tx, agency)
	}
}

func (d *draw) add(tx *drawnTx, agency model.AgencyID, t model.Type, kind model.Kind, record model.RecordID, version uint64, body any, then func()) {
	raw, err := model.Canonical(body)
	if err != nil {
		d.t.Fatal(err)
	}
	if !d.sound && d.chance(60) {
		version += uint64(d.r.IntN(3)) // not the next version
	}
	op := model.Operation{Agency: agency, Body: raw, Kind: kind, Record: record, Type: t, Version: version}
	for i := range op.ID {
		op.ID[i] = byte(d.r.Uint32())
	}
	tx.ops, tx.then = append(tx.ops, op), append(tx.then, then)
	tx.what += fmt.Sprintf("%s %s v%d; ", t, record, version)
}

// serial gives an agency's next one, or now and then the last one again.
func (d *draw) serial(kind model.Kind, agency model.AgencyID) model.RecordID {
	key := string(kind) + "/" + string(agency)
	if d.serials[key] == 0 || !d.chance(12) {
		d.serials[key]++
	}
	return model.NewRecordID(agency, d.serials[key])
}

func (d *draw) value(agency model.AgencyID, version int, serial string) model.Licence {
	a := d.agency(agency)
	d.n++
	holder, err := model.InventUSCC("91110105X", 5000+d.n)
	if err != nil {
		d.t.Fatal(err)
	}
	v := model.Licence{
		Face:       map[string]any{"scope": anyOf(d, []string{"软件开发", "a \"quoted\" \\ text", "进出口（不含危险品）"}), "capital": fmt.Sprintf("%d万元", d.r.IntN(1000))},
		HolderCode: holder, HolderKind: model.HolderEnterprise, HolderName: fmt.Sprintf("样例%d有限公司", d.n), IssuedOn: "2026-01-05", Issuer: a.USCC,
		Number: fmt.Sprintf("N%d", d.n), Region: a.Region, Type: businessLicence, ValidFrom: "2026-01-05", ValidUntil: "2036-01-04",
		Signature: &model.Signature{Alg: "ES256", Key: "none", Value: strings.Repeat("A", 86)},
	}
	if len(a.Keys) > 0 {
		v.Signature.Alg, v.Signature.Key = a.Keys[0].Alg, a.Keys[0].ID
	}
	fault := d.r.IntN(40)
	if d.sound {
		fault = -1
	}
	switch fault {
	case 0:
		v.Signature.Key = "unknown"
	case 1:
		v.Face["nonsense"] = "x"
	case 2:
		v.Face["scope"] = "联系人：11010519491231002X" // fails the whole call
	}
	if v.Identifier, err = model.NewLicenceID(model.LicenceIDParts{Type: businessLicence, Issuer: string(v.Issuer), Serial: serial, Version: version}); err != nil {
		d.t.Fatal(err)
	}
	return v
}

func (d *draw) issue(tx *drawnTx, agency model.AgencyID) {
	b := &model.IssueBody{Value: d.value(agency, 1, fmt.Sprint(100_000+d.n))}
	for _, g := range d.delegations {
		if g.other == agency && g.state == model.Active {
			b.Under = g.id
		}
	}
	l := &drawnLicence{drawnRecord{id: d.serial(model.KindLicence, agency), agency: agency, version: 1, state: model.InForce}, b.Value}
	d.add(tx, agency, model.LicenceIssue, model.KindLicence, l.id, 1, b, func() { d.licences = append(d.licences, l) })
}

// acts are drawn from, with those that do not end a licence more often.
var acts = slices.Concat(
	slices.Repeat([]model.Type{model.LicenceSuspend, model.LicenceResume, model.LicenceAmend}, 4),
	slices.Repeat([]model.Type{model.LicenceDormant, model.LicenceRenew, model.LicenceTransfer}, 2),
	[]model.Type{model.LicenceCancel, model.LicenceRescind, model.LicenceVoidLost, model.LicenceRevoke, model.LicenceWithdraw})

func (d *draw) act(tx *drawnTx, agency model.AgencyID) {
	var own []*drawnLicence
	for _, l := range d.licences {
		if l.agency == agency && !tx.touches(l.id) && (!l.state.Ended() || d.chance(20)) {
			own = append(own, l)
		}
	}
	if len(own) == 0 {
		d.issue(tx, agency)
		return
	}
	l := own[max(0, len(own)-1-d.r.IntN(24))] // near the newest: two transactions often meet
	if d.chance(25) {
		l = anyOf(d, d.licences) // perhaps another's
	}
	t := anyOf(d, acts)
	next, err := model.Machines[model.KindLicence].Next(l.state, t)
	for range 20 {
		if err == nil || d.chance(50) {
			break
		}
		t = anyOf(d, acts)
		next, err = model.Machines[model.KindLicence].Next(l.state, t)
	}
	act := model.Act{Decision: model.Decision{Number: fmt.Sprintf("市监〔2026〕%d号", d.n), Date: "2026-02-03"}, Effective: "2026-02-03", Reason: "by-decision"}
	version, then := l.version+1, func() { l.version, l.state = l.version+1, next }
	switch t {
	case model.LicenceAmend, model.LicenceRenew:
		v := l.value
		p := v.Identifier.Parts()
		id, err := model.NewLicenceID(model.LicenceIDParts{Type: p.Type, Issuer: p.Issuer, Serial: p.Serial, Version: p.Version + 1})
		if err != nil {
			d.t.Fatal(err)
		}
		v.Identifier, v.HolderName = id, fmt.Sprintf("样例%d（更名）有限公司", d.n)
		if a := d.agency(agency); len(a.Keys) > 0 {
			v.Signature = &model.Signature{Alg: a.Keys[0].Alg, Key: a.Keys[0].ID, Value: strings.Repeat("A", 86)}
		}
		b := &model.AmendBody{Act: act, Previous: l.value, Value: v, How: model.ChangeOf}
		if t == model.LicenceRenew {
			b.How, b.Value.ValidUntil = "", model.Date(fmt.Sprintf("%d-01-04", 2037+p.Version))
		}
		value := b.Value
		d.add(tx, agency, t, model.KindLicence, l.id, version, b, func() { then(); l.value = value })
	case model.LicenceTransfer:
		to := anyOf(d, issuing)
		d.add(tx, agency, t, model.KindLicence, l.id, version, &model.TransferBody{Act: act, To: to, Value: l.value}, func() { then(); l.agency = to })
	default:
		d.add(tx, agency, t, model.KindLicence, l.id, version, &model.ActBody{Act: act, FromStart: t == model.LicenceRescind && d.chance(2)}, then)
	}
}

// endpoint changes the agency's own entry, which every other operation of the agency reads.
func (d *draw) endpoint(tx *drawnTx, agency model.AgencyID) {
	r := d.agencies[agency]
	if tx.touches(r.id) {
		d.issue(tx, agency)
		return
	}
	d.n++
	d.add(tx, agency, model.SetEndpoint, model.KindAgency, r.id, r.version+1, &model.EndpointBody{Endpoint: fmt.Sprintf("https://node.example/%d", d.n)}, func() { r.version++ })
}

var districts = map[model.AgencyID]model.AgencyID{"bj-scjg": "bj-scjg-cy", "tj-scjg": "tj-scjg-bh", "he-scjg": "he-scjg-lf"}

// delegate gives a district the right to issue, or takes it: what the district issues under it reads it.
func (d *draw) delegate(tx *drawnTx, agency model.AgencyID) {
	to, ok := districts[agency]
	if !ok || slices.ContainsFunc(tx.ops, func(op model.Operation) bool { return op.Kind == model.KindDelegation }) {
		d.issue(tx, agency)
		return
	}
	for _, g := range d.delegations {
		if g.agency == agency && g.state == model.Active {
			d.add(tx, agency, model.EndDelegation, model.KindDelegation, g.id, g.version+1, &model.EmptyBody{}, func() { g.version, g.state = g.version+1, model.Removed })
			return
		}
	}
	g := &drawnRecord{id: d.serial(model.KindDelegation, agency), agency: agency, other: to, version: 1, state: model.Active}
	b := &model.DelegateBody{Value: model.Delegation{From: agency, To: to, Type: businessLicence, Region: d.agency(to).Region, Window: model.Window{From: "2026-01-01"}}}
	d.add(tx, agency, model.Delegate, model.KindDelegation, g.id, 1, b, func() { d.delegations = append(d.delegations, g) })
}

func (d *draw) party(tx *drawnTx, agency model.AgencyID) {
	for _, p := range d.parties {
		if p.agency == agency && p.state == model.Active && !tx.touches(p.id) && d.chance(2) {
			d.add(tx, agency, model.ReleaseParty, model.KindParty, p.id, p.version+1, &model.EmptyBody{}, func() { p.version, p.state = p.version+1, model.Removed })
			return
		}
	}
	d.n++
	code, err := model.InventUSCC("91110105X", 900_000+d.n)
	if err != nil {
		d.t.Fatal(err)
	}
	p := &drawnRecord{id: model.RecordID(code), agency: agency, version: 1, state: model.Active}
	b := &model.PartyBody{Value: model.Party{Host: agency, NameZh: fmt.Sprintf("样例报关行%d", d.n), Trades: []string{"broker"}, USCC: code}}
	d.add(tx, agency, model.HostParty, model.KindParty, p.id, 1, b, func() { d.parties = append(d.parties, p) })
}

// consent takes a change of the policy, by which every call decides, a step further: proposed, approved by organisation
// after organisation, enacted. Where it is enacted, every other transaction of the group has read what it changes.
func (d *draw) consent() *drawnTx {
	homeOf := func(node string) model.AgencyID { return model.AgencyID(homes[node]) }
	tx := &drawnTx{function: model.FunctionApply}
	p := d.proposal
	switch {
	case p == nil:
		tx.by = anyOf(d, memberNames)
		value, err := model.Canonical(&model.Policy{Approvals: 1 + d.r.IntN(2), Level: d.genesis.Policy.Level})
		if err != nil {
			d.t.Fatal(err)
		}
		p = &drawnProposal{drawnRecord{agency: homeOf(tx.by), version: 1}, model.Digest{}, value, map[string]bool{}}
		p.id = d.serial(model.KindProposal, p.agency)
		b := &model.ProposeBody{Action: model.Change, Kind: model.KindPolicy, Record: model.PolicyID, Value: value, Version: d.policy.version + 1}
		p.content = model.ContentDigest(b.Action, b.Kind, b.Record, b.Version, b.Value)
		p.state = model.Open
		d.add(tx, p.agency, model.Propose, model.KindProposal, p.id, 1, b, func() { d.proposal = p })
	case len(p.approved) < 3:
		for _, name := range memberNames {
			if !p.approved[name] {
				tx.by = name
			}
		}
		b := &model.ApproveBody{Content: p.content, Registry: d.registry}
		d.add(tx, homeOf(tx.by), model.Approve, model.KindProposal, p.id, p.version+1, b, func() { p.version++; p.approved[tx.by] = true })
	default:
		tx.by = string(d.agency(p.agency).Node)
		b := &model.EnactBody{Proposal: p.id, Value: p.value}
		d.add(tx, p.agency, model.Change, model.KindPolicy, model.PolicyID, d.policy.version+1, b, func() { d.policy.version++; d.registry++; d.proposal = nil })
	}
	return tx
}

// stamp gives all operations the time of their proposal.
func stamp(group []*drawnTx) {
	now := model.TimeOf(time.Now())
	for _, tx := range group {
		for i := range tx.ops {
			tx.ops[i].Time = now
		}
	}
}
