// Package contracttest gives tests a small consortium, a state in memory, and well-formed bodies.
package contracttest

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// The licence types of the consortium.
const (
	BusinessLicence model.TypeCode = "11100000MB0143028R001" // for enterprises
	PersonalLicence model.TypeCode = "11100000MB0143028R002" // for persons: confidential holder
)

// Created is the consortium's first instant.
var Created = time.Date(2026, 1, 5, 1, 0, 0, 0, time.UTC)

// Point is a stand-in for a public key; the contract only compares key ids.
func Point(n byte) string {
	b := make([]byte, 65)
	b[0], b[64] = 4, n
	return base64.RawURLEncoding.EncodeToString(b)
}

// AgencyUSCC is an invented, valid code.
func AgencyUSCC(region model.Region, n int) model.USCC {
	u, err := model.InventUSCC("11"+string(region)+"X", n)
	if err != nil {
		panic(err)
	}
	return u
}

// EnterpriseUSCC is an invented, valid code.
func EnterpriseUSCC(n int) model.USCC {
	u, err := model.InventUSCC("91110101X", n)
	if err != nil {
		panic(err)
	}
	return u
}

// Genesis is a consortium of four organisations, six agencies and two licence types.
func Genesis() *model.GenesisDocument {
	g := &model.GenesisDocument{Channel: "jjj", Created: model.TimeOf(Created), Policy: model.Policy{Level: 1}}
	n := 0
	agency := func(msp, node, id, zh string, region model.Region, parent string, roles ...model.Role) {
		n++
		g.Agencies = append(g.Agencies, model.Agency{
			ID: model.AgencyID(id), Msp: model.MSPID(msp), Node: model.NodeID(node), NameZh: zh, NameEn: id, Region: region,
			Parent: model.AgencyID(parent), Roles: roles, USCC: AgencyUSCC(region, n),
			Keys: []model.Key{{ID: id + "-1", Alg: "ES256", Public: Point(byte(n))}},
		})
	}
	for _, o := range []struct{ msp, node, zh string }{
		{"BeijingMSP", "beijing", "北京市"}, {"TianjinMSP", "tianjin", "天津市"},
		{"HebeiMSP", "hebei", "河北省"}, {"CustomsMSP", "customs", "北京海关"},
	} {
		g.Organisations = append(g.Organisations, model.Organisation{
			Msp: model.MSPID(o.msp), NameZh: o.zh, NameEn: o.node, Nodes: []model.NodeID{model.NodeID(o.node)},
		})
	}
	agency("BeijingMSP", "beijing", "bj-scjg", "北京市市场监督管理局", "110000", "", model.RoleIssuer, model.RoleVerifier)
	agency("BeijingMSP", "beijing", "bj-dc-scjg", "北京市东城区市场监督管理局", "110101", "bj-scjg", model.RoleIssuer)
	agency("TianjinMSP", "tianjin", "tj-scjg", "天津市市场监督管理委员会", "120000", "", model.RoleIssuer, model.RoleVerifier)
	agency("HebeiMSP", "hebei", "he-scjg", "河北省市场监督管理局", "130000", "", model.RoleIssuer, model.RoleVerifier)
	agency("CustomsMSP", "customs", "bj-customs", "北京海关", "110000", "", model.RoleVerifier, model.RoleCustoms)
	issuers := map[model.AgencyID]model.Region{"bj-scjg": "110000", "tj-scjg": "120000", "he-scjg": "130000"}
	g.LicenceTypes = []model.LicenceType{
		{
			Authority: "11100000MB0143028R", Code: BusinessLicence, NameZh: "营业执照", NameEn: "Business licence",
			HolderKinds: []model.HolderKind{model.HolderEnterprise}, Issuers: issuers,
			Face: map[string]model.FaceField{
				"scope":          {Type: "string", Title: "经营范围", MaxLength: 2000, Visibility: model.Public},
				"capital":        {Type: "string", Title: "注册资本", MaxLength: 64, Visibility: model.Public},
				"representative": {Type: "string", Title: "法定代表人", MaxLength: 100, Visibility: model.Confidential},
			},
		},
		{
			Authority: "11100000MB0143028R", Code: PersonalLicence, NameZh: "个人资格证", NameEn: "Personal permit",
			HolderKinds: []model.HolderKind{model.HolderPerson}, Issuers: issuers,
			Face: map[string]model.FaceField{
				"grade": {Type: "string", Title: "等级", Enum: []string{"A", "B", "C"}, Required: true, Visibility: model.Public},
			},
		},
	}
	return g
}

// Caller is the call's creator for an agency of Genesis: its organisation and node.
func Caller(g *model.GenesisDocument, id model.AgencyID) (model.MSPID, string) {
	for _, a := range g.Agencies {
		if a.ID == id {
			return a.Msp, string(a.Node)
		}
	}
	return "", ""
}

// Licence is a business licence of the agency, signed with a stand-in.
func Licence(g *model.GenesisDocument, issuer model.AgencyID, serial int) model.Licence {
	var a model.Agency
	for _, x := range g.Agencies {
		if x.ID == issuer {
			a = x
		}
	}
	l := model.Licence{
		Face: map[string]any{"scope": "软件开发；技术服务"}, HolderCode: EnterpriseUSCC(serial), HolderKind: model.HolderEnterprise,
		HolderName: fmt.Sprintf("样例科技（北京）有限公司%d", serial), IssuedOn: "2026-01-05", Issuer: a.USCC,
		Number: fmt.Sprintf("N%08d", serial), Region: a.Region, Type: BusinessLicence, ValidFrom: "2026-01-05", ValidUntil: "2036-01-04",
		Signature: &model.Signature{Alg: "ES256", Key: string(issuer) + "-1", Value: strings.Repeat("A", 86)},
	}
	l.Identifier = Identifier(l, serial, 1)
	return l
}

// Identifier is the licence's identifier at a version.
func Identifier(l model.Licence, serial, version int) model.LicenceID {
	id, err := model.NewLicenceID(model.LicenceIDParts{Type: string(l.Type), Issuer: string(l.Issuer), Serial: fmt.Sprint(serial), Version: version})
	if err != nil {
		panic(err)
	}
	return id
}

// Op composes an operation.
func Op(agency model.AgencyID, t model.Type, kind model.Kind, record model.RecordID, version uint64, at time.Time, body any) model.Operation {
	b, err := model.Canonical(body)
	if err != nil {
		panic(err)
	}
	return model.Operation{
		Agency: agency, Body: b, ID: model.NewOpID(), Kind: kind, Record: record, Time: model.TimeOf(at), Type: t, Version: version,
	}
}

// Act is the body of an act on a licence.
func Act(effective model.Date) model.ActBody {
	return model.ActBody{Act: model.Act{Decision: model.Decision{Number: "京市监〔2026〕1号", Date: effective}, Effective: effective, Reason: "by-decision"}}
}

// State is a ledger state in memory.
type State map[string][]byte

// Get reads.
func (s State) Get(key string) ([]byte, error) { return s[key], nil }

// Clone copies.
func (s State) Clone() State { return maps.Clone(s) }

// Ledger executes calls on a state, applying their writes.
type Ledger struct {
	Contract *contract.Contract
	State    State
	Genesis  *model.GenesisDocument
	Document []byte
}

// New is an initialised ledger of Genesis.
func New() *Ledger { return NewOf(Genesis()) }

// NewOf is an initialised ledger of another document.
func NewOf(g *model.GenesisDocument) *Ledger {
	doc, err := model.Canonical(g)
	if err != nil {
		panic(err)
	}
	l := &Ledger{
		Contract: &contract.Contract{Genesis: model.DigestOf(doc), Verify: func(string, []byte, []byte, []byte) error { return nil }},
		State:    State{}, Genesis: g, Document: doc,
	}
	x, err := l.Contract.Execute(l.State, model.Call{Function: model.FunctionInit, Args: [][]byte{doc}, Msp: "BeijingMSP", CommonName: "beijing", Time: Created})
	if err != nil {
		panic(err)
	}
	l.Apply(x)
	return l
}

// Apply puts an execution's writes into the state.
func (l *Ledger) Apply(x *model.Execution) {
	for _, w := range x.Writes {
		l.State[w.Key] = w.Value
	}
}

// Submit executes operations as their agency's node at the first one's time and applies the writes.
func (l *Ledger) Submit(ops ...model.Operation) (*model.Execution, model.Response, error) {
	msp, cn := Caller(l.Genesis, ops[0].Agency)
	return l.SubmitAs(msp, cn, ops...)
}

// SubmitAs is Submit by another creator.
func (l *Ledger) SubmitAs(msp model.MSPID, cn string, ops ...model.Operation) (*model.Execution, model.Response, error) {
	args := make([][]byte, len(ops))
	for i := range ops {
		args[i] = ops[i].Encode()
	}
	var r model.Response
	x, err := l.Contract.Execute(l.State, model.Call{Function: model.FunctionApply, Args: args, Msp: msp, CommonName: cn, Time: ops[0].Time.Time()})
	if err != nil {
		return nil, r, err
	}
	if err := json.Unmarshal(x.Response, &r); err != nil {
		return nil, r, err
	}
	l.Apply(x)
	return x, r, nil
}
