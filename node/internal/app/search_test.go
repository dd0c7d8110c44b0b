package app_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/demo"
	"github.com/zhenglian/zhenglian/sdk"
)

// A search by issuer or owner goes by the tree of agencies as it stands in the registry now, successions and all, and so does
// whose people's names a caller sees.
func TestSearchGoesByTheTree(t *testing.T) {
	o := newOffice(t)
	o.add(auth.UserSpec{Name: "赵六", Agency: "bj-jtw", Roles: []auth.Role{auth.Drafter}, Subjects: o.subject("zhaoliu")})
	o.start()
	ctx := t.Context()
	city, office, approver := o.as(o.keys["drafter"]), o.as(o.at.Token("zhaoliu", nil)), o.as(o.keys["approver"])
	issued := map[model.RecordID]model.AgencyID{}
	for n, agency := range []model.AgencyID{"bj-scjg", "bj-dc-scjg", "bj-jtw"} {
		c := city
		if agency == "bj-jtw" {
			c = office
		}
		uscc, err := model.InventUSCC("91110105X", 500+n)
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.Issue(ctx, sdk.NewLicence{Agency: agency, Type: demo.BusinessLicence, Number: fmt.Sprint("T-", n), Holder: sdk.Holder{Code: string(uscc), Name: "样例有限公司"}}, sdk.Write{})
		if err != nil || out.Status != model.Committed {
			t.Fatal(out, err)
		}
		issued[out.Record] = agency
	}
	found := func(c *sdk.Client, q sdk.LicenceSearch) (of []model.AgencyID) {
		t.Helper()
		for l, err := range c.Search(ctx, q) {
			if err != nil {
				t.Fatalf("%+v: %v", q, err)
			}
			of = append(of, issued[l.Record])
		}
		slices.Sort(of)
		return of
	}
	person, err := city.Issue(ctx, sdk.NewLicence{Agency: "bj-dc-scjg", Type: demo.OperatorPermit, Number: "P-1", Face: map[string]any{"work_item": "叉车司机 N1", "grade": "一级"},
		Holder: sdk.Holder{Kind: model.HolderPerson, Code: "11010519491231002X", Name: "王小明"}}, sdk.Write{})
	if err != nil || person.Status != model.Committed {
		t.Fatal(person, err)
	}
	issued[person.Record] = "person"
	all := []model.AgencyID{"bj-dc-scjg", "bj-jtw", "bj-scjg"}
	o.until("the licences are found", func() bool { return len(found(city, sdk.LicenceSearch{})) == len(issued) })

	codes := map[model.AgencyID]string{}
	entry := func(id model.AgencyID) (a model.Agency) {
		t.Helper()
		v, err := city.Entry(ctx, model.KindAgency, model.RecordID(id))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(v.Record.Public, &a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, id := range all {
		codes[id] = string(entry(id).USCC)
	}
	enterprises := []model.TypeCode{demo.BusinessLicence}
	type want map[string][]model.AgencyID
	check := func(when string, cityKnows bool, trees want) {
		t.Helper()
		for c, knows := range map[*sdk.Client]bool{city: cityKnows, office: when != "as founded"} {
			if got := found(c, sdk.LicenceSearch{HolderName: "王小明"}); (len(got) == 1) != knows {
				t.Errorf("%s: a person of the district is found: %v, want %v", when, got, knows)
			}
		}
		for top, want := range trees {
			if got := found(city, sdk.LicenceSearch{Types: enterprises, Owner: model.AgencyID(top)}); !slices.Equal(got, want) {
				t.Errorf("%s: of owner %s: %v, want %v", when, top, got, want)
			}
			if got := found(city, sdk.LicenceSearch{Types: enterprises, Issuer: top}); !slices.Equal(got, want) {
				t.Errorf("%s: of issuer %s: %v, want %v", when, top, got, want)
			}
		}
		for id, code := range codes { // a code is one agency's
			if got := found(city, sdk.LicenceSearch{Types: enterprises, Issuer: code}); !slices.Equal(got, []model.AgencyID{id}) {
				t.Errorf("%s: of issuer %s: %v, want %s alone", when, code, got, id)
			}
		}
	}
	check("as founded", true, want{"bj-scjg": {"bj-dc-scjg", "bj-scjg"}, "bj-dc-scjg": {"bj-dc-scjg"}, "bj-jtw": {"bj-jtw"}, "bj-nobody": nil})

	enact := func(action model.Type, kind model.Kind, record model.RecordID, value any) {
		t.Helper()
		raw, err := model.Canonical(value)
		if err != nil {
			t.Fatal(err)
		}
		p, err := approver.Propose(ctx, sdk.NewProposal{Action: action, Kind: kind, Record: record, Value: raw}, sdk.Write{})
		if err != nil || p.Status != model.Committed {
			t.Fatal(p, err)
		}
		r, err := city.Entry(ctx, model.KindProposal, p.Record)
		if err != nil {
			t.Fatal(err)
		}
		var v model.Proposal
		if err := json.Unmarshal(r.Record.Public, &v); err != nil {
			t.Fatal(err)
		}
		if a, err := approver.Approve(ctx, p.Record, sdk.ProposalAct{Content: &v.Content, Registry: &r.At.Registry}, sdk.Write{}); err != nil || a.Status != model.Committed {
			t.Fatal(a, err)
		}
		if a, err := approver.Enact(ctx, p.Record, sdk.ProposalAct{}, sdk.Write{}); err != nil || a.Status != model.Committed {
			t.Fatal(a, err)
		}
	}

	// The district comes under another office.
	moved := entry("bj-dc-scjg")
	moved.Parent = "bj-jtw"
	enact(model.Change, model.KindAgency, "bj-dc-scjg", &moved)
	check("moved", false, want{"bj-scjg": {"bj-scjg"}, "bj-dc-scjg": {"bj-dc-scjg"}, "bj-jtw": {"bj-dc-scjg", "bj-jtw"}})

	// That office is to be succeeded by the city's regulator: not before the day.
	today := model.DateOf(time.Now())
	s := model.Succession{From: "bj-jtw", To: "bj-scjg", Effective: model.DateFromDays(today.Days() + 2)}
	enact(model.Admit, model.KindSuccession, "bj-jtw", &s)
	check("to be succeeded", false, want{"bj-scjg": {"bj-scjg"}, "bj-jtw": {"bj-dc-scjg", "bj-jtw"}})
	s.Effective = today
	enact(model.Change, model.KindSuccession, "bj-jtw", &s)
	check("succeeded", true, want{"bj-scjg": all, "bj-jtw": {"bj-dc-scjg", "bj-jtw"}, "bj-dc-scjg": {"bj-dc-scjg"}})
}
