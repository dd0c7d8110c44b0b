// Package origin reads the blocks of an embedded ledger that another ledger takes over, and believes nothing in
// them that it has not checked. Everything rests on block 0, which the reader knows by the hash of its header:
// it names the members' authorities and the ledger's own. Every later block follows its predecessor by hash, is
// signed by the ledger's organisation together with its validation codes, and holds transactions that their
// creators signed.
//
// So nobody can leave out, put in or reorder a transaction, or take one up that was not valid; only where the
// old ledger ends does a block not say. What a transaction did is for the contract to find out again.
//
// All functions are pure: no clock is read. The format is docs/spec/embedded-ledger.md; which certificates and
// signatures are accepted follows that page, and where it is lenient this package is.
package origin

import (
	"bytes"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
)

// Bounds on what is read. A block's bytes are bounded by whoever carries them.
const (
	MaxGenesis = 4 << 20 // bytes of block 0
	maxTxs     = 100_000 // transactions of a block
	maxMembers = 1000    // organisations of block 0
	maxListed  = 1000    // certificates and lists of an organisation
)

// Hash is the SHA-256 by which blocks name their predecessor.
type Hash = [sha256.Size]byte

// ErrOrder is a block that is not the one asked for; it may be a good one.
var ErrOrder = errors.New("origin: not the next block")

// A Ledger is the old ledger as its block 0 describes it. It remembers the identities that it has checked and is
// used by one goroutine.
type Ledger struct {
	Channel string
	Hash    Hash // of block 0's header

	members  map[string]*organisation
	orderers map[string]*organisation
	known    map[string]*identity // by organisations' role and serialized form
}

// A Block is a checked block: its valid transactions in order.
type Block struct {
	Number uint64
	Hash   Hash
	Txs    []Tx
}

// A Tx is a valid transaction: who asked what, when, and what the contract answered.
type Tx struct {
	Index      int // place in the block
	Msp        string
	CommonName string
	Time       time.Time
	Args       [][]byte // function and arguments
	Payload    []byte   // of the contract's response
}

// Open reads block 0. The caller compares its Hash before anything in it is believed.
func Open(raw []byte) (*Ledger, error) {
	if len(raw) > MaxGenesis {
		return nil, fmt.Errorf("block 0 is larger than %d bytes", MaxGenesis)
	}
	var b common.Block
	if err := proto.Unmarshal(raw, &b); err != nil {
		return nil, err
	}
	data := b.GetData().GetData()
	if b.GetHeader().GetNumber() != 0 || len(data) != 1 {
		return nil, errors.New("not a block 0 with one configuration")
	}
	if !bytes.Equal(b.GetHeader().GetDataHash(), dataHash(data)) {
		return nil, errors.New("the data hash does not match")
	}
	l := &Ledger{Hash: headerHash(b.GetHeader()), known: map[string]*identity{}}
	return l, l.configure(data[0])
}

func (l *Ledger) configure(raw []byte) error {
	var env common.Envelope
	var payload common.Payload
	var header common.ChannelHeader
	var config common.ConfigEnvelope
	if err := errors.Join(
		proto.Unmarshal(raw, &env), proto.Unmarshal(env.GetPayload(), &payload),
		proto.Unmarshal(payload.GetHeader().GetChannelHeader(), &header), proto.Unmarshal(payload.GetData(), &config),
	); err != nil {
		return err
	}
	root := config.GetConfig().GetChannelGroup()
	if header.GetType() != int32(common.HeaderType_CONFIG) || header.GetChannelId() == "" {
		return errors.New("not a channel's configuration")
	}
	var consensus orderer.ConsensusType
	if err := proto.Unmarshal(root.GetGroups()["Orderer"].GetValues()["ConsensusType"].GetValue(), &consensus); err != nil {
		return err
	}
	// Only the embedded ledger signs its validation codes, without which a block does not say what was valid.
	if consensus.GetType() != "embedded" {
		return fmt.Errorf("a ledger of type %q cannot be taken over, only an embedded one", consensus.GetType())
	}
	l.Channel = header.GetChannelId()
	var err error
	if l.members, err = organisations(root.GetGroups()["Application"]); err != nil {
		return err
	}
	l.orderers, err = organisations(root.GetGroups()["Orderer"])
	return err
}

func organisations(group *common.ConfigGroup) (map[string]*organisation, error) {
	if n := len(group.GetGroups()); n == 0 || n > maxMembers {
		return nil, fmt.Errorf("%d organisations", n)
	}
	out := map[string]*organisation{}
	for name, g := range group.GetGroups() {
		var outer msp.MSPConfig
		var inner msp.FabricMSPConfig
		if err := errors.Join(proto.Unmarshal(g.GetValues()["MSP"].GetValue(), &outer), proto.Unmarshal(outer.GetConfig(), &inner)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if outer.GetType() != 0 || inner.GetName() == "" || out[inner.GetName()] != nil {
			return nil, fmt.Errorf("%s: not one X.509 organisation", name)
		}
		o, err := newOrganisation(&inner)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[inner.GetName()] = o
	}
	return out, nil
}

// Block checks a block that must have the number and follow the block of the hash.
func (l *Ledger) Block(raw []byte, number uint64, previous Hash) (*Block, error) {
	var b common.Block
	if err := proto.Unmarshal(raw, &b); err != nil {
		return nil, err
	}
	h, data, metadata := b.GetHeader(), b.GetData().GetData(), b.GetMetadata().GetMetadata()
	if h.GetNumber() != number {
		return nil, fmt.Errorf("%w: it is %d, and %d is the next", ErrOrder, h.GetNumber(), number)
	}
	if !bytes.Equal(h.GetPreviousHash(), previous[:]) {
		return nil, errors.New("it does not follow the block before it")
	}
	if !bytes.Equal(h.GetDataHash(), dataHash(data)) {
		return nil, errors.New("the data hash does not match")
	}
	if len(data) == 0 || len(data) > maxTxs || len(metadata) <= int(common.BlockMetadataIndex_TRANSACTIONS_FILTER) {
		return nil, errors.New("its parts are not those of a block")
	}
	codes := metadata[common.BlockMetadataIndex_TRANSACTIONS_FILTER]
	if len(codes) != len(data) {
		return nil, errors.New("not one validation code a transaction")
	}
	if err := l.signed(h, metadata[common.BlockMetadataIndex_SIGNATURES], codes); err != nil {
		return nil, err
	}
	out := &Block{Number: number, Hash: headerHash(h)}
	for i, raw := range data {
		if peer.TxValidationCode(codes[i]) != peer.TxValidationCode_VALID {
			continue
		}
		tx, err := l.tx(raw)
		if err != nil {
			return nil, fmt.Errorf("transaction %d: %w", i, err)
		}
		tx.Index = i
		out.Txs = append(out.Txs, *tx)
	}
	return out, nil
}

// signed checks that the ledger's organisation signed the header and the validation codes.
func (l *Ledger) signed(h *common.BlockHeader, raw, codes []byte) error {
	var md common.Metadata
	var value common.OrdererBlockMetadata
	if err := errors.Join(proto.Unmarshal(raw, &md), proto.Unmarshal(md.GetValue(), &value)); err != nil {
		return err
	}
	if sum := sha256.Sum256(codes); !bytes.Equal(value.GetConsenterMetadata(), sum[:]) {
		return errors.New("the validation codes are not the ones that were signed")
	}
	last := errors.New("no signature")
	for _, s := range md.GetSignatures() {
		var sh common.SignatureHeader
		if last = proto.Unmarshal(s.GetSignatureHeader(), &sh); last != nil {
			continue
		}
		var who *identity
		if who, last = l.identify(l.orderers, "o", sh.GetCreator()); last != nil {
			continue
		}
		if last = who.verify(s.GetSignature(), md.GetValue(), s.GetSignatureHeader(), headerBytes(h)); last == nil {
			return nil
		}
	}
	return fmt.Errorf("the ledger's signature: %w", last)
}

// tx checks one valid transaction and reads it.
func (l *Ledger) tx(raw []byte) (*Tx, error) {
	var env common.Envelope
	var payload common.Payload
	var ch common.ChannelHeader
	var sh common.SignatureHeader
	if err := errors.Join(
		proto.Unmarshal(raw, &env), proto.Unmarshal(env.GetPayload(), &payload),
		proto.Unmarshal(payload.GetHeader().GetChannelHeader(), &ch), proto.Unmarshal(payload.GetHeader().GetSignatureHeader(), &sh),
	); err != nil {
		return nil, err
	}
	if ch.GetType() != int32(common.HeaderType_ENDORSER_TRANSACTION) || ch.GetChannelId() != l.Channel {
		return nil, errors.New("not a transaction of the channel")
	}
	who, err := l.identify(l.members, "m", sh.GetCreator())
	if err != nil {
		return nil, err
	}
	if err := who.verify(env.GetSignature(), env.GetPayload()); err != nil {
		return nil, err
	}
	id := sha256.New()
	id.Write(sh.GetNonce())
	id.Write(sh.GetCreator())
	if len(sh.GetNonce()) == 0 || hex.EncodeToString(id.Sum(nil)) != ch.GetTxId() {
		return nil, errors.New("the id is not that of its nonce and creator")
	}
	tx := &Tx{Msp: who.msp, CommonName: who.cert.Subject.CommonName, Time: ch.GetTimestamp().AsTime()}
	return tx, tx.read(&ch, payload.GetData())
}

// read takes question and answer out of the transaction's one action.
func (tx *Tx) read(ch *common.ChannelHeader, raw []byte) error {
	var body peer.Transaction
	if err := proto.Unmarshal(raw, &body); err != nil {
		return err
	}
	if len(body.GetActions()) != 1 {
		return fmt.Errorf("%d actions", len(body.GetActions()))
	}
	var ext peer.ChaincodeHeaderExtension
	var action peer.ChaincodeActionPayload
	var proposal peer.ChaincodeProposalPayload
	var spec peer.ChaincodeInvocationSpec
	var answer peer.ProposalResponsePayload
	var result peer.ChaincodeAction
	if err := errors.Join(
		proto.Unmarshal(ch.GetExtension(), &ext), proto.Unmarshal(body.GetActions()[0].GetPayload(), &action),
		proto.Unmarshal(action.GetChaincodeProposalPayload(), &proposal), proto.Unmarshal(proposal.GetInput(), &spec),
		proto.Unmarshal(action.GetAction().GetProposalResponsePayload(), &answer), proto.Unmarshal(answer.GetExtension(), &result),
	); err != nil {
		return err
	}
	name := ext.GetChaincodeId().GetName()
	if name == "" || result.GetChaincodeId().GetName() != name {
		return fmt.Errorf("%q is asked and %q answers", name, result.GetChaincodeId().GetName())
	}
	tx.Args = spec.GetChaincodeSpec().GetInput().GetArgs()
	if len(tx.Args) == 0 {
		return errors.New("no function")
	}
	if s := result.GetResponse().GetStatus(); s != 200 {
		return fmt.Errorf("it was answered with status %d", s)
	}
	tx.Payload = result.GetResponse().GetPayload()
	return nil
}

func headerBytes(h *common.BlockHeader) []byte {
	b, err := asn1.Marshal(struct {
		Number             *big.Int
		Previous, DataHash []byte
	}{new(big.Int).SetUint64(h.GetNumber()), h.GetPreviousHash(), h.GetDataHash()})
	if err != nil {
		panic(err) // an integer and two byte strings always encode
	}
	return b
}

func headerHash(h *common.BlockHeader) Hash { return sha256.Sum256(headerBytes(h)) }

func dataHash(data [][]byte) []byte {
	h := sha256.New()
	for _, d := range data {
		h.Write(d)
	}
	return h.Sum(nil)
}
