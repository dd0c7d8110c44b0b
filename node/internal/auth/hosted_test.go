package auth

import (
	"slices"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

type hostsAll struct{}

func (hostsAll) Below(agency, above model.AgencyID) bool { return false }
func (hostsAll) Hosts(model.USCC) bool                   { return true }

// A hosted party's people do not search the register, whatever their role, and lose nothing else by that; an agency's of the same
// role do search.
func TestHostedPartiesDoNotSearch(t *testing.T) {
	dir := t.TempDir()
	if err := CreateDirectory(dir); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDirectory(dir, make([]byte, 32), standard(t), hostsAll{})
	if err != nil {
		t.Fatal(err)
	}
	find := func(s UserSpec) *Principal {
		t.Helper()
		made, err := d.Apply(Change{Action: AddUser, User: &s})
		if err != nil {
			t.Fatal(err)
		}
		return d.Find(made.User.ID)
	}
	for _, roles := range [][]Role{{DataOwner}, {TradeParty}, {TradeParty, DataOwner}} {
		party := find(UserSpec{Name: "甲", Party: "91110000600037341L", Roles: roles})
		agency := find(UserSpec{Name: "乙", Agency: "bj-scjg", Roles: roles})
		for _, a := range Actions {
			got, of := party.Decide(a.Name, ""), agency.Decide(a.Name, "")
			switch {
			case a.Name != Search && a.Name != SearchExport:
				if got != of {
					t.Errorf("%v × %s: %+v, an agency's %+v", roles, a.Name, got, of)
				}
			case got.Allowed || got.Policy != "hosted-parties-search-nothing" || of.Allowed != slices.Contains(roles, DataOwner):
				t.Errorf("%v × %s: %+v, an agency's %+v", roles, a.Name, got, of)
			}
		}
	}
}
