package fabblock_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock/fabblocktest"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// world is a channel of three organisations and what its reader knows.
type world struct {
	*fabblocktest.Channel
	t      testing.TB
	reader *fabblock.Channel
}

func newWorld(t testing.TB, bft int) *world {
	t.Helper()
	w := &world{Channel: fabblocktest.NewChannel("jjj", bft, "BeijingMSP", "HebeiMSP", "TianjinMSP"), t: t}
	var err error
	if w.reader, err = fabblock.ParseConfig(w.Blocks[0]); err != nil {
		t.Fatal(err)
	}
	w.reader.Chaincode = "kv"
	return w
}

func (w *world) prev() *common.BlockHeader { return w.Blocks[len(w.Blocks)-2].GetHeader() }

// take checks the block made last and moves on. It fails the test where the block does not check.
func (w *world) take() *fabblock.Block {
	w.t.Helper()
	b, err := w.reader.Check(w.prev(), w.Blocks[len(w.Blocks)-1])
	if err != nil {
		w.t.Fatal(err)
	}
	if b.Next != nil {
		w.reader = b.Next
	}
	return b
}

// verdict is what the reader says of a transaction. The block is taken back.
func (w *world) verdict(t fabblocktest.Transaction) peer.TxValidationCode {
	w.t.Helper()
	w.Append([]peer.TxValidationCode{peer.TxValidationCode_NOT_VALIDATED}, w.fill(t).Envelope())
	b, err := w.reader.Check(w.prev(), w.Blocks[len(w.Blocks)-1])
	w.Blocks = w.Blocks[:len(w.Blocks)-1]
	if err != nil {
		w.t.Fatal(err)
	}
	return b.Txs[0].Verdict
}

func (w *world) fill(t fabblocktest.Transaction) fabblocktest.Transaction {
	t.Channel = w.ID
	if t.Chaincode == "" {
		t.Chaincode = "kv"
	}
	if t.Creator == nil {
		t.Creator = w.Orgs[0].Client
	}
	return t
}

func (w *world) peers(ids ...string) []fabblocktest.Signer {
	var out []fabblocktest.Signer
	for _, id := range ids {
		out = append(out, w.Org(id).Peer)
	}
	return out
}

// define commits a definition of kv.
func (w *world) define(sequence int64, policy *peer.ApplicationPolicy) {
	w.t.Helper()
	w.Append(nil, w.fill(fabblocktest.Transaction{Chaincode: "_lifecycle", Endorsers: w.peers("BeijingMSP", "HebeiMSP"),
		Sets: []*rwset.NsReadWriteSet{fabblocktest.Definition("kv", sequence, "vscc", policy)}}).Envelope())
	w.take()
}

var put = []*rwset.NsReadWriteSet{fabblocktest.Put("kv", "k", "v")}

func TestDefinition(t *testing.T) {
	w := newWorld(t, 0)
	three := []string{"BeijingMSP", "HebeiMSP", "TianjinMSP"}
	two := fabblocktest.Transaction{Sets: put, Endorsers: w.peers("BeijingMSP", "TianjinMSP")}
	if got := w.verdict(two); got != peer.TxValidationCode_INVALID_CHAINCODE {
		t.Errorf("before there is a definition: %s", got)
	}
	if w.reader.Definition() != nil {
		t.Error("a definition from nowhere")
	}
	// A definition counts from the next block, as peers read it from the committed state.
	define := w.fill(fabblocktest.Transaction{Chaincode: "_lifecycle", Endorsers: w.peers("BeijingMSP", "HebeiMSP"),
		Sets: []*rwset.NsReadWriteSet{fabblocktest.Definition("kv", 1, "vscc", fabblocktest.Signed(fabblocktest.PeersOf(2, three...)))}})
	w.Append([]peer.TxValidationCode{0, peer.TxValidationCode_INVALID_CHAINCODE}, define.Envelope(), w.fill(two).Envelope())
	if b := w.take(); b.Txs[1].Verdict != peer.TxValidationCode_INVALID_CHAINCODE || b.Next == nil {
		t.Errorf("in the block of the definition: %+v", b.Txs[1].Verdict)
	}
	if d := w.reader.Definition(); d == nil || d.Sequence != 1 || d.Version != "1" || d.Policy.Err() != nil {
		t.Fatalf("definition %+v", d)
	}
	if got := w.verdict(two); got != peer.TxValidationCode_VALID {
		t.Errorf("two of three: %s", got)
	}
	// Only what changes is written.
	all := fabblocktest.Definition("kv", 2, "vscc", fabblocktest.Signed(fabblocktest.PeersOf(3, three...)))
	var kv kvrwset.KVRWSet
	if err := proto.Unmarshal(all.GetRwset(), &kv); err != nil {
		t.Fatal(err)
	}
	kv.Writes = kv.GetWrites()[2:]
	w.Append(nil, w.fill(fabblocktest.Transaction{Chaincode: "_lifecycle", Endorsers: w.peers("TianjinMSP", "HebeiMSP"),
		Sets: []*rwset.NsReadWriteSet{fabblocktest.Set("_lifecycle", &kv)}}).Envelope())
	w.take()
	if d := w.reader.Definition(); d.Sequence != 2 || d.Version != "1" {
		t.Errorf("definition %+v", d)
	}
	if got := w.verdict(two); got != peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE {
		t.Errorf("two of three where three are needed: %s", got)
	}
	// A policy of the configuration by its name, and one that is not there.
	w.define(3, fabblocktest.Named("/Channel/Application/HebeiMSP/Endorsement"))
	if got := w.verdict(two); got != peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE {
		t.Errorf("without Hebei: %s", got)
	}
	if got := w.verdict(fabblocktest.Transaction{Sets: put, Endorsers: w.peers("HebeiMSP")}); got != peer.TxValidationCode_VALID {
		t.Errorf("with Hebei: %s", got)
	}
	w.define(4, fabblocktest.Named("/Channel/Application/Nothing"))
	if got := w.verdict(two); got != peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE || w.reader.Definition().Policy.Err() == nil {
		t.Errorf("by a policy that is not there: %s", got)
	}
	// The embedded ledger's kind of reader knows of none.
	for name, set := range map[string]*rwset.NsReadWriteSet{
		"another plugin": fabblocktest.Definition("kv", 5, "own", fabblocktest.Signed(fabblocktest.PeersOf(1, three...))),
		"not a definition": fabblocktest.Set("_lifecycle", &kvrwset.KVRWSet{Writes: []*kvrwset.KVWrite{
			{Key: "namespaces/metadata/kv", Value: []byte{0x0a, 1, 'x'}}}}),
		"rubbish": fabblocktest.Put("_lifecycle", "namespaces/fields/kv/Sequence", "\xff"),
	} {
		w.Append(nil, w.fill(fabblocktest.Transaction{Chaincode: "_lifecycle", Endorsers: w.peers("BeijingMSP", "HebeiMSP"), Sets: []*rwset.NsReadWriteSet{set}}).Envelope())
		b := w.Blocks[len(w.Blocks)-1]
		_, err := w.reader.Check(w.prev(), b)
		var bad *fabblock.Error
		if !errors.As(err, &bad) || bad.Code != fabblock.BadDefinition {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := w.reader.Advance(b); !errors.As(err, &bad) || bad.Code != fabblock.BadDefinition {
			t.Errorf("%s, advancing: %v", name, err)
		}
		w.Blocks = w.Blocks[:len(w.Blocks)-1]
	}
	// Deleted, it is gone.
	w.Append(nil, w.fill(fabblocktest.Transaction{Chaincode: "_lifecycle", Endorsers: w.peers("BeijingMSP", "HebeiMSP"),
		Sets: []*rwset.NsReadWriteSet{fabblocktest.Put("_lifecycle", "namespaces/metadata/kv", "")}}).Envelope())
	if w.take(); w.reader.Definition() != nil {
		t.Error("a deleted definition stands")
	}
}

// TestUnfollowable are writes that Fabric takes, that the contract never makes, and that would change who may write
// what in ways that the reader does not follow.
func TestUnfollowable(t *testing.T) {
	w := newWorld(t, 0)
	w.define(1, fabblocktest.Signed(fabblocktest.PeersOf(2, "BeijingMSP", "HebeiMSP", "TianjinMSP")))
	metadata := []*kvrwset.KVMetadataWrite{{Key: "k"}}
	for name, tx := range map[string]fabblocktest.Transaction{
		"a key's own policy": {Sets: []*rwset.NsReadWriteSet{fabblocktest.Set("kv", &kvrwset.KVRWSet{MetadataWrites: metadata})}},
		"private data":       {Sets: []*rwset.NsReadWriteSet{fabblocktest.Set("kv", &kvrwset.KVRWSet{}, fabblocktest.Hashed("c", []byte("hash")))}},
		"a key's own policy in the definitions": {Chaincode: "_lifecycle",
			Sets: []*rwset.NsReadWriteSet{fabblocktest.Set("_lifecycle", &kvrwset.KVRWSet{MetadataWrites: metadata})}},
		"from another contract": {Chaincode: "other", Sets: []*rwset.NsReadWriteSet{fabblocktest.Set("kv", &kvrwset.KVRWSet{MetadataWrites: metadata})}},
	} {
		tx.Endorsers = w.peers("BeijingMSP", "HebeiMSP")
		if got := w.verdict(tx); got != peer.TxValidationCode_ILLEGAL_WRITESET {
			t.Errorf("%s: %s", name, got)
		}
	}
	other := fabblocktest.Transaction{Chaincode: "other", Sets: []*rwset.NsReadWriteSet{fabblocktest.Set("other", &kvrwset.KVRWSet{MetadataWrites: metadata})}}
	if got := w.verdict(other); got != peer.TxValidationCode_VALID {
		t.Errorf("another contract in its own namespace: %s", got)
	}
}

// TestUpdates are configuration updates by the right and by the wrong.
func TestUpdates(t *testing.T) {
	guest := fabblocktest.NewOrg("CustomsMSP")
	timeout := func(root *common.ConfigGroup) {
		root.Groups["Orderer"].Values["BatchTimeout"].Value = fabblocktest.Marshal(&orderer.BatchTimeout{Timeout: "2s"})
	}
	admit := func(root *common.ConfigGroup) { root.Groups["Application"].Groups["CustomsMSP"] = guest.Group() }
	second, err := msp.NewCA("BeijingMSP", "second")
	if err != nil {
		t.Fatal(err)
	}
	root := func(root *common.ConfigGroup, group string) {
		v := root.Groups[group].Groups["BeijingMSP"].Values["MSP"]
		var outer mspproto.MSPConfig
		var inner mspproto.FabricMSPConfig
		if err := errors.Join(proto.Unmarshal(v.GetValue(), &outer), proto.Unmarshal(outer.GetConfig(), &inner)); err != nil {
			t.Fatal(err)
		}
		inner.RootCerts = append(inner.RootCerts, second.Root())
		v.Value = fabblocktest.Marshal(&mspproto.MSPConfig{Config: fabblocktest.Marshal(&inner)})
	}
	roots := func(r *common.ConfigGroup) { root(r, "Application"); root(r, "Orderer") }
	type signers func(w *world) []fabblocktest.Signer
	admins := func(ids ...string) signers {
		return func(w *world) (out []fabblocktest.Signer) {
			for _, id := range ids {
				out = append(out, w.Org(id).Admin)
			}
			return out
		}
	}
	for _, tt := range []struct {
		name   string
		by     signers
		edit   func(*common.ConfigGroup)
		update func(w *world, u *common.ConfigUpdate)                              // before it is signed
		doctor func(w *world, config *common.Config, update *common.Envelope)      // by the orderers
		env    func(w *world, env *common.Envelope) (replacement *common.Envelope) // the whole transaction
		want   string                                                              // part of the cause; empty: accepted
	}{
		{name: "two of three", by: admins("BeijingMSP", "HebeiMSP"), edit: timeout},
		{name: "one of three", by: admins("HebeiMSP"), edit: timeout, want: "/Channel/Orderer/Admins is not met"},
		{name: "one of three, twice", by: admins("HebeiMSP", "HebeiMSP"), edit: timeout, want: "is not met"},
		{name: "clients", by: func(w *world) []fabblocktest.Signer {
			return []fabblocktest.Signer{w.Org("BeijingMSP").Client, w.Org("HebeiMSP").Client}
		}, edit: timeout, want: "is not met"},
		{name: "an impostor", by: func(w *world) []fabblocktest.Signer {
			return []fabblocktest.Signer{w.Org("BeijingMSP").Admin, fabblocktest.NewOrg("HebeiMSP").Admin}
		}, edit: timeout, want: "is not met"},
		{name: "a new organisation", by: admins("TianjinMSP", "HebeiMSP"), edit: admit},
		{name: "a new organisation by one", by: admins("TianjinMSP"), edit: admit, want: "/Channel/Application/Admins is not met"},
		{name: "a new organisation by itself", by: func(*world) []fabblocktest.Signer { return []fabblocktest.Signer{guest.Admin} }, edit: admit, want: "is not met"},
		{name: "an organisation's own root", by: admins("BeijingMSP"), edit: roots},
		{name: "another's root", by: admins("HebeiMSP", "TianjinMSP"), edit: roots, want: "BeijingMSP/Admins is not met"},
		{name: "a root in one of two places", by: admins("BeijingMSP"), edit: func(r *common.ConfigGroup) { root(r, "Application") }, want: "in two ways"},
		{name: "an organisation leaves", by: admins("HebeiMSP", "TianjinMSP"), edit: func(r *common.ConfigGroup) { delete(r.Groups["Application"].Groups, "BeijingMSP") }},
		{name: "an organisation thrown out by one", by: admins("HebeiMSP"), edit: func(r *common.ConfigGroup) { delete(r.Groups["Application"].Groups, "BeijingMSP") }, want: "is not met"},
		{name: "another policy", by: admins("HebeiMSP", "TianjinMSP"), edit: func(r *common.ConfigGroup) {
			fabblocktest.SetImplicit(r.Groups["Application"], "Admins", common.ImplicitMetaPolicy_ANY, "Admins")
		}},
		{name: "a weaker policy by one", by: admins("HebeiMSP"), edit: func(r *common.ConfigGroup) {
			fabblocktest.SetImplicit(r.Groups["Application"], "Admins", common.ImplicitMetaPolicy_ANY, "Admins")
		}, want: "is not met"},
		{name: "by the new policy", by: admins("HebeiMSP"), edit: func(r *common.ConfigGroup) {
			fabblocktest.SetImplicit(r.Groups["Application"], "Admins", common.ImplicitMetaPolicy_ANY, "Admins")
			admit(r)
		}, want: "is not met"},
		{name: "unknown capability", by: admins("BeijingMSP", "HebeiMSP"), edit: func(r *common.ConfigGroup) {
			r.Groups["Application"].Values["Capabilities"].Value = fabblocktest.Marshal(&common.Capabilities{Capabilities: map[string]*common.Capability{"V2_5": {}, "V9": {}}})
		}, want: `"V9", which this program does not know: upgrade it`},
		{name: "another channel's update", by: admins("BeijingMSP", "HebeiMSP"), edit: timeout,
			update: func(_ *world, u *common.ConfigUpdate) { u.ChannelId = "other" }, want: `for channel "other"`},
		{name: "an older state", by: admins("BeijingMSP", "HebeiMSP"), edit: timeout,
			update: func(_ *world, u *common.ConfigUpdate) { u.ReadSet.Groups["Orderer"].Version++ }, want: "not the present one"},
		{name: "something that is not there", by: admins("BeijingMSP", "HebeiMSP"), edit: timeout,
			update: func(_ *world, u *common.ConfigUpdate) { u.ReadSet.Groups["Nothing"] = &common.ConfigGroup{} }, want: "not the present one"},
		{name: "version not raised", by: admins("BeijingMSP", "HebeiMSP"), edit: timeout,
			update: func(_ *world, u *common.ConfigUpdate) {
				u.WriteSet.Groups["Orderer"].Values["BatchTimeout"].Version = 0
			}, want: "would get 0"},
		{name: "version raised by two", by: admins("BeijingMSP", "HebeiMSP"), edit: timeout,
			update: func(_ *world, u *common.ConfigUpdate) {
				u.WriteSet.Groups["Orderer"].Values["BatchTimeout"].Version = 2
			}, want: "would get 2"},
		{name: "a new element with a version", by: admins("TianjinMSP", "HebeiMSP"), edit: admit,
			update: func(_ *world, u *common.ConfigUpdate) {
				u.WriteSet.Groups["Application"].Groups["CustomsMSP"].Version = 1
			}, want: "is new and has version 1"},
		{name: "a new element without a policy", by: admins("TianjinMSP", "HebeiMSP"), edit: admit,
			update: func(_ *world, u *common.ConfigUpdate) {
				u.WriteSet.Groups["Application"].Groups["CustomsMSP"].ModPolicy = ""
			}, want: "mod_policy"},
		{name: "a name that is a path", by: admins("TianjinMSP", "HebeiMSP"), edit: timeout,
			update: func(_ *world, u *common.ConfigUpdate) {
				u.WriteSet.Groups["Orderer/x"] = &common.ConfigGroup{ModPolicy: "Admins"}
			}, want: "is not a name"},
		{name: "nothing", by: admins("TianjinMSP", "HebeiMSP"), edit: timeout,
			update: func(_ *world, u *common.ConfigUpdate) { u.WriteSet = u.ReadSet }, want: "changes nothing"},
		{name: "a policy that is not there", by: admins("TianjinMSP", "HebeiMSP"), edit: timeout,
			update: func(_ *world, u *common.ConfigUpdate) {
				u.WriteSet.Groups["Orderer"].Values["BatchTimeout"].ModPolicy = "Nobody"
			}},
		{name: "more than the update says", by: admins("BeijingMSP", "HebeiMSP"), edit: timeout,
			doctor: func(_ *world, c *common.Config, _ *common.Envelope) {
				c.ChannelGroup.Groups["Application"].Policies["Endorsement"] = c.ChannelGroup.Groups["Application"].Policies["Readers"]
			}, want: "not what its update makes"},
		{name: "less than the update says", by: admins("BeijingMSP", "HebeiMSP"), edit: timeout,
			doctor: func(w *world, c *common.Config, _ *common.Envelope) {
				c.ChannelGroup = w.Config.ChannelGroup
			}, want: "not what its update makes"},
		{name: "an organisation besides", by: admins("BeijingMSP", "HebeiMSP"), edit: timeout,
			doctor: func(_ *world, c *common.Config, _ *common.Envelope) { admit(c.ChannelGroup) }, want: "not what its update makes"},
		{name: "the same number", by: admins("BeijingMSP", "HebeiMSP"), edit: timeout,
			doctor: func(_ *world, c *common.Config, _ *common.Envelope) { c.Sequence = 0 }, want: "1 is the next"},
		{name: "no update", by: admins("BeijingMSP", "HebeiMSP"), edit: timeout,
			doctor: func(_ *world, _ *common.Config, u *common.Envelope) { proto.Reset(u) }, want: "is not an update"},
		{name: "a signature altered", by: admins("BeijingMSP", "HebeiMSP"), edit: timeout,
			doctor: func(_ *world, _ *common.Config, u *common.Envelope) {
				u.Payload[len(u.Payload)-5] ^= 1 // within the last signature
			}, want: "is not met"},
		{name: "another channel", by: admins("BeijingMSP", "HebeiMSP"), edit: timeout,
			env: func(w *world, env *common.Envelope) *common.Envelope {
				other := *w.Channel
				other.ID = "other"
				return other.ConfigTx(w.Config, env)
			}, want: "another channel"},
		{name: "not from an orderer of the channel", by: admins("BeijingMSP", "HebeiMSP"), edit: timeout,
			env: func(w *world, env *common.Envelope) *common.Envelope {
				env.Signature[9] ^= 1
				return env
			}, want: "creator's signature"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, 0)
			update := fabblocktest.Update(w.ID, w.Config, tt.edit)
			if tt.update != nil {
				tt.update(w, update)
			}
			signed := fabblocktest.SignUpdate(w.ID, update, tt.by(w)...)
			config := w.Apply(update)
			if tt.doctor != nil {
				tt.doctor(w, config, signed)
			}
			env := w.ConfigTx(config, signed)
			if tt.env != nil {
				env = tt.env(w, env)
			}
			b := w.Append(nil, env)
			checked, err := w.reader.Check(w.prev(), b)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				if n := checked.Next; n == nil || n.Sequence != 1 || n.Chaincode != "kv" || checked.Txs[0].Verdict != peer.TxValidationCode_VALID {
					t.Errorf("next %+v", n)
				}
				if c, err := w.reader.Advance(b); err != nil || c.Sequence != 1 {
					t.Errorf("advance %+v: %v", c, err)
				}
				// The same block again, or its update in a later one, is an older state.
				w.Config, w.reader = config, checked.Next
				w.Append(nil, w.ConfigTx(&common.Config{Sequence: 2, ChannelGroup: config.GetChannelGroup()}, signed))
				refused(t, w.reader, w.prev(), w.Blocks[len(w.Blocks)-1], fabblock.BadConfig)
				return
			}
			var bad *fabblock.Error
			if !errors.As(err, &bad) || bad.Code != fabblock.BadConfig || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			// A peer that calls it invalid is right.
			b.Metadata.Metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER] = []byte{byte(peer.TxValidationCode_INVALID_CONFIG_TRANSACTION)}
			if checked, err := w.reader.Check(w.prev(), b); err != nil || checked.Next != nil {
				t.Errorf("called invalid: %v", err)
			}
		})
	}
}

// TestUpdateTakesEffect follows the chain past an update.
func TestUpdateTakesEffect(t *testing.T) {
	w := newWorld(t, 0)
	w.define(1, fabblocktest.Named("/Channel/Application/Endorsement"))
	guest := fabblocktest.NewOrg("CustomsMSP")
	visitor := fabblocktest.Transaction{Sets: put, Creator: guest.Client, Endorsers: append(w.peers("BeijingMSP", "HebeiMSP"), guest.Peer)}
	if got := w.verdict(visitor); got != peer.TxValidationCode_BAD_CREATOR_SIGNATURE {
		t.Errorf("before: %s", got)
	}
	update := fabblocktest.Update(w.ID, w.Config, func(root *common.ConfigGroup) { root.Groups["Application"].Groups["CustomsMSP"] = guest.Group() })
	config := w.Apply(update)
	w.Append(nil, w.ConfigTx(config, fabblocktest.SignUpdate(w.ID, update, w.Org("HebeiMSP").Admin, w.Org("TianjinMSP").Admin)))
	w.take()
	if d := w.reader.Definition(); d == nil || d.Sequence != 1 {
		t.Fatalf("the definition is gone: %+v", d)
	}
	if got := w.verdict(visitor); got != peer.TxValidationCode_VALID {
		t.Errorf("after: %s", got)
	}
	// Of four organisations two are no majority.
	if got := w.verdict(fabblocktest.Transaction{Sets: put, Endorsers: w.peers("BeijingMSP", "HebeiMSP")}); got != peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE {
		t.Errorf("two of four: %s", got)
	}
}

func TestConfigurationSharesItsBlock(t *testing.T) {
	w := newWorld(t, 0)
	update := fabblocktest.Update(w.ID, w.Config, func(root *common.ConfigGroup) {
		root.Groups["Orderer"].Values["BatchTimeout"].Value = fabblocktest.Marshal(&orderer.BatchTimeout{Timeout: "2s"})
	})
	tx := w.ConfigTx(w.Apply(update), fabblocktest.SignUpdate(w.ID, update, w.Org("HebeiMSP").Admin, w.Org("TianjinMSP").Admin))
	w.Append(nil, tx, tx)
	refused(t, w.reader, w.prev(), w.Blocks[1], fabblock.BadConfig)
}

func TestBFT(t *testing.T) {
	w := newWorld(t, 4)
	tx := w.fill(fabblocktest.Transaction{Chaincode: "other"}).Envelope()
	b := w.Append(nil, tx)
	for _, tt := range []struct {
		name string
		by   []int
		edit func(md *common.Metadata)
		want fabblock.Code
	}{
		{"a quorum", []int{1, 2, 3}, nil, ""},
		{"all", []int{1, 2, 3, 4}, nil, ""},
		{"another quorum", []int{4, 1, 2}, nil, ""},
		{"short by one", []int{1, 2}, nil, fabblock.BadOrderer},
		{"one twice", []int{1, 2, 2}, nil, fabblock.BadOrderer},
		{"none", []int{}, func(md *common.Metadata) { md.Signatures = nil }, fabblock.BadOrderer},
		{"one altered", []int{1, 2, 3}, func(md *common.Metadata) { md.Signatures[2].Signature[9] ^= 1 }, fabblock.BadOrderer},
		{"in another's name", []int{1, 2, 3}, func(md *common.Metadata) {
			md.Signatures[2].IdentifierHeader = fabblocktest.Marshal(&common.IdentifierHeader{Identifier: 4, Nonce: []byte{3}})
		}, fabblock.BadOrderer},
		{"in nobody's name", []int{1, 2, 3}, func(md *common.Metadata) {
			md.Signatures[2].IdentifierHeader = fabblocktest.Marshal(&common.IdentifierHeader{Identifier: 9, Nonce: []byte{3}})
		}, fabblock.BadOrderer},
		{"over another value", []int{1, 2, 3}, func(md *common.Metadata) { md.Value = append(md.Value, 0) }, fabblock.BadOrderer},
		{"rubbish for a name", []int{1, 2, 3}, func(md *common.Metadata) { md.Signatures[0].IdentifierHeader = []byte{0xff} }, fabblock.BadMetadata},
	} {
		w.Seal(b, tt.by...)
		if tt.edit != nil {
			var md common.Metadata
			if err := proto.Unmarshal(b.Metadata.Metadata[0], &md); err != nil {
				t.Fatal(err)
			}
			tt.edit(&md)
			b.Metadata.Metadata[0] = fabblocktest.Marshal(&md)
		}
		if tt.want != "" {
			t.Run(tt.name, func(t *testing.T) { refused(t, w.reader, w.prev(), b, tt.want) })
		} else if _, err := w.reader.Check(w.prev(), b); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	// A policy that asks for less does not make less enough.
	weak := newWorld(t, 4)
	fabblocktest.SetImplicit(weak.Config.ChannelGroup.Groups["Orderer"], "BlockValidation", common.ImplicitMetaPolicy_ANY, "Writers")
	weak.rewrite(t)
	weak.Append(nil, weak.fill(fabblocktest.Transaction{Chaincode: "other"}).Envelope())
	weak.Seal(weak.Blocks[1], 1, 2)
	refused(t, weak.reader, weak.prev(), weak.Blocks[1], fabblock.BadOrderer)
	weak.Seal(weak.Blocks[1], 1, 2, 3)
	weak.take()
}

// TestBFTOrdererRenewed changes an orderer's certificate by a configuration update.
func TestBFTOrdererRenewed(t *testing.T) {
	w := newWorld(t, 4)
	renewed := w.Orgs[0].Issue("orderer4 renewed", "orderer")
	update := fabblocktest.Update(w.ID, w.Config, func(root *common.ConfigGroup) {
		ordering := root.Groups["Orderer"]
		var mapping common.Orderers
		if err := proto.Unmarshal(ordering.Values["Orderers"].GetValue(), &mapping); err != nil {
			t.Fatal(err)
		}
		var who []*mspproto.MSPPrincipal
		for i, id := range append(slices.Clone(w.Consenters[:3]), renewed) {
			mapping.ConsenterMapping[i].MspId, mapping.ConsenterMapping[i].Identity = id.MspID(), id.Credentials()
			who = append(who, &mspproto.MSPPrincipal{PrincipalClassification: mspproto.MSPPrincipal_IDENTITY, Principal: id.Serialized()})
		}
		ordering.Values["Orderers"].Value = fabblocktest.Marshal(&mapping)
		ordering.Policies["BlockValidation"].Policy.Value = fabblocktest.Marshal(fabblocktest.OutOf(3, who...))
	})
	b := w.Append(nil, w.ConfigTx(w.Apply(update), fabblocktest.SignUpdate(w.ID, update, w.Org("BeijingMSP").Admin, w.Org("HebeiMSP").Admin)))
	w.Seal(b, 1, 2, 4) // as configured before
	w.take()
	b = w.Append(nil, w.fill(fabblocktest.Transaction{Chaincode: "other"}).Envelope())
	w.Seal(b, 1, 2, 4)
	refused(t, w.reader, w.prev(), b, fabblock.BadOrderer)
	w.Consenters[3] = renewed
	w.Seal(b, 1, 2, 4)
	w.take()
}

// rewrite makes block 0 again of the world's configuration.
func (w *world) rewrite(t testing.TB) {
	t.Helper()
	raw := fabblocktest.Marshal(&common.Envelope{Payload: fabblocktest.Marshal(&common.Payload{Header: &common.Header{
		ChannelHeader: fabblocktest.Marshal(&common.ChannelHeader{Type: int32(common.HeaderType_CONFIG), ChannelId: w.ID})},
		Data: fabblocktest.Marshal(&common.ConfigEnvelope{Config: w.Config})})})
	w.Blocks[0].Data.Data[0], w.Blocks[0].Header.DataHash = raw, fabblock.DataHash([][]byte{raw})
	var err error
	if w.reader, err = fabblock.ParseConfig(w.Blocks[0]); err != nil {
		t.Fatal(err)
	}
	w.reader.Chaincode = "kv"
}

// TestConfigurationsRefused are channels whose blocks this package could not judge as Fabric does.
func TestConfigurationsRefused(t *testing.T) {
	capability := func(names ...string) []byte {
		c := &common.Capabilities{Capabilities: map[string]*common.Capability{}}
		for _, n := range names {
			c.Capabilities[n] = &common.Capability{}
		}
		return fabblocktest.Marshal(c)
	}
	organisation := func(f func(*mspproto.MSPConfig, *mspproto.FabricMSPConfig)) func(*common.ConfigGroup) {
		return func(root *common.ConfigGroup) {
			v := root.Groups["Application"].Groups["HebeiMSP"].Values["MSP"]
			outer, inner := &mspproto.MSPConfig{}, &mspproto.FabricMSPConfig{}
			_, _ = proto.Unmarshal(v.GetValue(), outer), proto.Unmarshal(outer.GetConfig(), inner)
			f(outer, inner)
			outer.Config = fabblocktest.Marshal(inner)
			v.Value = fabblocktest.Marshal(outer)
		}
	}
	for _, tt := range []struct {
		name string
		bft  int
		edit func(root *common.ConfigGroup)
		want string
	}{
		{"no organisations", 0, func(r *common.ConfigGroup) { r.Groups["Application"].Groups = nil }, "no application"},
		{"no orderers", 0, func(r *common.ConfigGroup) { delete(r.Groups, "Orderer") }, "no application or no ordering"},
		{"old application", 0, func(r *common.ConfigGroup) {
			r.Groups["Application"].Values["Capabilities"].Value = capability("V1_4_2")
		}, "raise them"},
		{"old channel", 0, func(r *common.ConfigGroup) { r.Values["Capabilities"].Value = capability("V1_3") }, "raise them"},
		{"newer channel", 0, func(r *common.ConfigGroup) { r.Values["Capabilities"].Value = capability("V2_0", "V4_0") }, "upgrade it"},
		{"BFT without the capability", 4, func(r *common.ConfigGroup) { r.Values["Capabilities"].Value = capability("V2_0") }, "without channel capability"},
		{"BFT without orderers", 4, func(r *common.ConfigGroup) { delete(r.Groups["Orderer"].Values, "Orderers") }, "no orderers"},
		{"another hash", 0, func(r *common.ConfigGroup) {
			r.Values["HashingAlgorithm"].Value = fabblocktest.Marshal(&common.HashingAlgorithm{Name: "MD5"})
		}, "hashing"},
		{"idemix", 0, func(r *common.ConfigGroup) {
			for _, group := range []string{"Application", "Orderer"} {
				r.Groups[group].Groups["HebeiMSP"].Values["MSP"].Value = fabblocktest.Marshal(&mspproto.MSPConfig{Type: 1,
					Config: fabblocktest.Marshal(&mspproto.IdemixMSPConfig{Name: "HebeiMSP"})})
			}
		}, "not X.509"},
		{"another membership", 0, organisation(func(o *mspproto.MSPConfig, _ *mspproto.FabricMSPConfig) { o.Type = 2 }), "is not known"},
		{"two ways", 0, organisation(func(_ *mspproto.MSPConfig, f *mspproto.FabricMSPConfig) { f.FabricNodeOus = nil }), "in two ways"},
		{"another hash family", 0, organisation(func(_ *mspproto.MSPConfig, f *mspproto.FabricMSPConfig) {
			f.CryptoConfig = &mspproto.FabricCryptoConfig{SignatureHashFamily: "MD"}
		}), "hash family"},
		{"no policy for blocks", 0, func(r *common.ConfigGroup) { delete(r.Groups["Orderer"].Policies, "BlockValidation") }, "BlockValidation"},
		{"a policy of another kind", 0, func(r *common.ConfigGroup) {
			r.Groups["Orderer"].Policies["BlockValidation"].Policy.Type = int32(common.Policy_MSP)
		}, "type 2 are not evaluated"},
	} {
		w := newWorld(t, tt.bft)
		tt.edit(w.Config.ChannelGroup)
		raw := fabblocktest.Marshal(&common.Envelope{Payload: fabblocktest.Marshal(&common.Payload{Header: &common.Header{
			ChannelHeader: fabblocktest.Marshal(&common.ChannelHeader{Type: int32(common.HeaderType_CONFIG), ChannelId: w.ID})},
			Data: fabblocktest.Marshal(&common.ConfigEnvelope{Config: w.Config})})})
		_, err := fabblock.ParseConfig(&common.Block{Header: &common.BlockHeader{}, Data: &common.BlockData{Data: [][]byte{raw}}})
		var bad *fabblock.Error
		if !errors.As(err, &bad) || bad.Code != fabblock.BadConfig || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
}

// TestOrdererSignatures changes who signs a block of a Raft channel.
func TestOrdererSignatures(t *testing.T) {
	w := newWorld(t, 0)
	tx := w.fill(fabblocktest.Transaction{Chaincode: "other"}).Envelope()
	orderers := w.Orgs[0].Orderer
	for name, who := range map[string]*msp.Identity{"a peer": w.Orgs[0].Peer, "a client of another": fabblocktest.NewOrg("BeijingMSP").Orderer, "nobody's role": w.Orgs[0].Issue("x")} {
		w.Orgs[0].Orderer = who
		w.Append(nil, tx)
		refused(t, w.reader, w.prev(), w.Blocks[1], fabblock.BadOrderer)
		w.Blocks = w.Blocks[:1]
		if name == "" {
			t.Fatal()
		}
	}
	w.Orgs[0].Orderer = orderers
	w.Append(nil, tx)
	w.take()
}

func TestEndorsersNamed(t *testing.T) {
	w := newWorld(t, 0)
	w.define(1, fabblocktest.Signed(fabblocktest.PeersOf(1, "BeijingMSP", "HebeiMSP", "TianjinMSP")))
	w.Append(nil, w.fill(fabblocktest.Transaction{Sets: put, Args: []string{"put", "k"}, Endorsers: []fabblocktest.Signer{
		w.Org("HebeiMSP").Peer, w.Org("HebeiMSP").Client, w.Org("TianjinMSP").Issue("no role"), w.Org("BeijingMSP").Peer}}).Envelope())
	tx := w.take().Txs[0]
	if !slices.Equal(tx.Endorsers, []string{"HebeiMSP", "BeijingMSP"}) || tx.MSP != "BeijingMSP" || tx.CommonName != "client.BeijingMSP" || len(tx.Args) != 2 {
		t.Errorf("transaction %+v", tx)
	}
}

// TestIDLeftOut: peers keep a transaction without an id under the one that follows from nonce and creator, and call
// whatever comes later under that a duplicate. A reader that did not would blame them.
func TestIDLeftOut(t *testing.T) {
	w := newWorld(t, 0)
	var outer *common.SignatureHeader
	env := w.fill(fabblocktest.Transaction{EditOuter: func(h *common.SignatureHeader) { outer = h },
		EditChannel: func(h *common.ChannelHeader) { h.TxId = "" }}).Envelope()
	w.Append([]peer.TxValidationCode{peer.TxValidationCode_BAD_PROPOSAL_TXID}, env)
	tx := w.take().Txs[0]
	if want := fabblock.TxID(outer.GetNonce(), outer.GetCreator()); tx.ID != want || tx.Verdict != peer.TxValidationCode_BAD_PROPOSAL_TXID {
		t.Errorf("id %s verdict %s, want %s", tx.ID, tx.Verdict, want)
	}
	// One whose signature header cannot be read is kept under the id that it names.
	w.Append([]peer.TxValidationCode{peer.TxValidationCode_BAD_COMMON_HEADER}, &common.Envelope{Signature: []byte("s"), Payload: fabblocktest.Marshal(
		&common.Payload{Header: &common.Header{ChannelHeader: fabblocktest.Marshal(&common.ChannelHeader{TxId: "named", Type: 3}), SignatureHeader: []byte{0xff}}})})
	if tx := w.take().Txs[0]; tx.ID != "named" {
		t.Errorf("id %q, want the one that it names", tx.ID)
	}
}

// TestIndifferent: a transaction that changes nothing of ours may be called valid, whatever is wrong with it, and is
// invalid to readers; one that changes something may not.
func TestIndifferent(t *testing.T) {
	w := newWorld(t, 0)
	w.define(1, fabblocktest.Signed(fabblocktest.PeersOf(2, "BeijingMSP", "HebeiMSP", "TianjinMSP")))
	stranger := fabblocktest.NewOrg("BeijingMSP").Client
	private := func(namespace string) *rwset.NsReadWriteSet {
		return fabblocktest.Set(namespace, &kvrwset.KVRWSet{}, fabblocktest.Hashed("_implicit_org_HebeiMSP", []byte{1}))
	}
	for _, tt := range []struct {
		name string
		tx   fabblocktest.Transaction
		want fabblock.Code // "" where it is passed over
	}{
		{"a question", fabblocktest.Transaction{Creator: stranger}, ""},
		{"another contract", fabblocktest.Transaction{Creator: stranger, Chaincode: "other", Sets: []*rwset.NsReadWriteSet{fabblocktest.Put("other", "k", "v")}}, ""},
		{"a question without endorsement", fabblocktest.Transaction{}, ""},
		{"a write", fabblocktest.Transaction{Creator: stranger, Sets: put}, fabblock.BadCreator},
		{"a write by another contract", fabblocktest.Transaction{Creator: stranger, Chaincode: "other", Sets: put}, fabblock.BadCreator},
		{"a private write", fabblocktest.Transaction{Creator: stranger, Sets: []*rwset.NsReadWriteSet{private("kv")}}, fabblock.BadCreator},
		{"an approval", fabblocktest.Transaction{Creator: stranger, Chaincode: "_lifecycle", Sets: []*rwset.NsReadWriteSet{private("_lifecycle")}}, fabblock.BadCreator},
		{"another channel's write", fabblocktest.Transaction{Sets: put, EditChannel: func(h *common.ChannelHeader) { h.ChannelId = "other" }}, fabblock.BadChannel},
		{"no action", fabblocktest.Transaction{Creator: stranger, EditTransaction: func(t *peer.Transaction) { t.Actions = nil }}, fabblock.BadCreator},
	} {
		b := w.Append(nil, w.fill(tt.tx).Envelope())
		checked, err := w.reader.Check(w.prev(), b)
		w.Blocks = w.Blocks[:len(w.Blocks)-1]
		var bad *fabblock.Error
		switch {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want == "" && (checked.Txs[0].Code == peer.TxValidationCode_VALID || checked.Txs[0].Code != checked.Txs[0].Verdict):
			t.Errorf("%s: code %s, verdict %s", tt.name, checked.Txs[0].Code, checked.Txs[0].Verdict)
		case tt.want != "" && (!errors.As(err, &bad) || bad.Code != tt.want):
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
}

// TestOtherKindOfMembership: an organisation can change its own membership to a kind that is not evaluated. That stops
// nobody: it only has no identities any more.
func TestOtherKindOfMembership(t *testing.T) {
	w := newWorld(t, 0)
	w.define(1, fabblocktest.Signed(fabblocktest.PeersOf(2, "BeijingMSP", "HebeiMSP", "TianjinMSP")))
	idemix := fabblocktest.Marshal(&mspproto.MSPConfig{Type: 1, Config: fabblocktest.Marshal(&mspproto.IdemixMSPConfig{Name: "HebeiMSP", Ipk: []byte("a key")})})
	update := fabblocktest.Update(w.ID, w.Config, func(root *common.ConfigGroup) {
		for _, group := range []string{"Application", "Orderer"} {
			root.Groups[group].Groups["HebeiMSP"].Values["MSP"].Value = idemix
		}
	})
	b := w.Append(nil, w.ConfigTx(w.Apply(update), fabblocktest.SignUpdate(w.ID, update, w.Org("HebeiMSP").Admin)))
	before := w.reader
	w.take()
	if again, err := before.Advance(b); err != nil || again.Sequence != 1 {
		t.Errorf("after a restart: %v", err)
	}
	hebei := fabblocktest.Transaction{Creator: w.Org("HebeiMSP").Client, Endorsers: w.peers("BeijingMSP", "TianjinMSP")}
	w.Append(nil, w.fill(hebei).Envelope()) // a question, which its peers call valid
	w.take()
	hebei.Sets = put
	if got := w.verdict(hebei); got != peer.TxValidationCode_BAD_CREATOR_SIGNATURE {
		t.Errorf("a write: %s", got)
	}
	for want, by := range map[peer.TxValidationCode][]string{
		peer.TxValidationCode_VALID: {"BeijingMSP", "TianjinMSP"}, peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE: {"BeijingMSP", "HebeiMSP"},
	} {
		if got := w.verdict(fabblocktest.Transaction{Sets: put, Endorsers: w.peers(by...)}); got != want {
			t.Errorf("%v: %s, want %s", by, got, want)
		}
	}
	if _, err := w.reader.Members.Identify(fabblocktest.Marshal(&mspproto.SerializedIdentity{Mspid: "HebeiMSP", IdBytes: []byte("x")})); err == nil {
		t.Error("something was recognised")
	}
}
