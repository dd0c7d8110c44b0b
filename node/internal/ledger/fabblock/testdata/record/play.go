package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"
	mspproto "github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/network/fabric"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock/fabblocktest"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

type tx = fabblocktest.Transaction

// play is what happens on the channel.
func (r *recorder) play(consensus fabric.Consensus) error {
	put := []*rwset.NsReadWriteSet{fabblocktest.Put(chaincode, "k", "v")}
	if err := r.forge("before the contract is defined", tx{Sets: put}); err != nil {
		return err
	}
	if err := r.deploy("1", 2); err != nil {
		return err
	}
	steps := []func() error{r.honest, r.conflict, r.leniences, r.endorsements, r.malformed, r.neighbour}
	if consensus != fabric.BFT { // its orderers never get over a block that they propose and then refuse
		steps = append(steps, func() error {
			return r.forge("a message", tx{Sets: put, EditChannel: func(h *common.ChannelHeader) { h.Type = int32(common.HeaderType_MESSAGE) }})
		})
	}
	steps = append(steps, r.updates, func() error { return r.deploy("2", 3) }, func() error {
		return errors.Join(
			r.put("two of three peers where three are needed", chaincode, []string{"BeijingMSP", "HebeiMSP"}, "last", "1"),
			r.put("three of three peers", chaincode, []string{"BeijingMSP", "TianjinMSP", "HebeiMSP"}, "last", "2"))
	}, r.lifecycle)
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (r *recorder) deploy(version string, k int) error {
	log.Println("deploying version", version)
	return r.n.Deploy(r.ctx, fabric.Deployment{Name: chaincode, Version: version, Policy: k, Plain: true, Binary: self()})
}

func (r *recorder) honest() error {
	return errors.Join(
		r.put("two of three peers", chaincode, []string{"BeijingMSP", "TianjinMSP"}, "a", "1"),
		r.put("three peers", chaincode, []string{"BeijingMSP", "TianjinMSP", "HebeiMSP"}, "a", "2"),
		r.put("the same key again", chaincode, nil, "a", "3"))
}

// conflict has two transactions endorsed at one height that read one key.
func (r *recorder) conflict() error {
	first, err := r.endorse(chaincode, nil, "b", "1")
	if err != nil {
		return err
	}
	second, err := r.endorse(chaincode, nil, "b", "2")
	if err != nil {
		return err
	}
	if _, err := r.send("the first of two that read one key", first); err != nil {
		return err
	}
	if _, err = r.send("the second of two that read one key", second); err != nil {
		return err
	}
	_, err = r.send("the first of two once more", first)
	return err
}

// leniences are forms that nobody honest writes and that Fabric takes.
func (r *recorder) leniences() error {
	put := []*rwset.NsReadWriteSet{fabblocktest.Put(chaincode, "lenient", "v")}
	b, t := r.peer["BeijingMSP"], r.peer["TianjinMSP"]
	me := r.client["BeijingMSP"]
	return errors.Join(
		r.forge("a byte after an endorsement's signature", tx{Sets: put, EditEndorsement: func(_ int, e *peer.Endorsement) { e.Signature = append(e.Signature, 0) }}),
		r.forge("a byte after the creator's signature", tx{Sets: put, EditEnvelope: func(e *common.Envelope) { e.Signature = append(e.Signature, 7) }}),
		r.forge("text around the creator's certificate", tx{Sets: put, Creator: fabblocktest.WithText(me)}),
		r.forge("text around an endorser's certificate", tx{Sets: put, Endorsers: []fabblocktest.Signer{fabblocktest.WithText(b), t}}),
		r.forge("the other form of the signature on the creator's certificate", tx{Sets: put, Creator: fabblocktest.WithOtherSignature(me)}),
		r.forge("the other form of the signature on an endorser's certificate", tx{Sets: put, Endorsers: []fabblocktest.Signer{fabblocktest.WithOtherSignature(b), t}}),
		r.forge("another nonce in the proposal", tx{Sets: put, EditInner: func(h *common.SignatureHeader) { h.Nonce = h.Nonce[:20] }}),
		r.forge("nonce and creator parted elsewhere", parted(tx{Sets: put, Creator: me})),
		r.forge("an unknown field in the envelope", tx{Sets: put, EditEnvelope: func(e *common.Envelope) {
			e.ProtoReflect().SetUnknown(protowire.AppendBytes(protowire.AppendTag(nil, 9, protowire.BytesType), []byte("unknown")))
		}}),
		r.forge("an administrator as creator", tx{Sets: put, Creator: r.admin["HebeiMSP"]}),
		r.forge("reads only", tx{Sets: []*rwset.NsReadWriteSet{fabblocktest.Set(chaincode, &kvrwset.KVRWSet{Reads: []*kvrwset.KVRead{{Key: "nothing"}}})}}),
		r.forge("no read or write set", tx{}),
		r.forge("a deletion by an empty value", tx{Sets: []*rwset.NsReadWriteSet{fabblocktest.Put(chaincode, "lenient", "")}}),
	)
}

// parted moves the first bytes of the proposal's creator into the nonce's end, so that the transaction id stays.
func parted(t tx) tx {
	prefix := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), []byte("AnotherMSP"))
	t.EditInner = func(h *common.SignatureHeader) { h.Nonce = append(h.Nonce, prefix...) }
	t.EditOuter = func(h *common.SignatureHeader) { h.Creator = append(append([]byte{}, prefix...), h.Creator...) }
	return t
}

// endorsements are signatures that do not make up the policy, two of three peers, and some that do.
func (r *recorder) endorsements() error {
	put := []*rwset.NsReadWriteSet{fabblocktest.Put(chaincode, "endorsed", "v")}
	b, t := r.peer["BeijingMSP"], r.peer["TianjinMSP"]
	by := func(s ...fabblocktest.Signer) []fabblocktest.Signer { return s }
	return errors.Join(
		r.put("one of three peers", chaincode, []string{"TianjinMSP"}, "c", "1"),
		r.forge("no endorsement", tx{Sets: put, Endorsers: []fabblocktest.Signer{}}),
		r.forge("two peers", tx{Sets: put}),
		r.forge("one peer twice", tx{Sets: put, Endorsers: by(b, b)}),
		r.forge("one peer in two forms", tx{Sets: put, Endorsers: by(b, fabblocktest.WithText(b))}),
		r.forge("one peer with both forms of its certificate", tx{Sets: put, Endorsers: by(b, fabblocktest.WithOtherSignature(b))}),
		r.forge("a peer and a client", tx{Sets: put, Endorsers: by(b, r.client["TianjinMSP"])}),
		r.forge("a peer and an administrator", tx{Sets: put, Endorsers: by(b, r.admin["TianjinMSP"])}),
		r.forge("two clients", tx{Sets: put, Endorsers: by(r.client["BeijingMSP"], r.client["TianjinMSP"])}),
		r.forge("two peers and a client in the middle", tx{Sets: put, Endorsers: by(b, r.client["HebeiMSP"], t)}),
		r.forge("one of two signatures altered", tx{Sets: put, EditEndorsement: func(i int, e *peer.Endorsement) { e.Signature[8] ^= byte(i) }}),
		r.forge("two good signatures after a bad one of the same peer", tx{Sets: put, Endorsers: by(b, b, t), EditEndorsement: func(i int, e *peer.Endorsement) {
			if i == 0 {
				e.Signature[8] ^= 1
			}
		}}),
		r.forge("an endorser that is rubbish, and two good ones", tx{Sets: put, Endorsers: by(fabblocktest.Form{Identity: b, Bytes: []byte{1}}, b, t)}),
		r.forge("endorsers that call themselves another organisation's", tx{Sets: put, Endorsers: by(b, fabblocktest.Form{Identity: r.client["TianjinMSP"],
			Bytes: fabblocktest.Marshal(&mspproto.SerializedIdentity{Mspid: "HebeiMSP", IdBytes: r.client["TianjinMSP"].Credentials()})})}),
	)
}

// malformed are transactions that fail before anybody asks who endorsed them.
func (r *recorder) malformed() error {
	put := []*rwset.NsReadWriteSet{fabblocktest.Put(chaincode, "malformed", "v")}
	action := func(what string, edit func(*peer.ChaincodeAction)) error {
		return r.forge(what, tx{Sets: put, EditAction: edit})
	}
	rw := func(sets ...*rwset.NsReadWriteSet) tx { return tx{Sets: sets} }
	return errors.Join(
		r.forge("another transaction id", tx{Sets: put, EditChannel: func(h *common.ChannelHeader) { h.TxId = "00" + h.TxId[2:] }}),
		r.forge("an epoch", tx{Sets: put, EditChannel: func(h *common.ChannelHeader) { h.Epoch = 1 }}),
		r.forge("no nonce in the envelope", tx{Sets: put, EditOuter: func(h *common.SignatureHeader) { h.Nonce = nil }}),
		r.forge("no nonce in the proposal", tx{Sets: put, EditInner: func(h *common.SignatureHeader) { h.Nonce = nil }}),
		r.forge("another proposal", tx{Sets: put, EditPayload: func(p *peer.ChaincodeActionPayload) {
			p.ChaincodeProposalPayload = append(p.ChaincodeProposalPayload, 0x18, 1)
		}}),
		r.forge("two actions", tx{Sets: put, EditTransaction: func(t *peer.Transaction) { t.Actions = append(t.Actions, t.Actions[0]) }}),
		r.forge("no action", tx{Sets: put, EditTransaction: func(t *peer.Transaction) { t.Actions = nil }}),
		r.forge("a header extension that is rubbish", tx{Sets: put, EditChannel: func(h *common.ChannelHeader) { h.Extension = []byte{0xff} }}),
		r.forge("no contract in the header", tx{Sets: put, EditChannel: func(h *common.ChannelHeader) { h.Extension = nil }}),
		action("answered by another contract", func(a *peer.ChaincodeAction) { a.ChaincodeId.Name = "other" }),
		action("answered by none", func(a *peer.ChaincodeAction) { a.ChaincodeId = nil }),
		action("answered in no version", func(a *peer.ChaincodeAction) { a.ChaincodeId.Version = "" }),
		action("an event of another contract", func(a *peer.ChaincodeAction) {
			a.Events = fabblocktest.Marshal(&peer.ChaincodeEvent{ChaincodeId: "other", EventName: "e"})
		}),
		action("an event that is rubbish", func(a *peer.ChaincodeAction) { a.Events = []byte{0xff} }),
		action("a read and write set that is rubbish", func(a *peer.ChaincodeAction) { a.Results = []byte{0xff} }),
		r.forge("one namespace twice", rw(put[0], put[0])),
		r.forge("reads and writes of a namespace that are rubbish", rw(&rwset.NsReadWriteSet{Namespace: chaincode, Rwset: []byte{0xff}})),
		r.forge("a collection that is rubbish", rw(&rwset.NsReadWriteSet{Namespace: chaincode, CollectionHashedRwset: []*rwset.CollectionHashedReadWriteSet{{CollectionName: "c", HashedRwset: []byte{0xff}}}})),
		r.forge("a write to a namespace without a contract", rw(put[0], fabblocktest.Put("nobody", "k", "v"))),
		r.forge("a contract that is not defined", tx{Chaincode: "undefined", Sets: []*rwset.NsReadWriteSet{fabblocktest.Put("undefined", "k", "v")}}),
		r.forge("a contract that is not defined writes to the one that is", tx{Chaincode: "undefined", Sets: put}),
	)
}

// lifecycle are forged definitions and approvals. The approvals' private data do not exist, and the peer of the
// organisation whose they would be looks for them for a minute and commits nothing meanwhile; so this comes last.
func (r *recorder) lifecycle() error {
	hash := sha256.Sum256([]byte("namespaces/metadata/kv#7"))
	approve := func(org string) []*rwset.NsReadWriteSet {
		return []*rwset.NsReadWriteSet{fabblocktest.Set("_lifecycle", &kvrwset.KVRWSet{}, fabblocktest.Hashed("_implicit_org_"+org, hash[:]))}
	}
	define := []*rwset.NsReadWriteSet{fabblocktest.Put("_lifecycle", "namespaces/fields/nobody/Anything", "x")}
	cc := func(sets []*rwset.NsReadWriteSet, by ...string) tx {
		return tx{Chaincode: "_lifecycle", Version: "syscc", Sets: sets, Endorsers: r.peers(by...)}
	}
	return errors.Join(
		r.forge("an approval by the organisation's own peer", cc(approve("TianjinMSP"), "TianjinMSP")),
		r.forge("an approval by another organisation's peer", cc(approve("TianjinMSP"), "BeijingMSP", "HebeiMSP")),
		r.forge("an approval of an organisation that is not there", cc(approve("NobodyMSP"), "BeijingMSP", "HebeiMSP", "TianjinMSP")),
		r.forge("an approval and a definition by one organisation", cc([]*rwset.NsReadWriteSet{fabblocktest.Set("_lifecycle",
			&kvrwset.KVRWSet{Writes: []*kvrwset.KVWrite{{Key: "namespaces/fields/nobody/Version", Value: []byte("x")}}},
			fabblocktest.Hashed("_implicit_org_TianjinMSP", hash[:]))}, "TianjinMSP")),
		r.forge("a definition by one organisation", cc(define, "TianjinMSP")),
		r.forge("a definition by a majority", cc(define, "TianjinMSP", "HebeiMSP")),
		r.forge("a contract writes definitions with one signature", tx{Sets: append([]*rwset.NsReadWriteSet{fabblocktest.Put(chaincode, "k", "v")}, define...), Endorsers: r.peers("HebeiMSP")}),
		r.forge("a question to the definitions, by one organisation", cc(nil, "TianjinMSP")),
		r.forge("a question to the definitions, by a majority", cc(nil, "TianjinMSP", "BeijingMSP")),
	)
}

// neighbour is another contract on the channel, for which one peer is enough.
func (r *recorder) neighbour() error {
	if err := r.n.Deploy(r.ctx, fabric.Deployment{Name: "other", Version: "1", Policy: 1, Plain: true, Binary: self()}); err != nil {
		return err
	}
	other := fabblocktest.Put("other", "k", "v")
	ours := fabblocktest.Put(chaincode, "neighbour", "v")
	return errors.Join(
		r.forge("another contract", tx{Chaincode: "other", Sets: []*rwset.NsReadWriteSet{other}, Endorsers: r.peers("HebeiMSP")}),
		r.forge("another contract writes to ours with its own signatures", tx{Chaincode: "other", Sets: []*rwset.NsReadWriteSet{other, ours}, Endorsers: r.peers("HebeiMSP")}),
		r.forge("another contract writes to ours with our signatures", tx{Chaincode: "other", Sets: []*rwset.NsReadWriteSet{other, ours}}),
		r.forge("ours writes to another", tx{Sets: []*rwset.NsReadWriteSet{other, ours}}))
}

// config is the present configuration.
func (r *recorder) config() (*common.Config, error) {
	for i := len(r.blocks) - 1; i >= 0; i-- {
		data := r.blocks[i].GetData().GetData()
		if c := configOf(data[0]); c != nil {
			return c.GetConfig(), nil
		}
	}
	return nil, errors.New("no configuration yet")
}

func configOf(raw []byte) *common.ConfigEnvelope {
	var env common.Envelope
	var payload common.Payload
	var header common.ChannelHeader
	var config common.ConfigEnvelope
	if proto.Unmarshal(raw, &env) != nil || proto.Unmarshal(env.GetPayload(), &payload) != nil ||
		proto.Unmarshal(payload.GetHeader().GetChannelHeader(), &header) != nil || header.GetType() != int32(common.HeaderType_CONFIG) ||
		proto.Unmarshal(payload.GetData(), &config) != nil {
		return nil
	}
	return &config
}

// update changes the configuration and waits for the block.
func (r *recorder) update(what string, signers []fabblocktest.Signer, edit func(*common.ConfigGroup)) error {
	config, err := r.config()
	if err != nil {
		return err
	}
	env := fabblocktest.SignUpdate(fabric.Channel, fabblocktest.Update(fabric.Channel, config, edit), signers...)
	if _, err := gateway.NewGatewayClient(r.conn).Submit(r.ctx, &gateway.SubmitRequest{ChannelId: fabric.Channel, PreparedTransaction: env}); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	for {
		select {
		case b := <-r.events:
			r.blocks = append(r.blocks, b)
			raw := b.GetData().GetData()[0]
			if c := configOf(raw); c != nil && proto.Equal(c.GetLastUpdate(), env) {
				r.what[key(raw)] = what
				log.Printf("%-70s block %d", what, b.GetHeader().GetNumber())
				return nil
			}
		case <-r.ctx.Done():
			return r.ctx.Err()
		}
	}
}

func (r *recorder) admins(orgs ...string) []fabblocktest.Signer {
	var out []fabblocktest.Signer
	for _, o := range orgs {
		out = append(out, r.admin[o])
	}
	return out
}

// updates change the configuration: a value, a new organisation, one organisation's own authorities, and back.
func (r *recorder) updates() error {
	guest, err := msp.NewCA("CustomsMSP", "ca.customs")
	if err != nil {
		return err
	}
	second, err := msp.NewCA("BeijingMSP", "second ca.beijing")
	if err != nil {
		return err
	}
	renewed, err := second.IssueIn("beijing", []string{"client"}, msp.Validity{})
	if err != nil {
		return err
	}
	put := []*rwset.NsReadWriteSet{fabblocktest.Put(chaincode, "renewed", "v")}
	return errors.Join(
		r.update("another batch timeout, by two of three", r.admins("BeijingMSP", "TianjinMSP"), func(root *common.ConfigGroup) {
			root.Groups["Orderer"].Values["BatchTimeout"].Value = fabblocktest.Marshal(&orderer.BatchTimeout{Timeout: (50 * time.Millisecond).String()})
		}),
		r.update("a fourth organisation, by two of three", r.admins("HebeiMSP", "TianjinMSP"), func(root *common.ConfigGroup) {
			org := proto.Clone(root.Groups["Application"].Groups["HebeiMSP"]).(*common.ConfigGroup)
			org.Values = map[string]*common.ConfigValue{"MSP": {ModPolicy: "Admins", Value: organisation(org.Values["MSP"].GetValue(), guest)}}
			for name, p := range org.GetPolicies() {
				p.Policy.Value = renamed(p.GetPolicy().GetValue(), "CustomsMSP")
				org.Policies[name] = p
			}
			root.Groups["Application"].Groups["CustomsMSP"] = org
		}),
		r.update("an organisation's second authority, by itself", r.admins("BeijingMSP"), func(root *common.ConfigGroup) {
			for _, group := range []string{"Application", "Orderer"} {
				if v := root.Groups[group].Groups["BeijingMSP"].GetValues()["MSP"]; v != nil {
					v.Value = withRoot(v.GetValue(), second.Root())
				}
			}
		}),
		r.forge("a client of the second authority", tx{Sets: put, Creator: renewed}),
		r.put("two peers after the updates", chaincode, []string{"BeijingMSP", "HebeiMSP"}, "d", "1"),
		r.update("the fourth organisation leaves, by three of four", r.admins("BeijingMSP", "HebeiMSP", "TianjinMSP"), func(root *common.ConfigGroup) {
			delete(root.Groups["Application"].Groups, "CustomsMSP")
		}),
	)
}

// organisation is another's membership with its own name and authority.
func organisation(raw []byte, ca *msp.CA) []byte {
	return editMSP(raw, func(f *mspproto.FabricMSPConfig) {
		f.Name, f.RootCerts, f.TlsRootCerts, f.Admins = ca.MspID(), [][]byte{ca.Root()}, nil, nil
		for _, o := range []*mspproto.FabricOUIdentifier{f.FabricNodeOus.ClientOuIdentifier, f.FabricNodeOus.PeerOuIdentifier, f.FabricNodeOus.AdminOuIdentifier, f.FabricNodeOus.OrdererOuIdentifier} {
			o.Certificate = ca.Root()
		}
	})
}

func withRoot(raw, root []byte) []byte {
	return editMSP(raw, func(f *mspproto.FabricMSPConfig) {
		f.RootCerts = append(f.RootCerts, root)
		for _, o := range []*mspproto.FabricOUIdentifier{f.FabricNodeOus.ClientOuIdentifier, f.FabricNodeOus.PeerOuIdentifier, f.FabricNodeOus.AdminOuIdentifier, f.FabricNodeOus.OrdererOuIdentifier} {
			o.Certificate = nil // of either authority
		}
	})
}

func editMSP(raw []byte, edit func(*mspproto.FabricMSPConfig)) []byte {
	var outer mspproto.MSPConfig
	var inner mspproto.FabricMSPConfig
	if err := errors.Join(proto.Unmarshal(raw, &outer), proto.Unmarshal(outer.GetConfig(), &inner)); err != nil {
		panic(err)
	}
	edit(&inner)
	outer.Config = fabblocktest.Marshal(&inner)
	return fabblocktest.Marshal(&outer)
}

// renamed is a signature policy about another organisation.
func renamed(raw []byte, mspID string) []byte {
	var env common.SignaturePolicyEnvelope
	if err := proto.Unmarshal(raw, &env); err != nil {
		panic(err)
	}
	for _, p := range env.GetIdentities() {
		var role mspproto.MSPRole
		if err := proto.Unmarshal(p.GetPrincipal(), &role); err != nil {
			panic(err)
		}
		role.MspIdentifier = mspID
		p.Principal = fabblocktest.Marshal(&role)
	}
	return fabblocktest.Marshal(&env)
}
