package contract_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// plain is the ledger as the design describes it, written again without the contract's code: maps of Go
// values, rules as sentences. It borrows from model only the types that carry data and the digest of a value.
//
// It does not stop at the first fault: judging an operation gives every code that the rules justify. The
// contract is right when it accepts exactly what has none, and otherwise answers one of them.
type plain struct {
	records  map[model.Kind]map[model.RecordID]*plainRecord
	registry uint64
	level    int // of the ledger when the call began: a change in the call counts from the next one
}

type plainRecord struct {
	header model.Header
	value  any // *model.Licence or the registry value
}

type faults map[model.Code]bool

func (f faults) add(c model.Code, when bool) {
	if when {
		f[c] = true
	}
}

func newPlain(g *model.GenesisDocument, ops []model.Operation) *plain {
	p := &plain{records: map[model.Kind]map[model.RecordID]*plainRecord{}, registry: 1}
	for k := range model.Machines {
		p.records[k] = map[model.RecordID]*plainRecord{}
	}
	values := map[string]any{"policy/policy": &g.Policy}
	for i := range g.Organisations {
		values["organisation/"+string(g.Organisations[i].Msp)] = &g.Organisations[i]
	}
	for i := range g.Agencies {
		values["agency/"+string(g.Agencies[i].ID)] = &g.Agencies[i]
	}
	for i := range g.LicenceTypes {
		values["licence-type/"+string(g.LicenceTypes[i].Code)] = &g.LicenceTypes[i]
	}
	for _, op := range ops {
		v := values[string(op.Kind)+"/"+string(op.Record)]
		h := model.Header{Version: 1, State: "active", Value: digest(v), Op: op.ID}
		if op.Kind == model.KindAgency {
			h.Owner = model.AgencyID(op.Record)
		}
		p.records[op.Kind][op.Record] = &plainRecord{h, v}
	}
	return p
}

func (p *plain) clone() *plain {
	c := &plain{records: map[model.Kind]map[model.RecordID]*plainRecord{}, registry: p.registry}
	if r := p.records[model.KindPolicy]["policy"]; r != nil {
		c.level = r.value.(*model.Policy).Level
	}
	for k, m := range p.records {
		c.records[k] = maps.Clone(m) // records are replaced, never changed
	}
	return c
}

func digest(v any) model.Digest { return sha256.Sum256(canonical(v)) }

func (p *plain) agency(id model.AgencyID) (a *model.Agency, gone bool) {
	r := p.records[model.KindAgency][model.RecordID(id)]
	if r == nil {
		return nil, false
	}
	return r.value.(*model.Agency), r.header.State == "removed"
}

// standing adds what is wrong with an agency that must be there.
func (p *plain) standing(f faults, id model.AgencyID) *model.Agency {
	a, gone := p.agency(id)
	f.add(model.CodeAgencyUnknown, a == nil)
	f.add(model.CodeAgencyNotActive, gone)
	return a
}

// acting adds what forbids a caller to act for an agency.
func (p *plain) acting(f faults, msp model.MSPID, cn string, id model.AgencyID) *model.Agency {
	actor := p.standing(f, id)
	if actor != nil {
		org := p.member(actor.Msp)
		bySelf, byNode := cn == string(actor.ID), cn == string(actor.Node)
		f.add(model.CodeNotActingFor, org == nil || actor.Msp != msp || (!bySelf && !byNode) ||
			(byNode && !slices.Contains(org.Nodes, actor.Node)))
	}
	return actor
}

func (p *plain) member(id model.MSPID) *model.Organisation {
	r := p.records[model.KindOrganisation][model.RecordID(id)]
	if r == nil || r.header.State == "removed" {
		return nil
	}
	return r.value.(*model.Organisation)
}

func (p *plain) members() (n int) {
	for _, r := range p.records[model.KindOrganisation] {
		if r.header.State == "active" {
			n++
		}
	}
	return n
}

func (p *plain) licenceType(c model.TypeCode) *model.LicenceType {
	r := p.records[model.KindLicenceType][model.RecordID(c)]
	if r == nil || r.header.State == "removed" {
		return nil
	}
	return r.value.(*model.LicenceType)
}

// successor follows "B takes over from A on a day".
func (p *plain) successor(id model.AgencyID, day model.Date) model.AgencyID {
	for range 100 {
		r := p.records[model.KindSuccession][model.RecordID(id)]
		if r == nil || r.header.State != "active" || r.value.(*model.Succession).Effective > day {
			return id
		}
		id = r.value.(*model.Succession).To
	}
	panic("successions go in a circle")
}

// rights are the regions in which an agency issues a type: its own and those of whom it succeeded.
func (p *plain) rights(t *model.LicenceType, id model.AgencyID, day model.Date) (regions []model.Region) {
	if t == nil || p.successor(id, day) != id {
		return nil
	}
	for listed, r := range t.Issuers {
		if p.successor(listed, day) == id {
			regions = append(regions, r)
		}
	}
	return regions
}

func inside(r, outer model.Region) bool {
	o := string(outer)
	for range 2 {
		o = strings.TrimSuffix(o, "00")
	}
	return strings.HasPrefix(string(r), o)
}

func insideAny(r model.Region, outer []model.Region) bool {
	return slices.ContainsFunc(outer, func(o model.Region) bool { return inside(r, o) })
}

// states says what follows what, from the words of the design: endings are final except that the law cancels
// what was revoked, withdrawn or lost and rescinds after any ending; dormant is lifted by resume.
var states = map[model.Type]map[model.State]model.State{
	model.LicenceIssue:    {"": "in_force"},
	model.LicenceAmend:    {"in_force": "in_force", "suspended": "suspended", "dormant": "dormant"},
	model.LicenceRenew:    {"in_force": "in_force", "dormant": "dormant"},
	model.LicenceTransfer: {"in_force": "in_force", "suspended": "suspended", "dormant": "dormant"},
	model.LicenceSuspend:  {"in_force": "suspended", "dormant": "suspended"},
	model.LicenceDormant:  {"in_force": "dormant"},
	model.LicenceResume:   {"suspended": "in_force", "dormant": "in_force"},
	model.LicenceWithdraw: {"in_force": "withdrawn", "suspended": "withdrawn", "dormant": "withdrawn"},
	model.LicenceRevoke:   {"in_force": "penalty_revoked", "suspended": "penalty_revoked", "dormant": "penalty_revoked"},
	model.LicenceVoidLost: {"in_force": "void_lost", "suspended": "void_lost", "dormant": "void_lost"},
	model.LicenceCancel: {"in_force": "cancelled", "suspended": "cancelled", "dormant": "cancelled",
		"penalty_revoked": "cancelled", "withdrawn": "cancelled", "void_lost": "cancelled"},
	model.LicenceRescind: {"in_force": "rescinded", "suspended": "rescinded", "dormant": "rescinded",
		"penalty_revoked": "rescinded", "withdrawn": "rescinded", "void_lost": "rescinded", "cancelled": "rescinded"},
	model.Propose:       {"": "open"},
	model.Approve:       {"open": "open"},
	model.CloseProposal: {"open": "closed"},
	model.Admit:         {"": "active"},
	model.Change:        {"active": "active"},
	model.Remove:        {"active": "removed"},
	model.SetEndpoint:   {"active": "active"},
	model.RotateKey:     {"active": "active"},
	model.HostParty:     {"": "active", "removed": "active"},
	model.ReleaseParty:  {"active": "removed"},
	model.Delegate:      {"": "active"},
	model.EndDelegation: {"active": "removed"},
	model.AnchorAccess:  {"": "anchored", "anchored": "anchored"},
}

// planned is an operation with the body that it was made of.
type planned struct {
	op   model.Operation
	body any
}

// apply judges an operation and, if nothing is wrong with it, applies it.
func (p *plain) apply(msp model.MSPID, cn string, at time.Time, o planned) faults {
	f := faults{}
	op := o.op
	day := op.Time.Date()
	f.add(model.CodeTimeMismatch, op.Time.Time().Sub(at).Abs() > time.Minute)
	actor := p.acting(f, msp, cn, op.Agency)
	was := p.records[op.Kind][op.Record]
	var h model.Header
	if was != nil {
		h = was.header
	}
	next := &plainRecord{header: h}
	if was != nil {
		next.value = was.value
	}
	f.add(model.CodeVersionConflict, op.Version != h.Version+1)
	state, allowed := states[op.Type][h.State]
	f.add(model.CodeTransition, !allowed)
	if _, creates := states[op.Type][""]; creates {
		if agency, n, serial := strings.Cut(string(op.Record), "."); serial {
			f.add(model.CodeBadID, agency != string(op.Agency) || len(n) > 13 || len(n) == 13 && n > "1000000000000")
		}
		next.header.Owner = op.Agency
	}
	next.header.Version, next.header.State, next.header.Op = op.Version, state, op.ID
	if was != nil {
		owned := false
		switch op.Type {
		case model.CloseProposal, model.ReleaseParty, model.EndDelegation:
			owned = true
		default:
			owned = op.Kind == model.KindLicence && op.Type != model.LicenceIssue
		}
		if owned {
			next.header.Owner = p.successor(h.Owner, day)
			f.add(model.CodeNotOwner, next.header.Owner != op.Agency)
		}
	}
	if op.Kind == model.KindLicence {
		f.add(model.CodeNotIssuer, actor != nil && !slices.Contains(actor.Roles, "issuer"))
	}
	switch b := o.body.(type) {
	case *model.IssueBody:
		p.issue(f, actor, day, b, next)
	case *model.AmendBody:
		p.amend(f, actor, day, op.Type, b, was, next)
	case *model.ActBody:
		f.add(model.CodeBadValue, b.FromStart && op.Type != model.LicenceRescind)
		next.header.Effective = b.Effective
		if b.FromStart {
			next.header.Effective = h.From
		}
	case *model.TransferBody:
		f.add(model.CodeBadValue, b.To == "" || was != nil && b.To == next.header.Owner)
		f.add(model.CodeValueMismatch, was != nil && digest(b.Value) != h.Value)
		if to := p.standing(f, b.To); to != nil {
			f.add(model.CodeNotIssuer, !slices.Contains(to.Roles, "issuer"))
		}
		t := p.licenceType(b.Value.Type)
		f.add(model.CodeTypeUnknown, t == nil)
		f.add(model.CodeTypeNotPermitted, len(p.rights(t, b.To, day)) == 0)
		next.header.Owner = b.To
	case *model.ProposeBody:
		p.admissible(f, b)
		next.set(&model.Proposal{Action: b.Action, Approvals: []model.Approval{}, Content: content(b), Kind: b.Kind, Record: b.Record, Value: b.Value, Version: b.Version})
	case *model.ApproveBody:
		p.approve(f, msp, op.Agency, b, was, next)
	case *model.EnactBody:
		p.enact(f, op, b, next)
	case *model.EndpointBody:
		p.self(f, op, was, next, func(a *model.Agency) { a.Endpoint = b.Endpoint })
	case *model.RotateBody:
		p.self(f, op, was, next, func(a *model.Agency) { rotate(f, a, b) })
	case *model.PartyBody:
		f.add(model.CodeBadValue, b.Value.Host != op.Agency || string(b.Value.USCC) != string(op.Record))
		next.set(&b.Value)
	case *model.DelegateBody:
		d := &b.Value
		f.add(model.CodeBadValue, d.From != op.Agency)
		t := p.licenceType(d.Type)
		f.add(model.CodeTypeUnknown, t == nil)
		p.permitted(f, p.rights(t, d.From, day), d.Region)
		if to := p.standing(f, d.To); to != nil {
			f.add(model.CodeNotIssuer, !slices.Contains(to.Roles, "issuer"))
		}
		next.set(d)
	case *model.AnchorBody:
		p.anchor(f, actor, msp, cn, op, b.Value, was, next)
	}
	if len(f) > 0 {
		return f
	}
	switch op.Type {
	case model.Admit, model.Change, model.Remove, model.RotateKey:
		p.registry++
	}
	p.records[op.Kind][op.Record] = next
	return nil
}

func (r *plainRecord) set(v any) { r.value, r.header.Value = v, digest(v) }

// setLicence also says what no type's schema need be asked for: a person's licence commits to the holder.
func (r *plainRecord) setLicence(f faults, l *model.Licence) {
	for _, name := range []string{"holder_code", "holder_name"} {
		_, committed := l.Commitments[name]
		f.add(model.CodeMissingField, l.HolderKind != "001" && !committed)
	}
	r.set(l)
	r.header.From, r.header.Until = l.ValidFrom, l.ValidUntil
}

// mark is what there is to say of a holder's kind and of a licence that was taken over unchecked.
func (p *plain) mark(f faults, v *model.Licence) {
	if p.level < 2 {
		f.add(model.CodeUnknownField, v.Legacy != "")
		f.add(model.CodeBadValue, v.HolderKind != "001" && v.HolderKind != "111")
	}
	f.add(model.CodeConfidentialField, v.HolderKind != "001" && v.Legacy != "" && v.Legacy != "confidential")
	f.add(model.CodeBadValue, v.HolderKind == "001" && (v.HolderCode == "") == (v.Legacy == "")) // both: the mark is none
	f.add(model.CodeMissingField, v.HolderKind == "001" && v.HolderCode == "" && v.Legacy == "")
}

func (p *plain) permitted(f faults, rights []model.Region, r model.Region) {
	f.add(model.CodeTypeNotPermitted, len(rights) == 0)
	f.add(model.CodeRegionNotPermitted, len(rights) > 0 && !insideAny(r, rights))
}

func (p *plain) issue(f faults, actor *model.Agency, day model.Date, b *model.IssueBody, next *plainRecord) {
	v := &b.Value
	next.setLicence(f, v)
	p.mark(f, v)
	f.add(model.CodeIdentifierVersion, v.Identifier.Parts().Version != 1)
	if actor == nil {
		return
	}
	t := p.face(f, actor, day, v)
	if b.Under == "" {
		p.permitted(f, p.rights(t, actor.ID, day), v.Region)
		f.add(model.CodeBadValue, v.Issuer != actor.USCC)
		return
	}
	r := p.records[model.KindDelegation][b.Under]
	f.add(model.CodeDelegationUnknown, r == nil)
	if r == nil {
		return
	}
	d := r.value.(*model.Delegation)
	f.add(model.CodeDelegationNotValid, r.header.State == "removed" || d.To != actor.ID || d.Type != v.Type ||
		day < d.Window.From || (d.Window.Until != "" && day > d.Window.Until))
	from := p.standing(f, p.successor(d.From, day))
	if from == nil {
		return
	}
	rights := p.rights(t, from.ID, day)
	f.add(model.CodeDelegationNotValid, p.member(from.Msp) == nil || len(rights) == 0)
	f.add(model.CodeRegionNotPermitted, !inside(v.Region, d.Region) || !insideAny(v.Region, rights))
	f.add(model.CodeBadValue, v.Issuer != actor.USCC && v.Issuer != from.USCC)
}

// face holds a licence against its type and its signature's key against the registry.
func (p *plain) face(f faults, actor *model.Agency, day model.Date, v *model.Licence) *model.LicenceType {
	f.add(model.CodeBadDate, v.IssuedOn > day)
	f.add(model.CodeKeyUnknown, !slices.ContainsFunc(actor.Keys, func(k model.Key) bool {
		return k.ID == v.Signature.Key && k.Alg == v.Signature.Alg && !k.Retired
	}))
	t := p.licenceType(v.Type)
	f.add(model.CodeTypeUnknown, t == nil)
	if t == nil {
		return nil
	}
	f.add(model.CodeHolderNotPermitted, !slices.Contains(t.HolderKinds, v.HolderKind))
	for name, x := range v.Face {
		d, ok := t.Face[name]
		f.add(model.CodeUndeclaredField, !ok)
		f.add(model.CodeConfidentialField, ok && d.Visibility == "confidential")
		s, isText := x.(string)
		f.add(model.CodeWrongType, ok && d.Type == "string" && !isText)
		f.add(model.CodeTooLong, ok && isText && d.MaxLength > 0 && len([]rune(s)) > d.MaxLength)
		f.add(model.CodeBadValue, ok && isText && len(d.Enum) > 0 && !slices.Contains(d.Enum, s))
	}
	for name := range v.Commitments {
		d, ok := t.Face[name]
		switch name {
		case "holder_code", "holder_name":
			f.add(model.CodeBadValue, v.HolderKind == "001")
		case "file":
		default:
			f.add(model.CodeUndeclaredField, !ok)
			f.add(model.CodeBadValue, ok && d.Visibility == "public")
		}
	}
	for name, d := range t.Face {
		_, public := v.Face[name]
		_, committed := v.Commitments[name]
		f.add(model.CodeMissingField, d.Required && !public && !committed)
	}
	return t
}

func (p *plain) amend(f faults, actor *model.Agency, day model.Date, as model.Type, b *model.AmendBody, was, next *plainRecord) {
	next.setLicence(f, &b.Value)
	p.mark(f, &b.Value)
	f.add(model.CodeValueMismatch, was == nil || digest(b.Previous) != was.header.Value)
	x, y := b.Previous.Identifier.Parts(), b.Value.Identifier.Parts()
	f.add(model.CodeIdentifierVersion, y.Version != x.Version+1 || y.Serial != x.Serial || y.Type != x.Type || y.Issuer != x.Issuer)
	f.add(model.CodeBadValue, b.Value.HolderKind != b.Previous.HolderKind)
	righted := b.Value.Legacy == "" && b.How == "correct" && (b.Value.HolderKind == "001" || b.Value.Commitments["holder_code"] != b.Previous.Commitments["holder_code"])
	f.add(model.CodeBadValue, b.Value.Legacy != b.Previous.Legacy && !righted)
	if as == model.LicenceRenew {
		f.add(model.CodeBadValue, b.How != "" || b.Previous.ValidUntil == "")
		f.add(model.CodeBadDate, b.Value.ValidUntil != "" && b.Value.ValidUntil <= b.Previous.ValidUntil)
	} else {
		f.add(model.CodeBadValue, b.How != "correct" && b.How != "change")
	}
	if actor == nil {
		return
	}
	t := p.face(f, actor, day, &b.Value)
	if !inside(b.Value.Region, b.Previous.Region) {
		p.permitted(f, p.rights(t, actor.ID, day), b.Value.Region)
	}
}

// content is the digest that approvals name.
func content(b *model.ProposeBody) model.Digest {
	return sha256.Sum256(fmt.Appendf(nil, `{"action":%q,"kind":%q,"record":%q,"value":%s,"version":%d}`, b.Action, b.Kind, b.Record, b.Value, b.Version))
}

func (p *plain) admissible(f faults, b *model.ProposeBody) {
	r := p.records[b.Kind][b.Record]
	var h model.Header
	if r != nil {
		h = r.header
	}
	f.add(model.CodeVersionConflict, b.Version != h.Version+1)
	_, allowed := states[b.Action][h.State]
	f.add(model.CodeTransition, !allowed)
	if b.Action == model.Remove {
		if r != nil {
			raw, _ := model.Canonical(r.value)
			f.add(model.CodeValueMismatch, !bytes.Equal(raw, b.Value))
		}
		f.add(model.CodeForbidden, b.Kind == model.KindOrganisation && p.members() < 2)
		return
	}
	switch b.Kind {
	case model.KindAgency:
		a := decoded[model.Agency](b.Value)
		f.add(model.CodeNotActingFor, p.member(a.Msp) == nil)
		for id, n := a.Parent, 0; id != ""; n++ {
			if id == a.ID || n == 16 {
				f.add(model.CodeBadValue, true)
				break
			}
			up := p.standing(f, id)
			if up == nil {
				break
			}
			id = up.Parent
		}
		if r == nil {
			break
		}
		for _, k := range a.Keys {
			for _, old := range r.value.(*model.Agency).Keys {
				f.add(model.CodeBadValue, k.ID == old.ID && (k.Public != old.Public || k.Alg != old.Alg || old.Retired && !k.Retired))
			}
		}
	case model.KindLicenceType:
		for id := range decoded[model.LicenceType](b.Value).Issuers {
			p.standing(f, id)
		}
	case model.KindSuccession:
		s := decoded[model.Succession](b.Value)
		from, _ := p.agency(s.From) // standing or removed
		f.add(model.CodeAgencyUnknown, from == nil)
		p.standing(f, s.To)
		for id, n := s.To, 0; n < 100; n++ {
			if id == s.From {
				f.add(model.CodeBadValue, true)
				break
			}
			r := p.records[model.KindSuccession][model.RecordID(id)]
			if r == nil || r.header.State != "active" {
				break
			}
			id = r.value.(*model.Succession).To
		}
	case model.KindPolicy:
		level := decoded[model.Policy](b.Value).Level
		f.add(model.CodeLevelUnsupported, level > 2)
		f.add(model.CodeBadValue, level < r.value.(*model.Policy).Level)
	}
}

func decoded[T any](raw []byte) *T {
	v := new(T)
	if err := json.Unmarshal(raw, v); err != nil {
		panic(err)
	}
	return v
}

// enough counts the approvals of organisations that are members now.
func (p *plain) enough(x *model.Proposal) bool {
	n := 0
	for _, a := range x.Approvals {
		if p.member(a.Msp) != nil {
			n++
		}
	}
	k := p.records[model.KindPolicy]["policy"].value.(*model.Policy).Approvals
	if k == 0 || k > p.members() {
		k = p.members()/2 + 1
	}
	return n >= k
}

func (p *plain) approve(f faults, msp model.MSPID, agency model.AgencyID, b *model.ApproveBody, was, next *plainRecord) {
	f.add(model.CodeRegistryChanged, b.Registry != p.registry)
	if was == nil {
		f.add(model.CodeProposalUnknown, true)
		return
	}
	x := *was.value.(*model.Proposal)
	f.add(model.CodeContentMismatch, b.Content != x.Content)
	f.add(model.CodeAlreadyApproved, slices.ContainsFunc(x.Approvals, func(a model.Approval) bool { return a.Msp == msp }))
	x.Approvals = append(slices.Clone(x.Approvals), model.Approval{Agency: agency, Msp: msp, Registry: b.Registry})
	next.header.Owner = was.header.Owner
	next.set(&x)
	if p.enough(&x) {
		next.header.State = "approved"
	}
}

func (p *plain) enact(f faults, op model.Operation, b *model.EnactBody, next *plainRecord) {
	r := p.records[model.KindProposal][b.Proposal]
	f.add(model.CodeProposalUnknown, r == nil)
	if r == nil {
		return
	}
	x := r.value.(*model.Proposal)
	f.add(model.CodeApprovalsMissing, r.header.State != "approved" || !p.enough(x))
	f.add(model.CodeContentMismatch, x.Action != op.Type || x.Kind != op.Kind || x.Record != op.Record || x.Version != op.Version || !bytes.Equal(x.Value, b.Value))
	p.admissible(f, &model.ProposeBody{Action: x.Action, Kind: x.Kind, Record: x.Record, Version: x.Version, Value: x.Value})
	next.header.Owner = ""
	switch op.Kind {
	case model.KindOrganisation:
		next.set(decoded[model.Organisation](b.Value))
	case model.KindAgency:
		next.set(decoded[model.Agency](b.Value))
		next.header.Owner = model.AgencyID(op.Record)
	case model.KindLicenceType:
		next.set(decoded[model.LicenceType](b.Value))
	case model.KindSuccession:
		next.set(decoded[model.Succession](b.Value))
	case model.KindPolicy:
		next.set(decoded[model.Policy](b.Value))
	}
}

// self is an agency's change of its own record.
func (p *plain) self(f faults, op model.Operation, was, next *plainRecord, change func(*model.Agency)) {
	f.add(model.CodeNotOwner, string(op.Record) != string(op.Agency))
	if was == nil {
		f.add(model.CodeAgencyUnknown, true)
		return
	}
	a := *was.value.(*model.Agency)
	a.Keys = slices.Clone(a.Keys)
	change(&a)
	next.set(&a)
}

func rotate(f faults, a *model.Agency, b *model.RotateBody) {
	old := -1
	for i, k := range a.Keys {
		f.add(model.CodeBadValue, k.ID == b.New.ID)
		if k.ID == b.Retire && !k.Retired {
			old = i
		}
	}
	f.add(model.CodeTooMany, len(a.Keys) >= 16)
	if old < 0 {
		f.add(model.CodeKeyUnknown, true)
		return
	}
	f.add(model.CodeSignatureInvalid, b.Proof != sign(a.Keys[old], model.RotationBytes(a.ID, b.Retire, b.New)))
	a.Keys[old].Retired = true
	a.Keys = append(a.Keys, b.New)
}

// logRecord names a log by its node and, since nodes of several organisations may have one id, by 12 bytes of a hash of both.
func logRecord(msp model.MSPID, node model.NodeID) model.RecordID {
	return model.RecordID(fmt.Sprintf("%s-%x", node, sha256.Sum256(fmt.Appendf(nil, "%s\n%s", msp, node)))[:len(node)+1+24])
}

// anchor is a node's word on its access log: its own log, no day ahead, nothing taken back.
func (p *plain) anchor(f faults, actor *model.Agency, msp model.MSPID, cn string, op model.Operation, v model.AccessLog, was, next *plainRecord) {
	f.add(model.CodeBadID, op.Record != logRecord(v.Msp, v.Node))
	f.add(model.CodeNotActingFor, actor != nil && (v.Node != actor.Node || v.Msp != msp || cn != string(v.Node)))
	f.add(model.CodeBadDate, v.Until > op.Time.Date())
	if was != nil {
		b := was.value.(*model.AccessLog)
		f.add(model.CodeBadDate, v.From <= b.Until)
		if v.Start == b.Start {
			f.add(model.CodeValueMismatch, v.Count < b.Count || v.Count == b.Count && v.Head != b.Head)
		}
	}
	next.header.Owner = op.Agency
	next.set(&v)
}
