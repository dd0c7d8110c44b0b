package fabric

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// shown is what an orderer shows over the watch, tick by tick.
type shown func(tick int) pulse

func beating(height uint64, leads bool) shown {
	return func(tick int) pulse {
		return pulse{active: true, height: height, leads: leads, beats: float64(10 + tick)}
	}
}

func TestHung(t *testing.T) {
	growing := func(leads bool) shown {
		return func(tick int) pulse {
			return pulse{active: true, height: uint64(50 + tick), leads: leads, beats: float64(10 + 2*tick)}
		}
	}
	still := func(height uint64, beats float64) shown {
		return func(int) pulse { return pulse{active: true, height: height, beats: beats} }
	}
	gone := func(int) pulse { return pulse{err: errors.New("no answer")} }
	tests := []struct {
		name     string
		orderers []shown
		want     []int
		ticks    int // after which the watch ends
	}{
		{"idle and healthy", []shown{beating(5, true), beating(5, false), beating(5, false)}, nil, lively},
		{"busy and healthy", []shown{growing(true), growing(false), growing(false)}, nil, lively / 2},
		{"one stands still, nobody writes", []shown{beating(5, true), still(5, 3), beating(5, false)}, []int{1}, silent},
		{"one stands still while others write", []shown{growing(true), still(40, 3), growing(false)}, []int{1}, silent},
		{"two stand still", []shown{beating(5, true), still(5, 3), still(5, 2), beating(5, false)}, []int{1, 2}, silent},
		{"beats twice and hangs", []shown{beating(5, true), func(tick int) pulse {
			return pulse{active: true, height: 5, beats: float64(min(tick, 2))}
		}, beating(5, false)}, []int{1}, 2 + silent},
		{"an election: nobody leads", []shown{still(5, 10), beating(5, false), gone}, []int{0}, leaderless},
		{"a leader that stands still leads nobody", []shown{func(int) pulse { return pulse{active: true, height: 5, leads: true, beats: 9} }, still(5, 4), gone}, []int{0, 1}, leaderless},
		{"all stand still after a restart", []shown{still(5, 2), still(5, 2), still(4, 2)}, []int{0, 1, 2}, leaderless},
		{"catching up", []shown{growing(true), func(int) pulse { return pulse{height: 3, beats: -1} }, growing(false)}, nil, lively / 2},
		{"behind and moving", []shown{growing(true), func(tick int) pulse {
			return pulse{active: true, height: uint64(3 + tick), beats: 3}
		}, growing(false)}, nil, lively},
		{"one does not answer", []shown{beating(5, true), gone, beating(5, false)}, nil, lively},
		{"one goes away", []shown{beating(5, true), func(tick int) pulse {
			if tick > 2 {
				return gone(tick)
			}
			return still(5, 3)(tick)
		}, beating(5, false)}, nil, lively},
		{"restarted meanwhile", []shown{beating(5, true), func(tick int) pulse {
			if tick < 2 {
				return still(5, 30)(tick)
			}
			return pulse{active: true, height: 5, beats: float64(tick)}
		}, beating(5, false)}, nil, 2 + lively},
		{"BFT counts no beats; one stands still", []shown{
			func(tick int) pulse { return pulse{active: true, height: uint64(50 + tick), beats: -1} }, still(40, -1),
			func(tick int) pulse { return pulse{active: true, height: uint64(50 + tick), beats: -1} },
		}, []int{1}, silent},
		{"BFT, idle", []shown{still(50, -1), still(50, -1), still(50, -1)}, nil, silent},
	}
	for _, tt := range tests {
		w, began := watch{tick: time.Second}, time.Unix(0, 0)
		for tick := 0; ; tick++ {
			var pulses []pulse
			for _, o := range tt.orderers {
				pulses = append(pulses, o(tick))
			}
			done, got := w.see(began.Add(time.Duration(tick)*time.Second), pulses)
			if done {
				if !slices.Equal(got, tt.want) || tick != tt.ticks {
					t.Errorf("%s: %v after %d ticks, want %v after %d", tt.name, got, tick, tt.want, tt.ticks)
				}
				break
			}
			if tick > 100 {
				t.Errorf("%s: the watch does not end", tt.name)
				break
			}
		}
	}
}

func TestMetrics(t *testing.T) {
	page := metrics(`# HELP ledger_blockchain_height Height of the chain in blocks.
# TYPE ledger_blockchain_height gauge
ledger_blockchain_height_other{channel="jjj"} 3
ledger_blockchain_height{channel="other"} 7
ledger_blockchain_height{channel="jjj"} 27
plain 1.5e+06
broken{channel="jjj"} x
`)
	for _, tt := range []struct {
		name, label, is string
		want            float64
		ok              bool
	}{
		{"ledger_blockchain_height", "channel", "jjj", 27, true},
		{"ledger_blockchain_height", "channel", "other", 7, true},
		{"ledger_blockchain_height", "channel", "none", 0, false},
		{"plain", "", "", 1.5e6, true},
		{"broken", "channel", "jjj", 0, false},
		{"missing", "", "", 0, false},
	} {
		if got, ok := page.value(tt.name, tt.label, tt.is); got != tt.want || ok != tt.ok {
			t.Errorf("%s{%s=%q}: %v, %v", tt.name, tt.label, tt.is, got, ok)
		}
	}
}
