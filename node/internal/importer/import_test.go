package importer

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

func mustMap(t testing.TB, name string) *Map {
	t.Helper()
	m, err := ShippedMap(name)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func newImport(m *Map, file []byte, targets []Target) *Import {
	return &Import{
		Map: m, Targets: targets, Clock: func() time.Time { return today }, Patience: 5 * time.Second, pause: time.Millisecond,
		Open: func() (File, error) { return inMemory(file), nil },
	}
}

// memory is a file in memory.
type memory struct{ *bytes.Reader }

func inMemory(b []byte) File { return memory{bytes.NewReader(b)} }
func (memory) Close() error  { return nil }

// all checks and issues with a state file.
func all(t testing.TB, im *Import, state string) (Result, error) {
	t.Helper()
	c, err := im.Check(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	j, err := OpenJournal(state, c.File, im.Map.Digest(), model.TimeOf(im.Clock()))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	return im.Issue(context.Background(), j, c)
}

func generated(t testing.TB, n int, seed uint64) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Generate(&b, n, seed); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGeneratedFileIsImportedWhole(t *testing.T) {
	l := newLedger(t)
	im := newImport(mustMap(t, "enterprises-bth"), generated(t, 3000, 1), l.targets("beijing", "tianjin", "hebei"))
	im.Fault = func(f Fault) { t.Error(f) }
	state := filepath.Join(t.TempDir(), "state")
	res, err := all(t, im, state)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Result{Rows: 3000, Issued: 3000}); res != want || l.total() != 3000 {
		t.Fatalf("%+v, %d stand", res, l.total())
	}
	// Again with the state file: nothing is sent.
	before := im.Targets[0].Node.(*fakeNode).calls
	if res, err := all(t, im, state); err != nil || res.Issued != 3000 || im.Targets[0].Node.(*fakeNode).calls != before {
		t.Fatalf("%+v, %v", res, err)
	}
	// Without it, later, against nodes that know no keys: everything is there already.
	l.now = today.Add(time.Hour)
	again := newImport(im.Map, generated(t, 3000, 1), l.targets("beijing", "tianjin", "hebei"))
	again.Clock = func() time.Time { return today.Add(time.Hour) }
	if res, err := all(t, again, state+"2"); err != nil || res != (Result{Rows: 3000, Already: 3000}) || l.total() != 3000 {
		t.Fatalf("%+v, %v, %d stand", res, err, l.total())
	}
}

func TestGeneratedHoldersAreDistinctAndValid(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 5000
	}
	seen := map[string]bool{}
	r := csv.NewReader(bytes.NewReader(generated(t, n, 7)))
	rows := 0
	for {
		rec, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if rows++; rows == 1 {
			continue
		}
		if _, err := model.ParseUSCC(rec[1]); err != nil || seen[rec[1]] || model.HoldsPersonalIdentifier(rec[1]) {
			t.Fatalf("row %d: %s: %v", rows, rec[1], err)
		}
		seen[rec[1]] = true
	}
	if rows != n+1 {
		t.Fatalf("%d rows", rows)
	}
	if !bytes.Equal(generated(t, 500, 3), generated(t, 500, 3)) || bytes.Equal(generated(t, 500, 3), generated(t, 500, 4)) {
		t.Fatal("the seed does not decide the file")
	}
}

func TestSampleIsImportedWhole(t *testing.T) {
	file, m, err := Sample()
	if err != nil {
		t.Fatal(err)
	}
	l := newLedger(t)
	im := newImport(m, file, l.targets("beijing", "tianjin", "hebei"))
	im.Fault = func(f Fault) { t.Error(f) }
	res, err := all(t, im, filepath.Join(t.TempDir(), "s"))
	if err != nil || res.Issued != res.Rows || res.Rows < 25 {
		t.Fatalf("%+v, %v", res, err)
	}
}

// shared finds a file of the test input beside the checkout.
func shared(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "shared", filepath.FromSlash(name)))
	if err != nil {
		t.Skip("needs the shared test input beside the checkout: ", name)
	}
	return raw
}

func TestRealEnterprises(t *testing.T) {
	file := shared(t, "data/enterprises/enterprises-bth.csv")
	l := newLedger(t)
	im := newImport(mustMap(t, "enterprises-bth"), file, l.targets("beijing", "tianjin", "hebei"))
	im.Fault = func(f Fault) { t.Error(f) }
	res, err := all(t, im, filepath.Join(t.TempDir(), "s"))
	if err != nil || res != (Result{Rows: 600, Issued: 600}) {
		t.Fatalf("%+v, %v", res, err)
	}
	// Names stand as the file has them, and every region code was taken, known today or not.
	rows, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows[1:] {
		v := l.numbers[r[1]]
		if v == nil || !bytes.Contains(v.Public, []byte(`"holder_name":"`+r[0]+`"`)) {
			t.Fatalf("%s: %+v", r[1], v)
		}
	}
	if n := l.issued["bj-scjg-hd"]; n != 39 {
		t.Errorf("海淀 issued %d", n)
	}
	if sample, _, err := Sample(); err != nil {
		t.Fatal(err)
	} else {
		for _, r := range rows[1:] {
			if bytes.Contains(sample, []byte(r[1])) || bytes.Contains(sample, []byte(r[0])) {
				t.Errorf("the sample has %s", r[1])
			}
		}
	}
}

// A file over three provinces and one node: the others' rows are rejected with the reason, before anything
// is written.
func TestRowsOfOtherNodesAreRejected(t *testing.T) {
	l := newLedger(t)
	file, m, err := Sample()
	if err != nil {
		t.Fatal(err)
	}
	im := newImport(m, file, l.targets("beijing"))
	faults := 0
	im.Fault = func(f Fault) {
		if faults++; f.Code != model.CodeNotActingFor || f.Column != "登记机关" {
			t.Error(f)
		}
	}
	res, err := all(t, im, filepath.Join(t.TempDir(), "s"))
	if err != nil || res.Rejected != faults || faults == 0 || res.Issued != res.Rows-faults {
		t.Fatalf("%+v, %v", res, err)
	}
	// The same with a target whose name nobody knows: the node refuses them, one request an agency.
	l = newLedger(t)
	unnamed := l.node("beijing")
	im = newImport(m, file, []Target{{"", unnamed}})
	res2, err := all(t, im, filepath.Join(t.TempDir(), "s"))
	if err != nil || res2 != res || unnamed.calls > 12 {
		t.Fatalf("%+v, %v, %d calls", res2, err, unnamed.calls)
	}
}

func TestDelegations(t *testing.T) {
	l := newLedger(t)
	for id, v := range l.entries[model.KindDelegation] {
		if bytes.Contains(v.Public, []byte(`"to":"bj-scjg-dc"`)) {
			delete(l.entries[model.KindDelegation], id)
		}
		if bytes.Contains(v.Public, []byte(`"to":"bj-scjg-xc"`)) {
			v.Public = bytes.Replace(v.Public, []byte(`"until":""`), []byte(`"until":"2021-01-01"`), 1)
			l.entries[model.KindDelegation][id] = v
		}
		if bytes.Contains(v.Public, []byte(`"to":"bj-scjg-cy"`)) {
			v.State = model.Removed
			l.entries[model.KindDelegation][id] = v
		}
	}
	file := "name,uscc,registration_date,province,district\n"
	for i, d := range []string{"东城", "西城", "朝阳", "海淀", "丰台"} {
		code, err := inventedCode("110101", i, 5)
		if err != nil {
			t.Fatal(err)
		}
		file += fmt.Sprintf("甲%d有限公司,%s,2020-01-01,北京,%s\n", i, code, d)
	}
	im := newImport(mustMap(t, "enterprises-bth"), []byte(file), l.targets("beijing"))
	got := map[int]model.Code{}
	im.Fault = func(f Fault) { got[f.Line] = f.Code }
	res, err := all(t, im, filepath.Join(t.TempDir(), "s"))
	if err != nil || res.Issued != 2 {
		t.Fatalf("%+v, %v, %v", res, err, got)
	}
	want := map[int]model.Code{2: model.CodeTypeNotPermitted, 3: model.CodeDelegationNotValid, 4: model.CodeTypeNotPermitted}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%v, want %v", got, want)
	}
}

// Interrupted at random moments, over nodes that fail before and after they have applied a request, an
// import ends with every row standing once.
func TestInterruptedImportsEndWithEveryRowOnce(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			l := newLedger(t)
			targets := l.targets("beijing", "tianjin", "hebei")
			file := generated(t, 900, seed)
			state := filepath.Join(t.TempDir(), "state")
			sent := 0
			for run := 0; ; run++ {
				ctx, cancel := context.WithCancel(context.Background())
				stopAt := r.IntN(12)
				if run > 40 {
					stopAt = 1 << 30
				}
				for _, x := range targets {
					n := x.Node.(*fakeNode)
					fr := rand.New(rand.NewPCG(seed, uint64(run)))
					fail := flaky(fr, 150)
					n.fail = func(call int, applied bool) error {
						l.mu.Lock()
						sent++
						stop := sent%13 == stopAt
						l.mu.Unlock()
						if stop {
							cancel() // killed in the middle: applied or not, the answer is lost
							return context.Canceled
						}
						return fail(call, applied)
					}
				}
				im := newImport(mustMap(t, "enterprises-bth"), file, targets)
				im.BatchRows, im.InFlight = 40, 3
				c, err := im.Check(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				j, err := OpenJournal(state, c.File, im.Map.Digest(), model.TimeOf(today))
				if err != nil {
					t.Fatal(err)
				}
				res, err := im.Issue(ctx, j, c)
				cancel()
				j.Close()
				if r.IntN(4) == 0 { // a torn last line
					raw, err := os.ReadFile(state)
					if err != nil {
						t.Fatal(err)
					}
					if i := bytes.LastIndexByte(raw[:len(raw)-1], '\n'); i > bytes.IndexByte(raw, '\n') {
						if err := os.WriteFile(state, raw[:i+1+r.IntN(len(raw)-i-1)], 0o600); err != nil {
							t.Fatal(err)
						}
						continue
					}
				}
				if err == nil {
					if res != (Result{Rows: 900, Issued: 900}) || l.total() != 900 {
						t.Fatalf("%+v, %d stand", res, l.total())
					}
					return
				}
			}
		})
	}
}

func TestNodeRejectsRows(t *testing.T) {
	l := newLedger(t)
	n := l.node("beijing")
	n.slow = 1
	n.refuse = func(d *model.Draft) *model.Error {
		if d.Agency == "bj-scjg-hd" {
			return model.E(model.CodeKeyUnknown, "value.signature")
		}
		if bytes.Contains(d.Body, []byte("丁")) {
			return model.E(model.CodeBadValue, "value.face")
		}
		return nil
	}
	n.reject = func(d *model.Draft) *model.Error {
		if bytes.Contains(d.Body, []byte("丙")) {
			return model.E(model.CodeRegionNotPermitted)
		}
		return nil
	}
	file := "name,uscc,registration_date,province,district\n"
	for i, name := range []string{"甲", "乙", "丙", "丁", "戊", "己"} {
		code, err := inventedCode("110101", i, 5)
		if err != nil {
			t.Fatal(err)
		}
		file += fmt.Sprintf("%s有限公司,%s,2020-01-01,北京,%s\n", name, code, []string{"海淀", "东城"}[min(i%4, 1)])
	}
	im := newImport(mustMap(t, "enterprises-bth"), []byte(file), []Target{{"beijing", n}})
	state := filepath.Join(t.TempDir(), "s")
	res, err := all(t, im, state)
	if err != nil || res != (Result{Rows: 6, Issued: 2, Rejected: 4}) {
		t.Fatalf("%+v, %v", res, err)
	}
	c, err := im.Check(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	j, err := OpenJournal(state, c.File, im.Map.Digest(), model.TimeOf(today))
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	var out bytes.Buffer
	count, err := im.WriteRejects(context.Background(), &out, j)
	if err != nil || count != 4 {
		t.Fatal(count, err)
	}
	// The rejects file, put right or not, can be imported again with the same map.
	back := newImport(im.Map, out.Bytes(), l.targets("beijing"))
	if c, err := back.Check(context.Background()); err != nil || c.Good != 4 {
		t.Fatalf("%+v, %v\n%s", c, err, out.String())
	}
	for _, want := range []string{"zl_reason_zh", "2,\"province, district\",key_unknown,", ",4,\"province, district\",region_not_permitted,", ",5,,bad_value,"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	// A state file of another file is refused, and so is a second process.
	if _, err := OpenJournal(state, c.File, im.Map.Digest(), model.TimeOf(today)); !errors.Is(err, ErrBusy) {
		t.Fatal(err)
	}
	j.Close()
	if _, err := OpenJournal(state, model.Digest{1}, im.Map.Digest(), model.TimeOf(today)); !errors.Is(err, ErrOtherImport) {
		t.Fatal(err)
	}
}

// A number that another holder has is a rejection, one whose own licence stands is there already.
func TestNumbersThatStand(t *testing.T) {
	l := newLedger(t)
	file := generated(t, 60, 9)
	rows, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	first := newImport(mustMap(t, "enterprises-bth"), file, l.targets("beijing", "tianjin", "hebei"))
	if res, err := all(t, first, filepath.Join(t.TempDir(), "s")); err != nil || res.Issued != 60 {
		t.Fatal(res, err)
	}
	other := l.numbers[rows[7][1]]
	other.Public = bytes.Replace(other.Public, []byte(rows[7][0]), []byte("别的有限公司"), 1)
	// Brackets of another width are the same name.
	swapped := strings.NewReplacer("（", "(", "）", ")").Replace(string(generated(t, 80, 9)))
	again := newImport(first.Map, []byte(swapped), l.targets("beijing", "tianjin", "hebei"))
	again.Clock = func() time.Time { return today.Add(time.Minute) }
	l.now = today.Add(time.Minute)
	res, err := all(t, again, filepath.Join(t.TempDir(), "s"))
	if err != nil || res != (Result{Rows: 80, Issued: 20, Already: 59, Rejected: 1}) {
		t.Fatalf("%+v, %v", res, err)
	}
}

func TestFatalErrorsStopTheImport(t *testing.T) {
	l := newLedger(t)
	n := l.node("beijing")
	n.fail = func(int, bool) error { return model.E(model.CodeUnauthenticated) }
	file, m, _ := Sample()
	res, err := all(t, newImport(m, file, []Target{{"beijing", n}}), filepath.Join(t.TempDir(), "s"))
	if !errors.Is(err, model.E(model.CodeUnauthenticated)) || res.Issued != 0 {
		t.Fatal(res, err)
	}
	n.fail = func(int, bool) error { return model.E(model.CodeLedgerUnavailable) }
	im := newImport(m, file, []Target{{"beijing", n}})
	im.Patience = time.Millisecond
	if _, err := all(t, im, filepath.Join(t.TempDir(), "s")); !errors.Is(err, model.E(model.CodeLedgerUnavailable)) {
		t.Fatal(err)
	}
}

func TestPersons(t *testing.T) {
	l := newLedger(t)
	m, err := DecodeMap([]byte(`
type: 11100000MB0143028R001
fields:
  holder_kind: {const: "111"}
  holder_code: {column: 证件号码}
  holder_name: {column: 姓名}
  number: {template: "个{row:6}"}
  valid_from: {column: 日期}
  face.legal: {column: 姓名}
agency: {const: bj-scjg}
`))
	if err != nil {
		t.Fatal(err)
	}
	im := newImport(m, []byte("姓名,证件号码,日期\n张三,11010519491231002X,2024-01-01\n李四,110105194912310021,2024-01-01\n"), l.targets("beijing"))
	var faults []Fault
	im.Fault = func(f Fault) { faults = append(faults, f) }
	var held []Issued
	im.Presented = func(i []Issued) error { held = append(held, i...); return nil }
	res, err := all(t, im, filepath.Join(t.TempDir(), "s"))
	if err != nil || res.Issued != 1 || len(faults) != 1 || faults[0].Code != model.CodeBadCitizenID || faults[0].Column != "证件号码" {
		t.Fatal(res, err, faults)
	}
	if len(held) != 1 || held[0].Number != "个000001" || held[0].Presentation == nil {
		t.Fatalf("%+v", held)
	}
	for _, v := range l.numbers {
		if bytes.Contains(v.Public, []byte("张三")) || bytes.Contains(v.Public, []byte("1949")) {
			t.Fatalf("%s", v.Public)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	l := newLedger(b)
	file := generated(b, 20_000, 1)
	im := newImport(mustMap(b, "enterprises-bth"), file, l.targets("beijing", "tianjin", "hebei"))
	b.ReportAllocs()
	for b.Loop() {
		if c, err := im.Check(context.Background()); err != nil || c.Good != 20_000 {
			b.Fatal(c, err)
		}
	}
	b.ReportMetric(20_000*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
