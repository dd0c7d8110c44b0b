package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/fabric"
	"github.com/zhenglian/zhenglian/sdk"
)

// move is a pilot and the network that it moves to.
type move struct {
	*consortium
	t       *testing.T
	net     *fabric.Network
	end     planned
	asked   []asked
	log     []sdk.Event
	issued  []model.RecordID
	said    map[string][]model.Verdict // by node
	receipt map[model.OpID]model.Outcome
	files   map[string][]byte // of every node, that must stay
}

// planned is what `migrate plan` says.
type planned struct {
	GenesisDigest string `json:"genesis_digest"`
	ImportFrom    string `json:"import_from"`
	Blocks        uint64 `json:"blocks"`
	LastBlock     string `json:"last_block"`
	Position      uint64 `json:"position"`
	Chain         string `json:"chain"`
}

// asked is a request under an idempotency key, with its answer.
type asked struct {
	node     string
	key      string
	body     []byte
	outcomes []model.Outcome
}

// newMove tells the demo's story and starts what it leaves.
func newMove(t *testing.T) *move {
	t.Helper()
	c := &consortium{t: t, dir: filepath.Join(t.TempDir(), "pilot"), nodes: map[string]*node{}}
	base, err := takePort(0, 1, 2, 3, 1000, 1001, 1002, 1003)
	if err != nil {
		t.Fatal(err)
	}
	if status, out, errOut := command(t, "demo", "--exit", "--dir", c.dir, "--base-port", strconv.Itoa(base), "--lang", "en"); status != 0 {
		t.Fatalf("the demo ended with %d:\n%s%s", status, out, errOut)
	}
	var d description
	if err := json.Unmarshal(mustRead(t, filepath.Join(c.dir, "demo.json")), &d); err != nil {
		t.Fatal(err)
	}
	c.ledger = &ledger{t: t, dir: filepath.Join(c.dir, "ledger"), service: filepath.Join(c.dir, "ledger-service"), address: free(t)}
	edit(t, filepath.Join(c.ledger.service, "ledger.yaml"), func(m map[string]any) { m["listen"] = c.ledger.address })
	for i, described := range d.Nodes {
		n := newNode(t, described.Name, homes[described.Name], filepath.Join(c.dir, "nodes", described.Name),
			fmt.Sprintf("127.0.0.1:%d", base+i), fmt.Sprintf("127.0.0.1:%d", base+1000+i), described.Keys)
		n.configure(func(m map[string]any) { dial(m, c.ledger.address) })
		c.nodes[n.name] = n
	}
	c.start(memberNames...)
	return &move{consortium: c, t: t, said: map[string][]model.Verdict{}, receipt: map[model.OpID]model.Outcome{}, files: map[string][]byte{}}
}

func (m *move) as(node, role string) *sdk.Client {
	return &sdk.Client{BaseURL: m.nodes[node].url, Key: m.nodes[node].keys[role]}
}

// size is how many licences are issued beside the story's.
func (m *move) size() int {
	if n, err := strconv.Atoi(os.Getenv("ZL_MIGRATE")); err == nil {
		return n
	}
	return 3000
}

// fill writes what a pilot has: licences in groups, decisions and endings, changes of the registry by approval, a new
// signing key, a delegation's end, a party, and requests that will be repeated.
func (m *move) fill() {
	t := m.t
	t.Helper()
	must := func(o model.Outcome, err error) model.Outcome {
		t.Helper()
		if o, err = agreed(t.Context(), m.nodes, o, err); err != nil || o.Status != model.Committed {
			t.Fatalf("%v %+v", err, o)
		}
		return o
	}
	ctx := t.Context()
	b := m.book()
	b.shared = true
	var stops []func()
	for _, name := range memberNames[:3] {
		stops = append(stops, b.writers(m.nodes[name], 2))
	}
	stop := sync.OnceFunc(func() {
		for _, stop := range stops {
			stop()
		}
	})
	const group = 200 // as many as one person may send at once
	for i := range (m.size() + group - 1) / group {
		if i == 12 {
			stop()
		}
		name := memberNames[i%3]
		n := m.nodes[name]
		var drafts []model.Draft
		for j := range group {
			number := fmt.Sprintf("pilot-%d-%d", i, j)
			drafts = append(drafts, issueDraft(t, n.agency, number, 1000+i*group+j))
		}
		var outcomes []model.Outcome
		a := asked{node: name, key: fmt.Sprintf("pilot-%d", i), body: encodeDrafts(t, drafts...)}
		ans, err := n.post("/v1/operations", a.body, "Idempotency-Key", a.key)
		n.decode(ans, err, &outcomes)
		if a.outcomes = outcomes; i < 4 {
			m.asked = append(m.asked, a)
		}
		if i == 0 {
			act := sdk.LicenceAct{Effective: "2026-02-03", Reason: "inspection", Decision: model.Decision{Number: "京市监〔2026〕9号", Date: "2026-02-03"}}
			for j, do := range []model.Type{model.LicenceCancel, model.LicenceRevoke, model.LicenceSuspend, model.LicenceDormant} {
				must(m.as(name, "drafter").Act(ctx, outcomes[j].Record, do, act, sdk.Write{}))
			}
			must(m.as(name, "drafter").Act(ctx, outcomes[2].Record, model.LicenceResume, act, sdk.Write{}))
		}
	}
	stop()
	must(m.as("beijing", "security-admin").RotateKey(ctx, "bj-scjg", sdk.NewKey{}, sdk.Write{}))
	uscc, err := model.InventUSCC("91120116X", 77)
	if err != nil {
		t.Fatal(err)
	}
	must(m.as("tianjin", "drafter").HostParty(ctx, sdk.NewParty{Value: model.Party{Host: "tj-scjg", NameZh: "天津样例货运代理有限公司", Trades: []string{"broker"}, USCC: uscc}}, sdk.Write{}))
	for v, err := range m.as("beijing", "approver").Entries(ctx, model.KindDelegation) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(string(v.ID), "bj-scjg.") {
			must(m.as("beijing", "drafter").EndDelegation(ctx, v.ID, sdk.RecordAct{}, sdk.Write{}))
			break
		}
	}
	m.decide(ctx, must)
	m.log = b.settle(m.nodes["customs"])
	m.drained(memberNames...)
}

// decide changes the policy by approval of the organisations.
func (m *move) decide(ctx context.Context, must func(model.Outcome, error) model.Outcome) {
	t := m.t
	t.Helper()
	o := must(m.as("beijing", "drafter").Propose(ctx, sdk.NewProposal{
		Action: model.Change, Kind: model.KindPolicy, Record: model.PolicyID, Value: model.RawValue(`{"approvals":3,"level":2}`),
	}, sdk.Write{}))
	for _, name := range memberNames[1:] {
		c := m.as(name, "drafter")
		var act sdk.ProposalAct
		eventually(t, 20*time.Second, name+" sees the proposal", func() bool {
			r, err := c.Entry(ctx, model.KindProposal, o.Record)
			if err == nil {
				act, err = sdk.Seen(r)
			}
			return err == nil
		})
		must(c.Approve(ctx, o.Record, act, sdk.Write{}))
	}
	eventually(t, 20*time.Second, "the proposal is carried out", func() bool {
		out, err := m.as("beijing", "drafter").Enact(ctx, o.Record, sdk.ProposalAct{}, sdk.Write{})
		out, err = agreed(ctx, m.nodes, out, err)
		return err == nil && out.Status == model.Committed
	})
}

// note keeps what every node answers, and the files that must stay.
func (m *move) note() {
	m.t.Helper()
	for _, e := range m.log {
		if e.Type == model.LicenceIssue {
			m.issued = append(m.issued, e.Record)
		}
	}
	for _, name := range memberNames {
		m.said[name] = m.verdicts(name)
		for _, file := range []string{"api-keys.json", "genesis.json"} {
			m.files[name+"/"+file] = mustRead(m.t, filepath.Join(m.nodes[name].dir, file))
		}
	}
	for i := 0; i < len(m.log); i += 1 + len(m.log)/200 {
		id := m.log[i].Operation
		o, err := m.as("beijing", "auditor").Operation(background(m.t), id)
		if err != nil {
			m.t.Fatal(err)
		}
		m.receipt[id] = elsewhere(o)
	}
	words := map[string]int{}
	for _, v := range m.said["customs"] {
		words[string(v.Verdict)+":"+string(v.Reason)]++
	}
	m.t.Logf("the pilot: %d leaves, %d licences, verdicts %v", len(m.log), len(m.issued), words)
}

// verdicts asks about every licence that was ever issued, without what says when and where it was asked.
func (m *move) verdicts(name string) (out []model.Verdict) {
	m.t.Helper()
	for page := range slices.Chunk(m.issued, model.MaxQueries) {
		queries := make([]model.Query, len(page))
		for i := range page {
			queries[i].Record = page[i]
		}
		all, err := m.as(name, "verifier").VerifyAll(background(m.t), queries)
		if err != nil {
			m.t.Fatal(err)
		}
		for _, v := range all {
			v.Height, v.AgeMS, v.Position = 0, 0, 0
			for i := range v.History {
				v.History[i].Block, v.History[i].Tx = 0, ""
			}
			out = append(out, v)
		}
	}
	return out
}

// elsewhere is an outcome without the block that it stands in.
func elsewhere(o model.Outcome) model.Outcome {
	if o.Receipt != nil {
		r := *o.Receipt
		r.Block, r.Tx = 0, ""
		o.Receipt = &r
	}
	return o
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
