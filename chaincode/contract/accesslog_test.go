package contract_test

import (
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/contract/contracttest"
	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Two organisations run nodes of one id: each anchors its own log, and neither stands in the other's way.
func TestAnchorsOfNodesOfOneID(t *testing.T) {
	g := contracttest.Genesis()
	g.Policy.Level = 2
	g.Organisations[1].Nodes = []model.NodeID{"beijing"} // TianjinMSP
	for i := range g.Agencies {
		if g.Agencies[i].Msp == "TianjinMSP" {
			g.Agencies[i].Node = "beijing"
		}
	}
	l := contracttest.NewOf(g)
	// Of each, by `printf 'TianjinMSP\nbeijing' | sha256sum`.
	own := map[model.MSPID]model.RecordID{"BeijingMSP": "beijing-0987c776fa1bae9998a89ce7", "TianjinMSP": "beijing-800051bfb6fab19e7f5663fd"}
	anchor := func(agency model.AgencyID, msp model.MSPID, record model.RecordID, version, count uint64, day model.Date) model.Operation {
		return contracttest.Op(agency, model.AnchorAccess, model.KindAccessLog, record, version, now, model.AnchorBody{Value: model.AccessLog{
			Count: count, From: day, Until: day, Head: model.Digest{byte(count)}, Start: model.Digest{31: 1}, Msp: msp, Node: "beijing",
		}})
	}
	for _, tt := range []struct {
		name string
		by   model.MSPID
		op   model.Operation
		want model.Code
	}{
		{"Tianjin's, of more entries", "TianjinMSP", anchor("tj-scjg", "TianjinMSP", own["TianjinMSP"], 1, 1000, "2026-05-30"), ""},
		{"Beijing's, of the same days", "BeijingMSP", anchor("bj-scjg", "BeijingMSP", own["BeijingMSP"], 1, 10, "2026-05-30"), ""},
		{"Beijing's next", "BeijingMSP", anchor("bj-scjg", "BeijingMSP", own["BeijingMSP"], 2, 20, "2026-05-31"), ""},
		{"Tianjin's over Beijing's", "TianjinMSP", anchor("tj-scjg", "TianjinMSP", own["BeijingMSP"], 3, 2000, "2026-06-01"), model.CodeBadID},
		{"Tianjin's in Beijing's name", "TianjinMSP", anchor("tj-scjg", "BeijingMSP", own["BeijingMSP"], 3, 2000, "2026-06-01"), model.CodeNotActingFor},
		{"under the node's id alone", "BeijingMSP", anchor("bj-scjg", "BeijingMSP", "beijing", 1, 20, "2026-06-01"), model.CodeBadID},
	} {
		_, r, err := l.SubmitAs(tt.by, "beijing", tt.op)
		var got model.Code
		if err == nil && len(r.Refused) > 0 {
			got = r.Refused[0].Code
		}
		if err != nil || got != tt.want {
			t.Errorf("%s: %q %v, want %q", tt.name, got, err, tt.want)
		}
	}
	if long := model.AccessLogID("AnOrganisationWithARatherLongNameOfSixtyFourLettersAndNoMoreThan", "a-node-whose-id-is-of-32-letters"); len(long) > 64 {
		t.Errorf("no id: %s", long)
	} else if _, err := model.ParseRecordID(string(long)); err != nil {
		t.Error(err)
	}
}
