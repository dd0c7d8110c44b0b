package search

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// TestMillion builds an index of ZL_SEARCH_ROWS licences and takes pages from it. It prints; nothing is judged.
func TestMillion(t *testing.T) {
	rows, _ := strconv.Atoi(os.Getenv("ZL_SEARCH_ROWS"))
	if rows == 0 {
		t.Skip("set ZL_SEARCH_ROWS, such as 1000000")
	}
	path := t.TempDir() + "/search.db"
	log := &inventedLog{n: uint64(rows)}
	x := New(Config{Path: path, Log: log, Vault: noVault{}, Secret: make([]byte, 32)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	start := time.Now()
	go func() { defer close(done); x.Run(ctx) }()
	for x.Status().Rebuilding {
		time.Sleep(10 * time.Millisecond)
	}
	took := time.Since(start)
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("built: %v, %.0f rows/s, %d MB", took, float64(rows)/took.Seconds(), info.Size()>>20)
	for _, q := range []sdk.LicenceSearch{
		{},
		{Text: "科技"},
		{Text: "北京科技发展"},
		{Text: "第500分公司"},
		{Text: "京"},
		{States: []model.State{model.InForce}, Types: []model.TypeCode{inventedType}, Text: "样例"},
		{Regions: []model.Region{"110105"}, Text: "有限公司"},
		{HolderCode: "91110105X000000192"},
		{NumberPrefix: "BJ00001"},
		{Expiring: 30},
		{Expiring: 30, Sort: sdk.SortValidUntil},
		{ValidUntil: sdk.Days{Min: "2030-03-05"}},
		{IssuedOn: sdk.Days{Min: "2024-02-03", Max: "2024-02-10"}, Regions: []model.Region{"110000"}},
		{Types: []model.TypeCode{inventedType}, Sort: sdk.SortNumber},
		{Text: "分公司", Sort: sdk.SortHolderName},
		{States: []model.State{model.Suspended}},
	} {
		for _, count := range []bool{false, true} {
			var took []float64
			var f Found
			for range 30 {
				start := time.Now()
				var err error
				if f, err = x.Page(ctx, &Query{LicenceSearch: q, Today: "2026-11-24"}, "", 50, count); err != nil {
					t.Logf("%s: %v", q.Query().Encode(), err)
					break
				}
				took = append(took, time.Since(start).Seconds()*1000)
			}
			if len(took) == 0 {
				continue
			}
			slices.Sort(took)
			t.Logf("%6.1f ms (max %.1f)  %d rows, count %d %v  %s", took[len(took)/2], took[len(took)-1], len(f.Licences), f.Count, f.More, q.Query().Encode())
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	raw, _ := os.ReadFile("/proc/self/status")
	for _, line := range slices.Collect(linesOf(string(raw))) {
		if len(line) > 5 && (line[:5] == "VmRSS" || line[:5] == "VmHWM") {
			t.Log(line)
		}
	}
	t.Logf("heap %d MB", m.HeapAlloc>>20)
	cancel()
	<-done
}

func linesOf(s string) func(func(string) bool) {
	return func(yield func(string) bool) {
		from := 0
		for i := range s {
			if s[i] == '\n' {
				if !yield(s[from:i]) {
					return
				}
				from = i + 1
			}
		}
	}
}

const inventedType = "11100000MB0143028R001"

type noVault struct{}

func (noVault) Holder(model.OpID) (string, string, bool, error) { return "", "", false, nil }

// inventedLog is a log of n issues, each made when it is asked for.
type inventedLog struct{ n uint64 }

func (l *inventedLog) Grown() (uint64, <-chan struct{}) { return l.n, make(chan struct{}) }

func (l *inventedLog) Leaves(from uint64, limit int) ([]Leaf, error) {
	var out []Leaf
	for p := from; p < l.n && len(out) < limit; p++ {
		out = append(out, inventedLeaf(p))
	}
	return out, nil
}

var districts = []string{"110101", "110102", "110105", "110106", "110107", "110108", "110109", "110111", "110112", "120101", "120102", "130102", "130104"}

func inventedLeaf(p uint64) Leaf {
	r := rand.New(rand.NewPCG(p, 7))
	code, err := model.InventUSCC("91110105X", int(p%10_000_000))
	if err != nil {
		panic(err)
	}
	id, err := model.NewLicenceID(model.LicenceIDParts{Type: inventedType, Issuer: "11110000X000100145", Serial: fmt.Sprintf("%07d", p+1), Version: 1})
	if err != nil {
		panic(err)
	}
	han := func(n int) string {
		b := make([]rune, n)
		for i := range b {
			b[i] = rune(0x4e00 + r.IntN(3000))
		}
		return string(b)
	}
	issued := model.DateFromDays(model.Date("2016-01-01").Days() + uint32(r.IntN(3900)))
	v := model.Licence{
		Face: map[string]any{"address": "北京市朝阳区样例街道1号院1号楼"}, HolderCode: code, HolderKind: model.HolderEnterprise,
		HolderName: fmt.Sprintf("北京%s科技发展（集团）有限公司第%d分公司", han(4), r.IntN(1000)), Identifier: id, IssuedOn: issued, Issuer: "11110000X000100145",
		Number: fmt.Sprintf("BJ%010d", p), Region: model.Region(districts[r.IntN(len(districts))]), Type: inventedType, ValidFrom: issued,
		ValidUntil: model.DateFromDays(issued.Days() + uint32(365*(1+r.IntN(20)))), Signature: &model.Signature{Alg: "ES256", Key: "k1", Value: string(make64())},
	}
	body, err := model.Canonical(&model.IssueBody{Value: v})
	if err != nil {
		panic(err)
	}
	return Leaf{Position: p, State: model.InForce, Block: p / 500, Operation: model.Operation{
		Agency: "bj-scjg", Body: body, Kind: model.KindLicence, Record: model.NewRecordID("bj-scjg", p+1), Time: model.TimeOf(time.UnixMilli(1764000000000 + int64(p))),
		Type: model.LicenceIssue, Version: 1,
	}}
}

func make64() []byte {
	b := make([]byte, 86)
	for i := range b {
		b[i] = 'A'
	}
	return b
}
