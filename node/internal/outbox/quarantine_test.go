package outbox

import (
	"bytes"
	"context"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// An operation that this build does not read must not keep the node from starting, nor its company from the
// ledger, and its bytes must stay.
func TestUnreadableOperationIsSetAside(t *testing.T) {
	dir := t.TempDir()
	o := open(t, dir, nil)
	mixed, foreign := operations(3), operation(9, 10)
	mixed[1].Type = "licence.unheard-of"
	foreign.Record = "bj-scjg.0"
	for seq, ops := range map[uint64][]model.Operation{5: mixed, 6: {foreign}} {
		raw := make([][]byte, len(ops))
		for i := range ops {
			raw[i] = ops[i].Encode()
		}
		if err := o.db.Put(requestKey(seq), encodeRequest(raw), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second start finds what the first has set aside
		o = open(t, dir, nil)
		var waiting []model.OpID
		if err := o.Pending(func(op model.Operation, _ []byte) error {
			waiting = append(waiting, op.ID)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(waiting) != 2 || waiting[0] != mixed[0].ID || waiting[1] != mixed[2].ID {
			t.Errorf("%d wait, want the two that can be read", len(waiting))
		}
		if n := o.Quarantined(); n != 2 {
			t.Errorf("%d set aside, want 2", n)
		}
		for seq, op := range map[uint64]model.Operation{5: mixed[1], 6: foreign} {
			kept, err := o.get(quarantineKey(requestKey(seq), op.Encode()))
			if err != nil || len(kept) == 0 || !bytes.Equal(kept[1:], op.Encode()) {
				t.Errorf("request %d: kept %q, %v", seq, kept, err)
			}
		}
		closeChecked(t, o)
	}
}

func TestUnreadableOperationIsNotAccepted(t *testing.T) {
	o := open(t, t.TempDir(), nil)
	defer closeChecked(t, o)
	op := operation(1, 10)
	op.Record = "bj-scjg.01"
	_, err := o.Append(context.Background(), [16]byte{}, model.Digest{}, []model.Operation{op}, [][]byte{op.Encode()})
	if model.AsError(err).Code != model.CodeBadID {
		t.Errorf("accepted: %v", err)
	}
	if n, _, _ := o.Depth(); n != 0 {
		t.Errorf("%d wait", n)
	}
}
