package bench

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/bench/report"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

// No two of the plain client's transactions in flight share a page, however far apart two callers drift, and the ids
// are those that an agency would come to give: all of them, each once.
func TestSerials(t *testing.T) {
	const n = 3 * spread * model.PageSize
	last := map[uint64]int{}
	seen := map[uint64]bool{}
	for i := range n {
		s := serialOf(i)
		page := s / model.PageSize
		if before, ok := last[page]; ok && i-before < 2*plainCallers {
			t.Fatalf("records %d and %d share page %d", before, i, page)
		}
		last[page] = i
		if s == 0 || seen[s] {
			t.Fatalf("serial %d of record %d", s, i)
		}
		seen[s] = true
	}
	for s := uint64(model.PageSize); s < n+model.PageSize; s++ {
		if !seen[s] {
			t.Fatalf("serial %d is left out", s)
		}
	}
}

func testPlain(t testing.TB) *plain {
	t.Helper()
	signer, err := envelope.NewSigner(envelope.ES256K)
	if err != nil {
		t.Fatal(err)
	}
	uscc, err := model.InventUSCC("11130000X", 1)
	if err != nil {
		t.Fatal(err)
	}
	return &plain{signer: signer, issuer: &model.Agency{ID: plainAgency, USCC: uscc, Region: "130000", Keys: []model.Key{{ID: "he-scjg-1", Alg: string(envelope.ES256K)}}}}
}

// The plain client writes what a node would: an operation in canonical form that passes every check of the model.
func TestPlainOperation(t *testing.T) {
	p := testPlain(t)
	ops, err := p.prepare(20)
	if err != nil {
		t.Fatal(err)
	}
	ids := map[model.OpID]bool{}
	for n, op := range ops {
		op.Time = model.TimeOf(time.Now())
		read, err := model.DecodeOperation(op.Encode())
		if err != nil {
			t.Fatal(err)
		}
		body, err := model.DecodeBody(&read)
		if err != nil {
			t.Fatal(err)
		}
		v := body.(*model.IssueBody).Value
		if err := model.Guard(read.Body, body); err != nil {
			t.Error(err)
		}
		message, err := v.SigningBytes()
		if err != nil {
			t.Fatal(err)
		}
		if len(v.Signature.Value) != 86 || len(message) < 700 {
			t.Errorf("signature %q over %d bytes", v.Signature.Value, len(message))
		}
		if _, err := model.Step(model.Header{}, &read, body); err != nil {
			t.Error(err)
		}
		if read.Record != model.NewRecordID(plainAgency, serialOf(n)) || ids[read.ID] {
			t.Errorf("record %s, operation %s", read.Record, read.ID)
		}
		ids[read.ID] = true
	}
}

func TestDrafts(t *testing.T) {
	for _, raw := range []json.RawMessage{draft(sample("BJ", 12)), act(model.LicenceSuspend, "bj-scjg.7")} {
		d := json.NewDecoder(strings.NewReader(string(raw)))
		d.DisallowUnknownFields()
		var out model.Draft
		if err := d.Decode(&out); err != nil || out.Agency != nodeAgency {
			t.Errorf("%+v %v", out, err)
		}
	}
}

func TestCommitted(t *testing.T) {
	const good = `[{"operation":"00","status":"committed","kind":"licence","record":"bj-scjg.1","version":1},{"status":"committed","record":"bj-scjg.2"}]`
	if ids, err := report.Committed([]byte(good), 2); err != nil || !slices.Equal(ids, []model.RecordID{"bj-scjg.1", "bj-scjg.2"}) {
		t.Errorf("%v %v", ids, err)
	}
	for _, bad := range []string{``, `[]`, strings.Replace(good, "committed", "pending", 1), `{"status":"committed"}`, `{"status":"committed","record":"x`} {
		if ids, err := report.Committed([]byte(bad), 2); err == nil {
			t.Errorf("%s gives %v", bad, ids)
		}
	}
}

func FuzzCommitted(f *testing.F) {
	f.Add([]byte(`[{"status":"committed","record":"bj-scjg.1"}]`), 1)
	f.Add([]byte(`"status":"committed""record":"`), 2)
	f.Fuzz(func(t *testing.T, out []byte, want int) {
		if want < 0 || want > array {
			return
		}
		if ids, err := report.Committed(out, want); err == nil && len(ids) != want {
			t.Errorf("%d records of %d", len(ids), want)
		}
	})
}

const statLine = "4711 (a) b (c)) S 1 4711 4711 0 -1 4194560 2 0 0 0 250 130 7 9 20 0 11 0 100 1 2\n"

func TestProcessorTime(t *testing.T) {
	if s, err := cpuSeconds([]byte(statLine)); err != nil || s != 3.8 {
		t.Errorf("%v %v", s, err)
	}
	for _, bad := range []string{"", "1 (x) S 1 2", "no name", strings.Replace(statLine, "250", "-1", 1)} {
		if s, err := cpuSeconds([]byte(bad)); err == nil {
			t.Errorf("%q gives %v", bad, s)
		}
	}
	names := []string{"orderer-1", "peer-beijing", "peer-hebei", "zhenglian-1-hebei", "node-hebei", self}
	a := usage{names, map[string]float64{"peer-beijing": 1, "node-hebei": 5}}
	b := usage{names, map[string]float64{"peer-beijing": 3, "peer-hebei": 2, "node-hebei": 1, self: 1}} // the node was restarted
	d := b.since(a)
	if got, want := d.perRecord(1000), "5.000 ms a record, orderer 0.000, peer 4.000, chaincode 0.000, node 0.000, bench 1.000"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if out := cpuTable(&side{records: 1000, cpu: d}, &side{records: 100, cpu: d}); !strings.Contains(out, "20.0000") || !strings.Contains(out, "zhenglian-1-hebei") {
		t.Error(out)
	}
	if raw, err := os.ReadFile("/proc/self/stat"); err == nil {
		if _, err := cpuSeconds(raw); err != nil {
			t.Error(err)
		}
	}
}

func FuzzProcessorTime(f *testing.F) {
	f.Add([]byte(statLine))
	f.Add([]byte("1 () R"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if s, err := cpuSeconds(line); err == nil && s < 0 {
			t.Errorf("%v seconds", s)
		}
	})
}

func TestWritten(t *testing.T) {
	codes := make([][]byte, common.BlockMetadataIndex_TRANSACTIONS_FILTER+1)
	codes[common.BlockMetadataIndex_TRANSACTIONS_FILTER] = []byte{byte(peer.TxValidationCode_VALID), byte(peer.TxValidationCode_MVCC_READ_CONFLICT)}
	b := &common.Block{Header: &common.BlockHeader{Number: 7}, Data: &common.BlockData{Data: [][]byte{{1}, {2}}}, Metadata: &common.BlockMetadata{Metadata: codes}}
	var w written
	w.add(b)
	w.add(&common.Block{})
	if want := (written{blocks: 2, transactions: 2, invalid: 1, bytes: proto.Size(b)}); w != want {
		t.Errorf("%+v, want %+v", w, want)
	}
}

func TestLoad(t *testing.T) {
	var mu sync.Mutex
	var seen []int
	_, latencies, err := load(t.Context(), 4, 10, func(_ context.Context, i int) error {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, i)
		return nil
	})
	slices.Sort(seen)
	if err != nil || len(latencies) != 10 || !slices.Equal(seen, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) {
		t.Errorf("%v %v", seen, err)
	}
	broken := errors.New("broken")
	if _, _, err := load(t.Context(), 4, 10, func(_ context.Context, i int) error {
		if i == 5 {
			return broken
		}
		return nil
	}); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if _, err := during(t.Context(), 2, time.Hour, func(context.Context, int, int) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	if _, err := paced(t.Context(), 2, time.Millisecond, func(context.Context) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	all, err := paced(ctx, 1, time.Microsecond, func(context.Context) error {
		if n++; n == 20 {
			cancel()
		}
		return nil
	})
	if err != nil || len(all) != 20 {
		t.Errorf("%d calls: %v", len(all), err)
	}
}

// A name that is no benchmark's is refused before anything is started.
func TestUnknownName(t *testing.T) {
	err := Run(t.Context(), Config{Only: []string{"fabric.isue"}, Log: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "fabric.issue") {
		t.Errorf("%v", err)
	}
}
