package search

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/fold"
	"github.com/zhenglian/zhenglian/sdk"
)

// standing is a licence as a reader of the whole log has it.
type standing struct {
	id    model.RecordID
	pos   int
	owner model.AgencyID
	state model.State
	v     model.Licence
}

func (s *standing) fits(q *sdk.LicenceSearch) bool {
	within := func(d model.Date, days sdk.Days) bool {
		x := dayText(d)
		return (days.Min == "" || x >= string(days.Min)) && (days.Max == "" || x <= string(days.Max))
	}
	any := func(n int, fits func(i int) bool) bool {
		for i := range n {
			if fits(i) {
				return true
			}
		}
		return n == 0
	}
	name, number := fold.Text(s.v.HolderName), fold.Text(s.v.Number)
	for _, w := range strings.Fields(q.Text) {
		if !strings.Contains(name, fold.Text(w)) {
			return false
		}
	}
	return (q.HolderName == "" || fold.Text(q.HolderName) == name) && (q.HolderCode == "" || q.HolderCode == string(s.v.HolderCode)) &&
		(q.Number == "" || fold.Text(q.Number) == number) && strings.HasPrefix(number, fold.Text(q.NumberPrefix)) &&
		any(len(q.Types), func(i int) bool { return q.Types[i] == s.v.Type }) && any(len(q.States), func(i int) bool { return q.States[i] == s.state }) &&
		any(len(q.Regions), func(i int) bool { return s.v.Region.Within(q.Regions[i]) }) && (q.Owner == "" || q.Owner == s.owner) &&
		within(s.v.IssuedOn, q.IssuedOn) && within(s.v.ValidFrom, q.ValidFrom) && within(s.v.ValidUntil, q.ValidUntil) &&
		(!q.Legacy || s.v.Legacy != "") && (q.Expiring == 0 || !s.state.Ended() && within(s.v.ValidUntil, sdk.Days{Min: today, Max: model.DateFromDays(today.Days() + uint32(q.Expiring))}))
}

// drawn values are few, so that searches find something.
var (
	someNames   = []string{"北京样例（集团）有限公司", "北京样例集团有限公司", "天津·样例 公司", "ABC科技", "样", "京津冀ＡＢＣ", "有限北京", strings.Repeat("样例", 100)}
	someTexts   = []string{"北京", "样例", "(集团", "公司", "样", "abc", "京津 科", "科技", "例公", "有限公司", "天津样例", "龘"}
	someRegions = []model.Region{"110000", "110100", "110105", "120101", "130000"}
	someDays    = []model.Date{"1949-10-01", "2020-02-29", "2026-01-05", "2026-11-24", "2026-12-31", "2027-01-01", "2099-12-31", "2100-01-01"}
	someNumbers = []string{"BJ1", "BJ12", "bj-2", "ＴＪ1", "１"}
)

func drawDays(t *rapid.T, name string) (d sdk.Days) {
	if rapid.Bool().Draw(t, name) {
		d.Min = rapid.SampledFrom(append(someDays, "")).Draw(t, name+" from")
		d.Max = rapid.SampledFrom(append(someDays, "")).Draw(t, name+" to")
	}
	return d
}

func drawSearch(t *rapid.T) sdk.LicenceSearch {
	var q sdk.LicenceSearch
	for _, by := range []struct { // in one order, so that what failed fails again
		what string
		set  func()
	}{
		{"text", func() { q.Text = rapid.SampledFrom(someTexts).Draw(t, "text") }},
		{"name", func() { q.HolderName = rapid.SampledFrom(someNames).Draw(t, "name") }},
		{"number", func() { q.Number = rapid.SampledFrom(someNumbers).Draw(t, "number") }},
		{"prefix", func() { q.NumberPrefix = rapid.SampledFrom(someNumbers).Draw(t, "prefix") }},
		{"type", func() { q.Types = []model.TypeCode{rapid.SampledFrom([]model.TypeCode{typeA, typeB}).Draw(t, "type")} }},
		{"state", func() {
			q.States = rapid.SliceOfN(rapid.SampledFrom([]model.State{model.InForce, model.Suspended, model.Cancelled}), 1, 2).Draw(t, "states")
		}},
		{"region", func() { q.Regions = rapid.SliceOfN(rapid.SampledFrom(someRegions), 1, 2).Draw(t, "regions") }},
		{"owner", func() { q.Owner = rapid.SampledFrom(everyone).Draw(t, "owner") }},
		{"legacy", func() { q.Legacy = true }},
		{"expires", func() { q.Expiring = rapid.SampledFrom([]int{1, 37, 38, 400}).Draw(t, "expiring") }},
	} {
		if rapid.IntRange(0, 5).Draw(t, by.what) == 0 {
			by.set()
		}
	}
	q.IssuedOn, q.ValidFrom, q.ValidUntil = drawDays(t, "issued"), drawDays(t, "from"), drawDays(t, "until")
	q.Sort = rapid.SampledFrom([]sdk.LicenceOrder{"", sdk.SortNewest, sdk.SortOldest, sdk.SortNumber, sdk.SortValidUntil, sdk.SortHolderName}).Draw(t, "sort")
	return q
}

func drawLicence(pick func(n int) int) func(v *model.Licence) {
	return func(v *model.Licence) {
		v.HolderName, v.Region = someNames[pick(len(someNames))], someRegions[pick(len(someRegions))]
		v.Number = someNumbers[pick(len(someNumbers))]
		if pick(2) == 0 {
			v.Number += v.Number
		}
		v.IssuedOn = someDays[pick(4)]
		v.ValidFrom = v.IssuedOn
		if pick(4) == 0 {
			v.Legacy, v.HolderCode = "91110105000000000X", ""
		}
		if v.ValidUntil = someDays[3+pick(5)]; pick(5) == 0 {
			v.ValidUntil = ""
		}
	}
}

// Whatever was written and whatever is searched for: pages give what a reader of the whole log finds, in order, and the
// count is right.
func TestFindsWhatTheLogSays(t *testing.T) {
	matches, stretch := fewMatches, fewInStretch
	fewMatches, fewInStretch = 100, 20 // so that both ways of sorting are taken
	defer func() { fewMatches, fewInStretch = matches, stretch }()
	r := newRig(t)
	all := map[model.RecordID]*standing{}
	pick := rand.New(rand.NewPCG(1, 2)).IntN
	write := func() {
		switch ids := sortedIDs(all); {
		case len(ids) < 30 || pick(3) > 0:
			owner := everyone[pick(3)]
			id := r.log.issue(owner, func(v *model.Licence) {
				drawLicence(pick)(v)
				v.Type = []model.TypeCode{typeA, typeB}[pick(2)]
			})
			all[id] = &standing{id: id, owner: owner, state: model.InForce}
		default:
			s := all[ids[pick(len(ids))]]
			switch {
			case s.state.Ended():
			case pick(3) == 0:
				s.state = []model.State{model.Suspended, model.Cancelled, model.InForce}[pick(3)]
				r.log.act(map[model.State]model.Type{model.Suspended: model.LicenceSuspend, model.Cancelled: model.LicenceCancel, model.InForce: model.LicenceResume}[s.state], s.id, s.state)
			case pick(2) == 0:
				s.owner = everyone[pick(3)]
				r.log.transfer(s.id, s.owner)
			default:
				r.log.amend(s.id, drawLicence(pick))
			}
		}
	}
	for n := range 340 {
		write()
		if n > 200 && n%7 == 0 {
			r.caughtUp() // what follows comes in a batch of its own
		}
	}
	r.caughtUp()
	// From here on nothing is written: a search that fails can be tried again, and made smaller.
	rapid.Check(t, func(rt *rapid.T) {
		q := drawSearch(rt)
		var want []*standing
		for _, s := range all {
			s.pos, s.v = r.log.last[s.id], r.log.value[s.id]
			if s.fits(&q) {
				want = append(want, s)
			}
		}
		slices.SortFunc(want, func(a, b *standing) int {
			by := 0
			switch q.Sort {
			case sdk.SortNumber:
				by = cmp.Compare(a.v.Number, b.v.Number)
			case sdk.SortValidUntil:
				by = cmp.Compare(dayText(a.v.ValidUntil), dayText(b.v.ValidUntil))
			case sdk.SortHolderName:
				by = cmp.Compare(a.v.HolderName, b.v.HolderName)
			case "", sdk.SortNewest:
				return b.pos - a.pos
			}
			return cmp.Or(by, a.pos-b.pos)
		})
		ids := make([]model.RecordID, len(want))
		for i, s := range want {
			ids[i] = s.id
		}
		if got := r.find(q); !slices.Equal(got, ids) {
			rt.Fatalf("%s:\nfound %v\nwant  %v", q.Query().Encode(), got, ids)
		}
	})
	r.sound()
}

func sortedIDs(all map[model.RecordID]*standing) []model.RecordID {
	out := make([]model.RecordID, 0, len(all))
	for id := range all {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// Paging while others write: in every order, a licence that fits and does not change stands on exactly one page.
func TestPagesUnderWrites(t *testing.T) {
	for _, order := range []sdk.LicenceOrder{sdk.SortNewest, sdk.SortOldest, sdk.SortNumber, sdk.SortValidUntil, sdk.SortHolderName} {
		t.Run(string(order), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			pick := rand.New(rand.NewPCG(3, 4)).IntN
			var still, moving []model.RecordID
			for i := range 100 {
				id := r.log.issue("bj-scjg", drawLicence(pick))
				if i%2 == 0 {
					still = append(still, id)
				} else {
					moving = append(moving, id)
				}
			}
			r.caughtUp()
			stop := make(chan struct{})
			done := make(chan struct{})
			go func() {
				defer close(done)
				pick := rand.New(rand.NewPCG(5, 6)).IntN
				for {
					select {
					case <-stop:
						return
					default:
					}
					if s := r.x.Status(); s.Of-s.Next > 20 { // so that the two keep pace
						time.Sleep(time.Millisecond)
						continue
					}
					r.log.issue("bj-scjg", drawLicence(pick))
					r.log.amend(moving[pick(len(moving))], drawLicence(pick))
				}
			}()
			defer func() { close(stop); <-done }()
			q := &Query{LicenceSearch: sdk.LicenceSearch{Sort: order, Types: []model.TypeCode{typeA}}, Today: today}
			position := uint64(0)
			for walk := range 1 {
				seen := map[model.RecordID]int{}
				var last *place
				for after, pages := "", 0; ; pages++ {
					f, err := r.x.page(t.Context(), q, after, 20, false, patience)
					if err != nil {
						t.Fatal(err)
					}
					if f.Position < position {
						t.Fatalf("an older state: %d after %d", f.Position, position)
					}
					position = f.Position
					for _, l := range f.Licences {
						seen[l.Record]++
						at := place{Pos: int64(l.Position)}
						switch order {
						case sdk.SortNumber:
							at.Key = l.Number
						case sdk.SortValidUntil:
							at.Key = dayText(l.ValidUntil)
						case sdk.SortHolderName:
							at.Key = l.HolderName
						}
						if last != nil && !sorts[order].before(*last, at) {
							t.Fatalf("%+v after %+v", at, *last)
						}
						last = &at
					}
					// Oldest first, what is written meanwhile comes last, for ever.
					if after = f.Next; after == "" || pages > 100 {
						break
					}
				}
				for _, id := range still {
					if seen[id] != 1 {
						t.Errorf("walk %d: %s stood on %d pages", walk, id, seen[id])
					}
				}
			}
		})
	}
}
