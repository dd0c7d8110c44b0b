package fabblock

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/rwset/kvrwset"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
)

// A Tx is one transaction of a block, decoded. Its byte slices share the block's memory where they can and are not
// to be changed.
type Tx struct {
	Index      int                   // place in the block
	Code       peer.TxValidationCode // what the block says of it; only VALID ones changed the state
	Verdict    peer.TxValidationCode // what every check that needs no state says of it: VALID, or the code Fabric gives
	Config     bool                  // a configuration transaction: only ID, Code, Verdict and Time are set
	ID         string                // transaction id, 64 hex digits; where the transaction names none, the one that follows from nonce and creator
	MSP        string                // the organisation of whoever made the proposal
	CommonName string                // the proposer's certificate subject common name
	Creator    []byte                // the proposer as a serialized identity: the one whose right the contract judged
	Time       time.Time             // the proposal's timestamp
	Chaincode  string
	Args       [][]byte
	Init       bool // asked as Fabric's initialisation, which peers allow where the definition requires it
	Reads      []Read
	Ranges     []Range
	Writes     []Write
	Response   *peer.Response       // what the contract answered
	Event      *peer.ChaincodeEvent // nil if the contract set none
	Endorsers  []string             // organisations whose endorsement is valid, each once; not for other contracts on Fabric

	wrote     []string      // namespaces that it writes to, in any way
	beyond    []string      // namespaces in which it writes private data or endorsement policies of keys
	lifecycle *lifecycleSet // what it does to definitions of contracts; nil: nothing
}

// A Version is the place of the transaction that wrote a value.
type Version struct {
	Block uint64
	Tx    uint64
}

// A Read is a key that the contract read and the version it saw, nil if the key was absent.
type Read struct {
	Namespace, Key string
	Version        *Version
}

// A Range is a range query that the contract made.
type Range struct {
	Namespace string
	Info      *kvrwset.RangeQueryInfo
}

// A Write is a key that the transaction sets or deletes.
type Write struct {
	Namespace, Key string
	Value          []byte
	Delete         bool
}

// A TxError is a transaction that is not valid by itself, whatever the state holds. Validation is the code that
// Fabric's validation gives it.
type TxError struct {
	Code       Code
	Validation peer.TxValidationCode
	Cause      error
}

func (e *TxError) Error() string {
	s := texts[e.Code][0]
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *TxError) Unwrap() error { return e.Cause }

// Wrote reports whether the transaction writes to a namespace, in the open or in private.
func (tx *Tx) Wrote(namespace string) bool {
	return slices.Contains(tx.wrote, namespace) || slices.ContainsFunc(tx.Writes, func(w Write) bool { return w.Namespace == namespace })
}

// TxID is the transaction id that follows from a nonce and a creator.
func TxID(nonce, creator []byte) string {
	h := sha256.New()
	h.Write(nonce)
	h.Write(creator)
	return hex.EncodeToString(h.Sum(nil))
}

// header is the outer part of a transaction.
type header struct {
	payload   common.Payload
	channel   common.ChannelHeader
	signature common.SignatureHeader
}

// decodeHeader reads the outer part.
func (tx *Tx) decodeHeader(env *common.Envelope) (*header, error) {
	h := &header{}
	if err := proto.Unmarshal(env.GetPayload(), &h.payload); err != nil {
		return nil, &TxError{BadTx, peer.TxValidationCode_BAD_PAYLOAD, err}
	}
	bad := func(cause error) error { return &TxError{BadTx, peer.TxValidationCode_BAD_COMMON_HEADER, cause} }
	if err := proto.Unmarshal(h.payload.GetHeader().GetChannelHeader(), &h.channel); err != nil {
		return nil, bad(err)
	}
	tx.ID, tx.Time = h.channel.GetTxId(), h.channel.GetTimestamp().AsTime()
	if err := proto.Unmarshal(h.payload.GetHeader().GetSignatureHeader(), &h.signature); err != nil {
		return nil, bad(err)
	}
	if tx.ID == "" && len(h.signature.GetNonce())+len(h.signature.GetCreator()) > 0 {
		// Peers keep it under the id that it should have had. Whatever comes later under that id is a duplicate to them.
		tx.ID = TxID(h.signature.GetNonce(), h.signature.GetCreator())
	}
	switch common.HeaderType(h.channel.GetType()) {
	case common.HeaderType_CONFIG:
		tx.Config = true
	case common.HeaderType_ENDORSER_TRANSACTION, common.HeaderType_CONFIG_UPDATE:
	default:
		return nil, bad(fmt.Errorf("type %d", h.channel.GetType()))
	}
	if h.channel.GetEpoch() != 0 || len(h.signature.GetNonce()) == 0 || len(h.signature.GetCreator()) == 0 {
		return nil, bad(errors.New("epoch, nonce or creator"))
	}
	return h, nil
}

// decodeAction reads the one action of an endorsed transaction, what the contract was asked and what it answered,
// and checks that the answer belongs to the question.
func (tx *Tx) decodeAction(h *header) (*peer.ChaincodeEndorsedAction, error) {
	malformed := func(cause error) error {
		return &TxError{BadTx, peer.TxValidationCode_INVALID_ENDORSER_TRANSACTION, cause}
	}
	if t := h.channel.GetType(); t != int32(common.HeaderType_ENDORSER_TRANSACTION) {
		return nil, &TxError{BadTx, peer.TxValidationCode_UNSUPPORTED_TX_PAYLOAD, fmt.Errorf("type %d", t)}
	}
	var body peer.Transaction
	if err := proto.Unmarshal(h.payload.GetData(), &body); err != nil {
		return nil, malformed(err)
	}
	if len(body.GetActions()) != 1 {
		return nil, malformed(fmt.Errorf("%d actions", len(body.GetActions())))
	}
	action := body.GetActions()[0]
	var inner common.SignatureHeader
	if err := proto.Unmarshal(action.GetHeader(), &inner); err != nil {
		return nil, malformed(err)
	}
	if len(inner.GetNonce()) == 0 || len(inner.GetCreator()) == 0 {
		return nil, malformed(errors.New("the proposal has no nonce or no creator"))
	}
	// The contract judged the right of the proposal's creator, whose identity the endorsements cover. Fabric does not
	// ask that the envelope's creator be written with the same bytes; its transaction id must be the same.
	tx.Creator = inner.GetCreator()
	var ccPayload peer.ChaincodeActionPayload
	if err := proto.Unmarshal(action.GetPayload(), &ccPayload); err != nil {
		return nil, malformed(err)
	}
	var prp peer.ProposalResponsePayload
	if err := proto.Unmarshal(ccPayload.GetAction().GetProposalResponsePayload(), &prp); err != nil {
		return nil, malformed(err)
	}
	hash := ProposalHash(h.payload.GetHeader().GetChannelHeader(), action.GetHeader(), ccPayload.GetChaincodeProposalPayload())
	if !bytes.Equal(hash, prp.GetProposalHash()) {
		return nil, &TxError{BadBinding, peer.TxValidationCode_INVALID_ENDORSER_TRANSACTION, nil}
	}
	asked, err := tx.decodeInput(&h.channel, ccPayload.GetChaincodeProposalPayload())
	if err != nil {
		return nil, err
	}
	if err := tx.decodeResult(asked, prp.GetExtension()); err != nil {
		return nil, err
	}
	return ccPayload.GetAction(), nil
}

// decodeInput reads which contract was asked, and what.
func (tx *Tx) decodeInput(channel *common.ChannelHeader, raw []byte) (*peer.ChaincodeID, error) {
	var ext peer.ChaincodeHeaderExtension
	if err := proto.Unmarshal(channel.GetExtension(), &ext); err != nil {
		return nil, &TxError{BadTx, peer.TxValidationCode_BAD_HEADER_EXTENSION, err}
	}
	tx.Chaincode = ext.GetChaincodeId().GetName()
	var proposal peer.ChaincodeProposalPayload
	if err := proto.Unmarshal(raw, &proposal); err != nil {
		return nil, &TxError{BadTx, peer.TxValidationCode_INVALID_ENDORSER_TRANSACTION, err}
	}
	var spec peer.ChaincodeInvocationSpec
	if err := proto.Unmarshal(proposal.GetInput(), &spec); err != nil {
		return nil, &TxError{BadTx, peer.TxValidationCode_INVALID_ENDORSER_TRANSACTION, err}
	}
	tx.Args, tx.Init = spec.GetChaincodeSpec().GetInput().GetArgs(), spec.GetChaincodeSpec().GetInput().GetIsInit()
	return ext.GetChaincodeId(), nil
}

// decodeResult reads the contract's answer.
func (tx *Tx) decodeResult(asked *peer.ChaincodeID, raw []byte) error {
	var result peer.ChaincodeAction
	if err := proto.Unmarshal(raw, &result); err != nil {
		return &TxError{BadTx, peer.TxValidationCode_BAD_RESPONSE_PAYLOAD, err}
	}
	if len(raw) == 0 {
		return &TxError{BadTx, peer.TxValidationCode_BAD_RESPONSE_PAYLOAD, errors.New("no answer")}
	}
	if err := tx.decodeRWSet(result.GetResults()); err != nil {
		return err
	}
	id := result.GetChaincodeId()
	if asked == nil || id == nil {
		return &TxError{BadChaincode, peer.TxValidationCode_INVALID_OTHER_REASON, errors.New("the question or the answer names none")}
	}
	if tx.Chaincode == "" || id.GetName() != tx.Chaincode || id.GetVersion() == "" {
		return &TxError{BadChaincode, peer.TxValidationCode_INVALID_CHAINCODE, fmt.Errorf("%q is answered by %q in version %q", tx.Chaincode, id.GetName(), id.GetVersion())}
	}
	tx.Response = result.GetResponse()
	if len(result.GetEvents()) > 0 {
		tx.Event = &peer.ChaincodeEvent{}
		if err := proto.Unmarshal(result.GetEvents(), tx.Event); err != nil {
			return &TxError{BadTx, peer.TxValidationCode_INVALID_OTHER_REASON, err}
		}
		if tx.Event.GetChaincodeId() != tx.Chaincode {
			return &TxError{BadTx, peer.TxValidationCode_INVALID_OTHER_REASON, fmt.Errorf("an event of %q", tx.Event.GetChaincodeId())}
		}
	}
	return nil
}

func (tx *Tx) decodeRWSet(raw []byte) error {
	bad := func(err error) error { return &TxError{BadWriteSet, peer.TxValidationCode_BAD_RWSET, err} }
	var set rwset.TxReadWriteSet
	if err := proto.Unmarshal(raw, &set); err != nil {
		return bad(err)
	}
	for i, ns := range set.GetNsRwset() {
		for _, other := range set.GetNsRwset()[:i] {
			if other.GetNamespace() == ns.GetNamespace() {
				return &TxError{BadWriteSet, peer.TxValidationCode_ILLEGAL_WRITESET, fmt.Errorf("namespace %q stands there twice", ns.GetNamespace())}
			}
		}
		if err := tx.decodeNamespace(ns); err != nil {
			return bad(err)
		}
	}
	return nil
}

func (tx *Tx) decodeNamespace(ns *rwset.NsReadWriteSet) error {
	kv := &kvrwset.KVRWSet{}
	if err := proto.Unmarshal(ns.GetRwset(), kv); err != nil {
		return err
	}
	for _, r := range kv.GetReads() {
		read := Read{Namespace: ns.GetNamespace(), Key: r.GetKey()}
		if v := r.GetVersion(); v != nil {
			read.Version = &Version{v.GetBlockNum(), v.GetTxNum()}
		}
		tx.Reads = append(tx.Reads, read)
	}
	for _, q := range kv.GetRangeQueriesInfo() {
		tx.Ranges = append(tx.Ranges, Range{ns.GetNamespace(), q})
	}
	for _, w := range kv.GetWrites() {
		tx.Writes = append(tx.Writes, Write{
			Namespace: ns.GetNamespace(), Key: w.GetKey(), Value: w.GetValue(),
			// An empty value is a deletion in Fabric, whatever the flag says.
			Delete: w.GetIsDelete() || len(w.GetValue()) == 0,
		})
	}
	writes, beyond := len(kv.GetWrites()) > 0, len(kv.GetMetadataWrites()) > 0
	var collections []lifecycleCollection
	for _, c := range ns.GetCollectionHashedRwset() {
		hashed := &kvrwset.HashedRWSet{}
		if err := proto.Unmarshal(c.GetHashedRwset(), hashed); err != nil {
			return err
		}
		beyond = beyond || len(hashed.GetHashedWrites()) > 0 || len(hashed.GetMetadataWrites()) > 0
		collections = append(collections, lifecycleCollection{c.GetCollectionName(), hashed})
	}
	if writes || beyond {
		tx.wrote = append(tx.wrote, ns.GetNamespace())
	}
	if beyond {
		tx.beyond = append(tx.beyond, ns.GetNamespace())
	}
	if ns.GetNamespace() == lifecycleNamespace {
		tx.lifecycle = &lifecycleSet{kv, collections}
	}
	return nil
}
