package fabric

import (
	"errors"
	"slices"
	"testing"
)

func TestHung(t *testing.T) {
	live := func(h uint64, leads bool, beats float64) pulse {
		return pulse{active: true, height: h, leads: leads, beats: beats}
	}
	gone := pulse{err: errors.New("no answer")}
	tests := []struct {
		name          string
		before, after []pulse
		want          []int
	}{
		{"idle and healthy",
			[]pulse{live(5, true, 10), live(5, false, 10), live(5, false, 10)},
			[]pulse{live(5, true, 18), live(5, false, 18), live(5, false, 18)}, nil},
		{"one stands still, nobody writes",
			[]pulse{live(5, true, 10), live(5, false, 3), live(5, false, 10)},
			[]pulse{live(5, true, 18), live(5, false, 3), live(5, false, 18)}, []int{1}},
		{"one stands still while others grow",
			[]pulse{live(50, true, 10), live(40, false, 3), live(50, false, 10)},
			[]pulse{live(60, true, 18), live(40, false, 3), live(60, false, 18)}, []int{1}},
		{"two stand still",
			[]pulse{live(5, true, 10), live(5, false, 3), live(5, false, 3), live(5, false, 8)},
			[]pulse{live(5, true, 18), live(5, false, 3), live(5, false, 3), live(5, false, 16)}, []int{1, 2}},
		{"an election: nobody leads",
			[]pulse{live(5, false, 10), live(5, false, 10), gone},
			[]pulse{live(5, false, 12), live(5, false, 10), gone}, nil},
		{"catching up",
			[]pulse{live(50, true, 10), {height: 3, beats: -1}, live(50, false, 10)},
			[]pulse{live(60, true, 18), {height: 3, beats: -1}, live(60, false, 18)}, nil},
		{"behind and moving",
			[]pulse{live(50, true, 10), live(3, false, 3), live(50, false, 10)},
			[]pulse{live(60, true, 18), live(4, false, 3), live(60, false, 18)}, nil},
		{"one does not answer", []pulse{live(5, true, 10), gone, live(5, false, 10)}, []pulse{live(5, true, 18), gone, live(5, false, 18)}, nil},
		{"one went away", []pulse{live(5, true, 10), live(5, false, 3), live(5, false, 9)}, []pulse{live(5, true, 18), gone, live(5, false, 17)}, nil},
		{"restarted in between: it counts from nothing",
			[]pulse{live(5, true, 10), live(5, false, 30), live(5, false, 9)},
			[]pulse{live(5, true, 18), live(5, false, 2), live(5, false, 17)}, nil},
		{"BFT says no beats; one stands still",
			[]pulse{live(50, false, -1), live(50, false, -1), live(40, false, -1), live(50, false, -1)},
			[]pulse{live(60, false, -1), live(60, false, -1), live(40, false, -1), live(60, false, -1)}, []int{2}},
		{"BFT, idle",
			[]pulse{live(50, false, -1), live(50, false, -1)},
			[]pulse{live(50, false, -1), live(50, false, -1)}, nil},
	}
	for _, tt := range tests {
		if got := hung(tt.before, tt.after); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
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
