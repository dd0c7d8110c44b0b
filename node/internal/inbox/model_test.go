package inbox

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// TestAgainstModel draws what people, time and crashes do, and holds the inbox to a map: every draft is in the state that
// the first who was entitled to decide gave it, and nothing else ever changes it.
func TestAgainstModel(t *testing.T) {
	people := []Person{ann, bob, cyd}
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(t, func(c *Config) { c.Expires = 48 * time.Hour })
		defer r.Close()
		type draft struct {
			by      Person
			state   State
			expires time.Time
			content model.Digest
			sent    bool
		}
		want := map[string]*draft{}
		pick := func(rt *rapid.T) (string, *draft) {
			if len(want) == 0 {
				rt.Skip("nothing is held")
			}
			id := rapid.SampledFrom(slices.Sorted(maps.Keys(want))).Draw(rt, "draft")
			return id, want[id]
		}
		// decided checks an answer to who wants a draft in a state.
		decided := func(rt *rapid.T, d *draft, to State, allowed bool, denial model.Code, h *Held, err error) {
			switch {
			case !allowed && code(err) == denial:
			case !allowed:
				rt.Fatalf("%v, want %s", err, denial)
			case d.state == Pending && err == nil && h.State == to:
				d.state = to
			case d.state != Pending && code(err) == model.CodeAlreadyDecided && h.State == d.state:
			default:
				rt.Fatalf("%s became %+v, %v", d.state, h, err)
			}
		}
		expire := func() {
			for _, d := range want {
				if d.state == Pending && !r.now.Before(d.expires) {
					d.state = Expired
				}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"hold": func(rt *rapid.T) {
				who := rapid.SampledFrom(people).Draw(rt, "drafter")
				h, err := r.Hold(request(who, "", cancel("bj-scjg.1")))
				if err != nil {
					rt.Fatal(err)
				}
				want[h.ID] = &draft{by: who, state: Pending, expires: h.Expires.Time(), content: h.Content}
			},
			"approve": func(rt *rapid.T) {
				id, d := pick(rt)
				who := rapid.SampledFrom(people).Draw(rt, "approver")
				h, err := r.Approve(id, who, d.content)
				decided(rt, d, Approved, who != d.by, model.CodeOwnDraft, h, err)
			},
			"reject": func(rt *rapid.T) {
				id, d := pick(rt)
				who := rapid.SampledFrom(people).Draw(rt, "approver")
				h, err := r.Reject(id, who, "no")
				decided(rt, d, Rejected, who != d.by, model.CodeOwnDraft, h, err)
			},
			"withdraw": func(rt *rapid.T) {
				id, d := pick(rt)
				who := rapid.SampledFrom(people).Draw(rt, "who")
				h, err := r.Withdraw(id, who)
				decided(rt, d, Withdrawn, who == d.by, model.CodeForbidden, h, err)
			},
			"sent": func(rt *rapid.T) {
				id, d := pick(rt)
				if _, err := r.Sent(id, nil); err != nil {
					rt.Fatal(err)
				}
				d.sent = d.sent || d.state == Approved
			},
			"time": func(rt *rapid.T) {
				// In steps that a clock may take, to the end of which everything is looked at.
				for range rapid.IntRange(1, 200).Draw(rt, "steps") {
					r.pass(9 * time.Minute)
				}
				r.settle()
				expire()
			},
			"clock set": func(rt *rapid.T) {
				was := r.now
				r.now = r.now.Add(time.Duration(rapid.IntRange(-100, 100).Draw(rt, "hours")) * time.Hour)
				if err := r.Tick(); err != nil {
					rt.Fatal(err)
				}
				r.now = was // put right again
				if err := r.Tick(); err != nil {
					rt.Fatal(err)
				}
				r.settle()
				expire()
			},
			"crash": func(*rapid.T) {
				r.reopen()
				r.settle()
				expire()
			},
			"": func(rt *rapid.T) {
				waiting, unsent := 0, 0
				for id, d := range want {
					h := r.get(id)
					if h.State != d.state || h.Sent != d.sent || (h.Decision == nil) != (d.state == Pending) {
						rt.Fatalf("%s is %+v, want %+v", id, h, d)
					}
					if d.state == Pending {
						waiting++
					}
					if d.state == Approved && !d.sent {
						unsent++
					}
				}
				if n, _ := r.Waiting(); n != waiting || len(r.Unsent()) != unsent {
					rt.Fatalf("%d wait and %d are unsent, want %d and %d", n, len(r.Unsent()), waiting, unsent)
				}
				for _, s := range states {
					page, _, err := r.List(Query{State: s, Limit: 1000})
					if err != nil {
						rt.Fatal(err)
					}
					n := 0
					for _, d := range want {
						if d.state == s {
							n++
						}
					}
					if len(page) != n {
						rt.Fatalf("%d drafts listed as %s, want %d", len(page), s, n)
					}
				}
			},
		})
	})
}
