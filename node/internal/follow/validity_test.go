package follow

import (
	"bytes"
	"errors"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// keptState is a mirror that knows versions and ids only.
type keptState struct {
	stateOnly
	versions map[stateKey]fabblock.Version
	ids      map[string]bool
}

func (k keptState) Version(namespace, key string) (uint64, uint64, bool, error) {
	v, ok := k.versions[stateKey{namespace, key}]
	return v.Block, v.Tx, ok, nil
}

func (k keptState) Known(id string) (uint64, bool, bool, error) { return 1, true, k.ids[id], nil }

const (
	cc       = "zhenglian"
	sequence = "namespaces/fields/zhenglian/Sequence"
)

// TestValidity goes through what decides whether a transaction is valid, and through what a peer may say of it.
func TestValidity(t *testing.T) {
	approved := hashedKey("_implicit_org_BeijingMSP", []byte{1, 2})
	kept := keptState{
		versions: map[stateKey]fabblock.Version{
			{"", "page"}: {Block: 4, Tx: 1}, {lifecycle, sequence}: {Block: 2}, {lifecycle, approved}: {Block: 3},
		},
		ids: map[string]bool{"old": true},
	}
	at := func(block, tx uint64) *fabblock.Version { return &fabblock.Version{Block: block, Tx: tx} }
	read := func(namespace, key string, v *fabblock.Version) fabblock.Read {
		return fabblock.Read{Namespace: namespace, Key: key, Version: v}
	}
	put := func(namespace, key string) fabblock.Write {
		return fabblock.Write{Namespace: namespace, Key: key, Value: []byte("x")}
	}
	tx := func(change func(*fabblock.Tx)) fabblock.Tx {
		x := fabblock.Tx{ID: "new", Chaincode: cc, Reads: []fabblock.Read{read(cc, "page", at(4, 1)), read(lifecycle, sequence, at(2, 0))},
			Writes: []fabblock.Write{put(cc, "page")}}
		if change != nil {
			change(&x)
		}
		return x
	}
	private := func(v *kvrwset.Version, writes bool) []byte {
		return lifecycleEnvelope(t, v, writes)
	}
	definition := func(change func(*fabblock.Tx)) fabblock.Tx {
		x := fabblock.Tx{ID: "definition", Chaincode: lifecycle, Reads: []fabblock.Read{read(lifecycle, sequence, at(2, 0))},
			Writes: []fabblock.Write{put(lifecycle, sequence)}}
		if change != nil {
			change(&x)
		}
		return x
	}
	const undecided = "undecided"
	tests := []struct {
		name   string
		before []fabblock.Tx // of the block, valid
		tx     fabblock.Tx
		first  []byte // envelope of those before
		raw    []byte // envelope of tx
		want   string // valid, invalid, undecided
	}{
		{name: "up to date", tx: tx(nil), want: "valid"},
		{name: "absent as read", tx: tx(func(x *fabblock.Tx) { x.Reads[0] = read(cc, "none", nil) }), want: "valid"},
		{name: "absent and read", tx: tx(func(x *fabblock.Tx) { x.Reads[0] = read(cc, "none", at(1, 1)) }), want: "invalid"},
		{name: "there and read as absent", tx: tx(func(x *fabblock.Tx) { x.Reads[0] = read(cc, "page", nil) }), want: "invalid"},
		{name: "another block", tx: tx(func(x *fabblock.Tx) { x.Reads[0] = read(cc, "page", at(3, 1)) }), want: "invalid"},
		{name: "another place", tx: tx(func(x *fabblock.Tx) { x.Reads[0] = read(cc, "page", at(4, 0)) }), want: "invalid"},
		{name: "written earlier in the block", before: []fabblock.Tx{tx(func(x *fabblock.Tx) { x.ID = "first" })}, tx: tx(nil), want: "invalid"},
		{name: "reads this block's version", before: []fabblock.Tx{tx(func(x *fabblock.Tx) { x.ID = "first" })},
			tx: tx(func(x *fabblock.Tx) { x.Reads[0] = read(cc, "page", at(5, 0)) }), want: "invalid"},
		{name: "id of an earlier block", tx: tx(func(x *fabblock.Tx) { x.ID = "old" }), want: "invalid"},
		{name: "id of this block", before: []fabblock.Tx{tx(func(x *fabblock.Tx) { x.Writes = nil })}, tx: tx(nil), want: undecided},
		{name: "id of this block in nonsense", before: []fabblock.Tx{tx(func(x *fabblock.Tx) {
			x.Writes, x.Verdict, x.Code = nil, peer.TxValidationCode_BAD_PROPOSAL_TXID, peer.TxValidationCode_BAD_PROPOSAL_TXID
		})}, tx: tx(nil), want: "valid"},
		{name: "under an older definition", tx: tx(func(x *fabblock.Tx) { x.Reads[1] = read(lifecycle, sequence, at(1, 0)) }), want: "invalid"},
		{name: "defined earlier in the block", before: []fabblock.Tx{definition(nil)}, tx: tx(nil), want: "invalid"},
		{name: "range query", tx: tx(func(x *fabblock.Tx) { x.Ranges = make([]fabblock.Range, 1) }), want: "invalid"},
		{name: "reads another contract", tx: tx(func(x *fabblock.Tx) { x.Reads = append(x.Reads, read("other", "k", nil)) }), want: "invalid"},
		{name: "writes to another contract", tx: tx(func(x *fabblock.Tx) { x.Writes = append(x.Writes, put("other", "k")) }), want: "invalid"},
		{name: "does not check by itself", tx: tx(func(x *fabblock.Tx) { x.Verdict = peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE }), want: "invalid"},
		{name: "another contract's", tx: tx(func(x *fabblock.Tx) { x.Chaincode = "other"; x.Reads[0].Version = at(1, 1) }), want: undecided},

		{name: "definition", tx: definition(nil), want: "valid"},
		{name: "definition on an older one", tx: definition(func(x *fabblock.Tx) { x.Reads[0].Version = at(1, 0) }), want: "invalid"},
		{name: "definition by another contract", tx: definition(func(x *fabblock.Tx) { x.Chaincode = "other" }), want: undecided},
		{name: "definition by another contract on an older one", tx: definition(func(x *fabblock.Tx) {
			x.Chaincode, x.Reads[0].Version = "other", at(1, 0)
		}), want: "invalid"},
		{name: "after a definition by another contract", before: []fabblock.Tx{definition(func(x *fabblock.Tx) { x.ID, x.Chaincode = "first", "other" })},
			tx: definition(nil), want: "invalid"},
		{name: "definition by the approvals", tx: definition(nil), raw: private(&kvrwset.Version{BlockNum: 3}, false), want: "valid"},
		{name: "definition by older approvals", tx: definition(nil), raw: private(&kvrwset.Version{BlockNum: 2}, false), want: "invalid"},
		{name: "definition without an approval that there is", tx: definition(nil), raw: private(nil, false), want: "invalid"},
		{name: "approval", tx: definition(func(x *fabblock.Tx) { x.Writes = nil }), raw: private(&kvrwset.Version{BlockNum: 3}, true), want: "valid"},
		{name: "definition after an approval in the block", before: []fabblock.Tx{definition(func(x *fabblock.Tx) { x.ID, x.Writes = "approval", nil })},
			first: private(nil, true), tx: definition(nil), raw: private(&kvrwset.Version{BlockNum: 3}, false), want: "invalid"},
		{name: "definition of what was defined before Fabric 2", tx: definition(func(x *fabblock.Tx) { x.Reads = append(x.Reads, read(legacy, "zhenglian", at(1, 0))) }), want: "invalid"},
		{name: "first definition", tx: definition(func(x *fabblock.Tx) { x.Reads = append(x.Reads, read(legacy, "zhenglian", nil)) }), want: "valid"},
		{name: "definition that reads elsewhere", tx: definition(func(x *fabblock.Tx) { x.Reads = append(x.Reads, read("other", "k", nil)) }), want: undecided},
		{name: "definition with a range", tx: definition(func(x *fabblock.Tx) { x.Ranges = make([]fabblock.Range, 1) }), want: undecided},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := &run{cfg: &Config{Chaincode: cc, Records: kept}}
			var data [][]byte
			for range tt.before {
				data = append(data, tt.first)
			}
			data = append(data, tt.raw)
			for i := range data {
				if data[i] == nil {
					data[i] = lifecycleEnvelope(t, nil, false, "none")
				}
			}
			say := func(code peer.TxValidationCode) Code {
				state := newOverlay(kept, 5)
				for i, x := range tt.before {
					x.Index = i
					if err := r.judge(state, &x, data); err != nil {
						t.Fatalf("transaction %d before: %v", i, err)
					}
					for _, w := range x.Writes {
						if w.Namespace == cc {
							state.set(write{"", w.Key, w.Value, uint64(i)})
						}
					}
				}
				x := tt.tx
				x.Code, x.Index = code, len(tt.before)
				err := r.judge(state, &x, data)
				var f *Finding
				if errors.As(err, &f) {
					return f.Code
				} else if err != nil {
					t.Fatal(err)
				}
				return ""
			}
			valid, invalid := Code(""), HiddenTx
			switch tt.want {
			case "invalid":
				valid, invalid = FalseValidity, ""
			case undecided:
				invalid = ""
			}
			if got := say(peer.TxValidationCode_VALID); got != valid {
				t.Errorf("called valid: %q, want %q", got, valid)
			}
			for _, code := range []peer.TxValidationCode{peer.TxValidationCode_MVCC_READ_CONFLICT, peer.TxValidationCode_DUPLICATE_TXID, 255} {
				if got := say(code); got != invalid {
					t.Errorf("called %v: %q, want %q", code, got, invalid)
				}
			}
		})
	}
	r := &run{cfg: &Config{Chaincode: cc, Records: kept}}
	for code, want := range map[peer.TxValidationCode]bool{peer.TxValidationCode_VALID: true, peer.TxValidationCode_INVALID_OTHER_REASON: false} {
		if err := r.judge(newOverlay(kept, 5), &fabblock.Tx{Config: true, Code: code}, nil); (err == nil) != want {
			t.Errorf("a configuration called %v: %v", code, err)
		}
	}
	// One that writes nothing hides nothing.
	question := tx(func(x *fabblock.Tx) { x.Writes, x.Code = nil, peer.TxValidationCode_MVCC_READ_CONFLICT })
	if err := r.judge(newOverlay(kept, 5), &question, nil); err != nil {
		t.Errorf("a question called invalid: %v", err)
	}
}

// lifecycleEnvelope is an envelope of a transaction of _lifecycle that read, or else wrote, one private key.
func lifecycleEnvelope(t testing.TB, v *kvrwset.Version, writes bool, nothing ...string) []byte {
	t.Helper()
	m := func(x proto.Message) []byte {
		b, err := proto.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	hashed := &kvrwset.HashedRWSet{}
	switch {
	case len(nothing) > 0:
	case writes:
		hashed.HashedWrites = []*kvrwset.KVWriteHash{{KeyHash: []byte{1, 2}, ValueHash: []byte{3}}}
	default:
		hashed.HashedReads = []*kvrwset.KVReadHash{{KeyHash: []byte{1, 2}, Version: v}}
	}
	set := &rwset.TxReadWriteSet{NsRwset: []*rwset.NsReadWriteSet{{Namespace: lifecycle, Rwset: m(&kvrwset.KVRWSet{}),
		CollectionHashedRwset: []*rwset.CollectionHashedReadWriteSet{{CollectionName: "_implicit_org_BeijingMSP", HashedRwset: m(hashed)}}}}}
	action := &peer.ChaincodeActionPayload{Action: &peer.ChaincodeEndorsedAction{
		ProposalResponsePayload: m(&peer.ProposalResponsePayload{Extension: m(&peer.ChaincodeAction{Results: m(set)})})}}
	tx := &peer.Transaction{Actions: []*peer.TransactionAction{{Payload: m(action)}}}
	return m(&common.Envelope{Payload: m(&common.Payload{Data: m(tx)})})
}

// FuzzDecodeHashed: any bytes give a private set or an error, and no private key can be taken for a public one.
func FuzzDecodeHashed(f *testing.F) {
	f.Add(lifecycleEnvelope(f, &kvrwset.Version{BlockNum: 3, TxNum: 1}, false))
	f.Add(lifecycleEnvelope(f, nil, true))
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 20))
	f.Fuzz(func(t *testing.T, raw []byte) {
		out, err := decodeHashed(raw)
		if err != nil {
			return
		}
		for _, x := range out.reads {
			if x.key == "" || x.key[0] != 0 {
				t.Errorf("key %q", x.key)
			}
		}
		for _, x := range out.writes {
			if x.key == "" || x.key[0] != 0 {
				t.Errorf("key %q", x.key)
			}
		}
	})
}

// TestInitialised: where members define the contract with init required, the first call is Fabric's initialisation, after
// which peers have written a key of their own into the contract's state.
func TestInitialised(t *testing.T) {
	key := "\x00\U0010ffffinitialized"
	init := func(change func(*fabblock.Tx)) *fabblock.Tx {
		x := &fabblock.Tx{Init: true, Chaincode: cc, Args: [][]byte{[]byte("anything")}, Response: &peer.Response{Status: 200},
			Writes: []fabblock.Write{{Namespace: cc, Key: key, Value: []byte("1")}}}
		if change != nil {
			change(x)
		}
		return x
	}
	for _, tt := range []struct {
		name string
		tx   *fabblock.Tx
		want Code
	}{
		{"as peers do it", init(nil), ""},
		{"without arguments", init(func(x *fabblock.Tx) { x.Args = nil }), ""},
		{"another key", init(func(x *fabblock.Tx) { x.Writes[0].Key = "page" }), OtherWrites},
		{"a second key", init(func(x *fabblock.Tx) {
			x.Writes = append(x.Writes, fabblock.Write{Namespace: cc, Key: "page", Value: []byte("x")})
		}), OtherWrites},
		{"a deletion", init(func(x *fabblock.Tx) { x.Writes[0].Delete = true }), OtherWrites},
		{"an answer", init(func(x *fabblock.Tx) { x.Response.Payload = []byte("x") }), OtherResponse},
		{"a failure", init(func(x *fabblock.Tx) { x.Response = nil }), OtherResponse},
		{"any other call", init(func(x *fabblock.Tx) { x.Init, x.Args = false, nil }), RefusedCall},
	} {
		kept := keptState{versions: map[stateKey]fabblock.Version{}, ids: map[string]bool{}}
		r := &run{cfg: &Config{Chaincode: cc, Records: kept}, channel: &fabblock.Channel{}}
		state := newOverlay(kept, 5)
		x, err := r.execute(state, 5, tt.tx)
		var f *Finding
		switch {
		case tt.want == "" && (err != nil || x != nil || string(state.writes[stateKey{"", key}].value) != "1"):
			t.Errorf("%s: %v %v, wrote %v", tt.name, x, err, state.writes)
		case tt.want != "" && (!errors.As(err, &f) || f.Code != tt.want):
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	// On the embedded ledger every call is an ordinary one.
	r := &run{cfg: &Config{Chaincode: cc}, channel: &fabblock.Channel{SealedCodes: true}}
	var f *Finding
	if _, err := r.execute(nil, 5, init(func(x *fabblock.Tx) { x.Args = nil })); !errors.As(err, &f) || f.Code != RefusedCall {
		t.Errorf("on the embedded ledger: %v", err)
	}
}
