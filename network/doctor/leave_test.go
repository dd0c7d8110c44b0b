package doctor

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// TestMemberLeaves has a member with an orderer leave a real network, with the runbook's own commands: its orderer
// first. The others go on writing, and the doctor complains of nothing but what the leaver still runs.
func TestMemberLeaves(t *testing.T) {
	if testing.Short() {
		t.Skip("left out by -short: a real Fabric network")
	}
	r := newRig(t, "--orgs 3")
	began := time.Now()
	blocks := marked(t, "organisation-leaves.en.md", markLast)
	if len(blocks) != 1 {
		t.Fatalf("%d blocks", len(blocks))
	}
	if out, err := r.shell("zl-network config remove-org BeijingMSP --dir " + r.dir); err == nil || !strings.Contains(string(out), "remove-orderer") {
		t.Fatalf("it left before its orderer: %v\n%s", err, out)
	}
	commands := 0
	for line := range strings.Lines(blocks[0]) {
		if !strings.HasPrefix(line, "zl-network") {
			continue
		}
		commands++
		out, err := r.shell("cd " + r.base + "\nD=out/network\n" + line)
		if err != nil {
			t.Fatalf("%s%v\n%s", line, err, out)
		}
		if strings.Contains(line, "config show") {
			if strings.Contains(string(out), "BeijingMSP") || !strings.Contains(string(out), "TianjinMSP") {
				t.Errorf("Beijing is still in the configuration, or others are not:\n%s", out)
			}
			continue
		}
		r.write(t, "tianjin")
		r.write(t, "hebei")
		r.only(t, "beijing", "orderer-1")
	}
	if commands != 3 {
		t.Errorf("%d commands", commands)
	}
	t.Logf("%v", time.Since(began).Round(time.Second))
}

// write has an organisation's node write something.
func (r *rig) write(t *testing.T, org string) {
	t.Helper()
	node := r.net.Node(org)
	c := &sdk.Client{BaseURL: node.URL, Key: node.Keys["drafter"]}
	approver := &sdk.Client{BaseURL: node.URL, Key: node.Keys["approver"]}
	name := fmt.Sprintf("X%dMSP", time.Now().UnixNano())
	value, err := json.Marshal(model.Organisation{Msp: model.MSPID(name), NameEn: "New", NameZh: "新", Nodes: []model.NodeID{"new"}})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	out, err := c.Propose(t.Context(), sdk.NewProposal{Action: model.Admit, Kind: model.KindOrganisation, Record: model.RecordID(name), Value: value}, sdk.Write{})
	if held, ok := sdk.Held(err); ok { // a proposal needs a second person
		var done sdk.DecidedDraft
		if done, err = approver.ApproveDraft(t.Context(), held.ID, held.Content, sdk.Write{}); err == nil {
			out = done.Outcomes[0]
		}
	}
	if err != nil || out.Receipt == nil {
		t.Fatalf("%s cannot write any more: %v %+v", org, err, out)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("%s waited %v", org, took)
	}
}

// only expects that the doctor finds fault with one program of an organisation, and with none of another's.
func (r *rig) only(t *testing.T, org, with string) {
	t.Helper()
	its := map[string]bool{}
	for _, p := range r.net.Processes() {
		its[p.Name] = p.Org == org
	}
	deadline := time.Now().Add(patience)
	for {
		report, status := r.doctor(t)
		found, strange := false, false
		for _, f := range report.Findings {
			found, strange = found || f.Subject == with, strange || !its[f.Subject]
		}
		if found && !strange && status == 1 {
			t.Logf("%v", report.Codes())
			return
		}
		if time.Now().After(deadline) {
			raw, _ := json.MarshalIndent(report, "", "  ")
			t.Fatalf("want faults of %s alone, with %s among them:\n%s", org, with, raw)
		}
	}
}
