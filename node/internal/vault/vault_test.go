package vault

import (
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// A restored vault skips ahead once, from what the ledger knows where that is more, and never gives a serial twice.
func TestRestoredSkips(t *testing.T) {
	dir := t.TempDir()
	floor := func(n uint64) func() (uint64, error) { return func() (uint64, error) { return n, nil } }
	serial := func(v *Vault, agency model.AgencyID, known uint64) uint64 {
		t.Helper()
		n, err := v.Serials(model.KindLicence, agency, 1, floor(known))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	reopen := func() *Vault {
		t.Helper()
		v, err := Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	v := reopen()
	if n := serial(v, "bj-scjg", 1); n != 1 {
		t.Fatal(n)
	}
	_ = v.Close() // without Usable, as a copy of a running node's is
	for round := range uint64(2) {
		if err := Restored(dir); err != nil {
			t.Fatal(err)
		}
		if err := Restored(dir); err != nil { // called again
			t.Fatal(err)
		}
		v = reopen()
		first := serial(v, "bj-scjg", 50_000+round*2*Jump)
		if want := 50_000 + round*2*Jump + Jump; first != want {
			t.Errorf("round %d: %d, not %d", round, first, want)
		}
		if n := serial(v, "bj-new", 1); n < Jump { // a series that the backup did not have
			t.Error(n)
		}
		if err := v.Usable(); err != nil {
			t.Fatal(err)
		}
		_ = v.Close()
		v = reopen()
		if n := serial(v, "bj-scjg", 1); n != first+1 {
			t.Errorf("it skipped again: %d after %d", n, first)
		}
		_ = v.Close()
	}
}
