package e2e

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/fabric"
)

// bothLedgersAgree: Fabric is the oracle. Random groups of operations are endorsed at one height and ordered alike on
// both ledgers: both give the same answers and validation codes, come to the same state at the same versions, and every
// node of both comes to the same leaves. At the end one operation is swapped on one side, and the comparison tells.
//
// It needs both ledgers to itself, from their first block on. ZL_SEED repeats a run.
func bothLedgersAgree(t *testing.T, c *consortium) {
	seed := rand.Uint64()
	if v := os.Getenv("ZL_SEED"); v != "" {
		var err error
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatalf("ZL_SEED: %v", err)
		}
	}
	t.Logf("repeat with ZL_SEED=%d", seed)
	a := newAgreement(t, c, seed)
	groups := 48
	if soak() {
		groups *= 10
	}
	began := time.Now()
	for i := range groups {
		a.group(a.draw.group(), nil)
		if len(a.differ) > 0 {
			t.Fatalf("after group %d of seed %d:\n%s", i, seed, a.report())
		}
	}
	a.compare()
	if len(a.differ) > 0 {
		t.Fatalf("seed %d:\n%s", seed, a.report())
	}
	t.Logf("%d groups in %v: %d transactions %v, %d operations accepted, %d refused %v, %d calls failed alike; %d keys, %d leaves at eight nodes",
		groups, time.Since(began).Round(time.Millisecond), a.sent, a.codes, a.accepted, a.refused, a.reasons, a.failed, a.keys, a.leaves)
	for _, code := range []peer.TxValidationCode{peer.TxValidationCode_VALID, peer.TxValidationCode_MVCC_READ_CONFLICT, peer.TxValidationCode_DUPLICATE_TXID} {
		if a.codes[code] == 0 && (code != peer.TxValidationCode_DUPLICATE_TXID || !a.bft()) {
			t.Errorf("no transaction became %v: the groups show little", code)
		}
	}
	if a.refused == 0 || a.failed == 0 {
		t.Error("nothing was refused")
	}

	// The comparison itself: one operation of the embedded ledger's says something else.
	tx := &drawnTx{by: "beijing", function: model.FunctionApply}
	a.draw.sound = true
	a.draw.issue(tx, "bj-scjg")
	a.group([]*drawnTx{tx}, func(ops []model.Operation) {
		ops[0].Body = bytes.Replace(ops[0].Body, []byte("有限公司"), []byte("股份公司"), 1)
	})
	a.compare()
	if len(a.differ) == 0 {
		t.Error("an operation swapped on one side is not noticed")
	}
	t.Logf("with one operation swapped on one side: %d differences, the first: %.200s", len(a.differ), append(a.differ, "none")[0])
}

func (a *agreement) bft() bool { return a.fabric.c.fabric.Spec().Consensus == fabric.BFT }

// agreement compares two ledgers.
type agreement struct {
	t                testing.TB
	draw             *draw
	fabric, embedded *side
	differ           []string

	sent, accepted, refused, failed, keys, leaves int
	codes                                         map[peer.TxValidationCode]int
	reasons                                       map[model.Code]int
}

func newAgreement(t *testing.T, c *consortium, seed uint64) *agreement {
	t.Helper()
	genesis := mustRead(t, c.fabric.GenesisFile())
	digest := c.fabric.Spec().GenesisDigest
	e := newConsortium(t)
	edit(t, filepath.Join(e.ledger.service, "ledger.yaml"), func(m map[string]any) { m["genesis_digest"] = digest })
	for _, n := range e.nodes {
		n.configure(func(m map[string]any) { m["genesis_digest"] = digest })
		replace(t, map[string][]byte{filepath.Join(n.dir, "genesis.json"): genesis})
	}
	e.start(memberNames...)
	a := &agreement{t: t, draw: newDraw(t, seed, genesis), fabric: newSide(t, c), embedded: newSide(t, e), codes: map[peer.TxValidationCode]int{}, reasons: map[model.Code]int{}}
	// Every node tries to write the genesis document; one comes first.
	for _, s := range []*side{a.fabric, a.embedded} {
		eventually(t, time.Minute, "the ledger is initialised", func() bool { return len(s.ordinals()) == 1 })
	}
	return a
}

func (a *agreement) note(format string, args ...any) {
	a.differ = append(a.differ, fmt.Sprintf(format, args...))
}

func (a *agreement) report() string {
	return fmt.Sprintf("%d differences: %q", len(a.differ), a.differ[:min(len(a.differ), 10)])
}

// endorsed is what both ledgers made of one drawn transaction.
type endorsed struct {
	from             *drawnTx
	fabric, embedded *client.Transaction // nil where the call failed
}

// group endorses transactions on both ledgers at one height each, orders them as the embedded ledger has taken them, and
// compares answers and codes. swap changes the embedded ledger's operations.
func (a *agreement) group(drawn []*drawnTx, swap func([]model.Operation)) {
	a.t.Helper()
	a.fabric.level()
	stamp(drawn)
	made := make([]endorsed, len(drawn))
	errs := make([]error, len(drawn))
	codes := make([][2]model.Code, len(drawn))
	var wg sync.WaitGroup
	for i, d := range drawn {
		args := d.args()
		other := args
		if swap != nil {
			ops := slices.Clone(d.ops)
			swap(ops)
			other = (&drawnTx{ops: ops, packed: d.packed}).args()
		}
		made[i].from = d
		wg.Go(func() { made[i].fabric, codes[i][0], errs[i] = a.fabric.endorse(d.by, d.function, args) })
		wg.Go(func() {
			var err error
			if made[i].embedded, codes[i][1], err = a.embedded.endorse(d.by, d.function, other); err != nil {
				a.t.Errorf("the embedded ledger endorses %s: %v", d.what, err)
			}
		})
	}
	wg.Wait()
	var group []endorsed
	for i := range made {
		if errs[i] != nil {
			a.t.Fatalf("Fabric endorses %s: %v", drawn[i].what, errs[i])
		}
		if codes[i][0] != codes[i][1] {
			a.note("%s: Fabric fails with %q, the embedded ledger with %q", drawn[i].what, codes[i][0], codes[i][1])
			continue
		}
		if made[i].fabric == nil || made[i].embedded == nil {
			a.failed++
			continue
		}
		if x, y := made[i].fabric.Result(), made[i].embedded.Result(); !bytes.Equal(x, y) {
			a.note("%s: Fabric answers %s, the embedded ledger %s", drawn[i].what, x, y)
		}
		group = append(group, made[i])
	}
	a.order(group)
}

// order has the group ordered on the embedded ledger, all at once so that it cuts blocks of several, and in the order
// that came of it on Fabric.
func (a *agreement) order(group []endorsed) {
	a.t.Helper()
	if len(group) == 0 {
		return
	}
	before, mark := a.embedded.count(), a.fabric.count()
	byID := map[string]endorsed{}
	var wg sync.WaitGroup
	for _, e := range group {
		byID[e.embedded.TransactionID()] = e
		wg.Go(func() {
			if err := a.embedded.order(e.embedded, e.from.by); err != nil {
				a.t.Errorf("the embedded ledger orders %s: %v", e.from.what, err)
			}
		})
	}
	wg.Wait()
	there := a.embedded.await(before, len(group))
	for _, tx := range there {
		e := byID[tx.id]
		if err := a.fabric.order(e.fabric, e.from.by); err != nil {
			a.t.Fatalf("Fabric orders %s: %v", e.from.what, err)
		}
	}
	here := a.fabric.await(mark, len(there))
	a.sent += len(here)
	for i, tx := range here {
		a.codes[tx.code]++
		e := byID[there[i].id]
		if tx.id != e.fabric.TransactionID() {
			a.t.Fatalf("Fabric ordered %s in another place", e.from.what)
		}
		if tx.code != there[i].code {
			a.note("%s: %v on Fabric, %v on the embedded ledger", e.from.what, tx.code, there[i].code)
		}
		a.learn(e, tx.code)
	}
	if a.draw.chance(4) {
		a.twice(byID[there[0].id])
	}
}

// twice sends what was ordered again: the embedded ledger and BFT orderers turn away a transaction that they have had,
// Raft orders it and the peers call it a duplicate.
func (a *agreement) twice(e endorsed) {
	a.t.Helper()
	if err := a.embedded.order(e.embedded, e.from.by); err == nil {
		a.note("the embedded ledger takes %s twice", e.from.what)
	}
	mark := a.fabric.count()
	err := a.fabric.order(e.fabric, e.from.by)
	if a.bft() {
		if err == nil {
			a.note("BFT orderers take %s twice", e.from.what)
		}
		return
	}
	if err != nil {
		a.t.Fatalf("Fabric orders %s again: %v", e.from.what, err)
	}
	tx := a.fabric.await(mark, 1)[0]
	a.sent++
	a.codes[tx.code]++
	if tx.code != peer.TxValidationCode_DUPLICATE_TXID {
		a.note("%s sent twice: %v", e.from.what, tx.code)
	}
}

// learn tells the draw what became of a transaction.
func (a *agreement) learn(e endorsed, code peer.TxValidationCode) {
	var r model.Response
	if err := json.Unmarshal(e.fabric.Result(), &r); err != nil {
		a.t.Fatalf("%s: %v in %q", e.from.what, err, e.fabric.Result())
	}
	a.refused += len(r.Refused)
	for _, x := range r.Refused {
		a.reasons[x.Code]++
	}
	if code != peer.TxValidationCode_VALID || len(r.Refused) > 0 {
		return
	}
	a.accepted += len(e.from.then)
	for _, then := range e.from.then {
		then()
	}
}

// compare holds state, versions and logs against one another.
func (a *agreement) compare() {
	a.t.Helper()
	want := a.embedded.state("")
	a.keys = len(want)
	a.fabric.level()
	for _, p := range a.fabric.c.fabric.Peers() {
		got := a.fabric.state(p.Org)
		for _, key := range slices.Sorted(maps.Keys(want)) {
			if x, y := got[key], want[key]; x != y {
				a.note("%s: key %q is %s of transaction %d, the embedded ledger has %s of transaction %d", p.Name, key, short(x.value), x.ordinal, short(y.value), y.ordinal)
			}
		}
		for key := range got {
			if _, ok := want[key]; !ok {
				a.note("%s: key %q is not on the embedded ledger", p.Name, key)
			}
		}
	}
	first := a.fabric.c.nodes["beijing"]
	a.fabric.c.applied(a.fabric)
	a.embedded.c.applied(a.embedded)
	log := first.log()
	a.leaves = len(log)
	for _, s := range []*side{a.fabric, a.embedded} {
		for _, name := range memberNames {
			other := s.c.nodes[name].log()
			if len(other) != len(log) {
				a.note("%s has %d leaves, %s on Fabric %d", name, len(other), first.name, len(log))
			}
			for i := range min(len(other), len(log)) {
				if other[i].Leaf != log[i].Leaf || other[i].Operation != log[i].Operation {
					a.note("position %d: %s has leaf %s, %s on Fabric %s", i, name, other[i].Leaf, first.name, log[i].Leaf)
				}
			}
		}
	}
}

// applied waits until all nodes have applied every block with a transaction of the contract.
func (c *consortium) applied(s *side) {
	s.mu.Lock()
	height := s.seen[len(s.seen)-1].block + 1
	s.mu.Unlock()
	for _, name := range memberNames {
		n := c.nodes[name]
		eventually(c.t, time.Minute, fmt.Sprintf("%s has %d blocks", name, height), func() bool { return n.at().Height >= height })
	}
}

func short(s string) string {
	if len(s) > 60 {
		s = s[:60]
	}
	return hex.EncodeToString([]byte(s))
}
