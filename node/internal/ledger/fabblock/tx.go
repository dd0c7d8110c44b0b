package fabblock

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
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
	Config     bool                  // a configuration transaction: only ID, Code and Time are set
	ID         string                // transaction id, 64 hex digits
	MSP        string                // the creator's organisation
	CommonName string                // the creator's certificate subject common name
	Creator    []byte                // the creator as a serialized identity
	Time       time.Time             // the proposal's timestamp
	Chaincode  string
	Args       [][]byte
	Reads      []Read
	Ranges     []Range
	Writes     []Write
	Response   *peer.Response       // what the contract answered
	Event      *peer.ChaincodeEvent // nil if the contract set none
	Endorsers  []string             // organisations whose endorsement is valid, each once
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

// TxID is the transaction id that follows from a nonce and a creator.
func TxID(nonce, creator []byte) string {
	h := sha256.New()
	h.Write(nonce)
	h.Write(creator)
	return hex.EncodeToString(h.Sum(nil))
}

// VerifyTx decodes an endorsed transaction and checks everything about it that does not depend on the state or on
// the clock: form, channel, id, the creator's chain and signature, that the endorsement covers this very proposal,
// the endorsers' chains and signatures and the endorsement rule. The error is a *TxError; the transaction then holds
// what could be decoded.
func (c *Channel) VerifyTx(env *common.Envelope) (*Tx, error) {
	tx := &Tx{}
	if err := c.verifyTx(tx, env); err != nil {
		return tx, err
	}
	return tx, nil
}

func (c *Channel) verifyTx(tx *Tx, env *common.Envelope) error {
	h, err := tx.decodeHeader(env)
	if err != nil {
		return err
	}
	creator, err := c.Members.Identify(tx.Creator)
	if err != nil {
		return &TxError{BadCreator, peer.TxValidationCode_BAD_CREATOR_SIGNATURE, err}
	}
	tx.MSP, tx.CommonName = creator.MSP, creator.Name
	if err := creator.Verify(env.GetSignature(), env.GetPayload()); err != nil {
		return &TxError{BadCreator, peer.TxValidationCode_BAD_CREATOR_SIGNATURE, err}
	}
	if TxID(h.signature.GetNonce(), tx.Creator) != tx.ID {
		return &TxError{BadTxID, peer.TxValidationCode_BAD_PROPOSAL_TXID, nil}
	}
	if h.channel.GetChannelId() != c.ID {
		return &TxError{BadChannel, peer.TxValidationCode_TARGET_CHAIN_NOT_FOUND, fmt.Errorf("%q", h.channel.GetChannelId())}
	}
	a, err := tx.decodeAction(h)
	if err != nil {
		return err
	}
	if c.Chaincode != "" && tx.Chaincode != c.Chaincode {
		return &TxError{BadChaincode, peer.TxValidationCode_INVALID_CHAINCODE, fmt.Errorf("%q", tx.Chaincode)}
	}
	return c.verifyEndorsements(tx, a.GetProposalResponsePayload(), a.GetEndorsements())
}

// header is the outer part of a transaction.
type header struct {
	payload   common.Payload
	channel   common.ChannelHeader
	signature common.SignatureHeader
}

// decodeHeader reads the outer part. A configuration sets tx.Config and is otherwise not a transaction.
func (tx *Tx) decodeHeader(env *common.Envelope) (*header, error) {
	h := &header{}
	if err := proto.Unmarshal(env.GetPayload(), &h.payload); err != nil {
		return nil, &TxError{BadTx, peer.TxValidationCode_BAD_PAYLOAD, err}
	}
	bad := func(cause error) error { return &TxError{BadTx, peer.TxValidationCode_BAD_COMMON_HEADER, cause} }
	if err := proto.Unmarshal(h.payload.GetHeader().GetChannelHeader(), &h.channel); err != nil {
		return nil, bad(err)
	}
	if err := proto.Unmarshal(h.payload.GetHeader().GetSignatureHeader(), &h.signature); err != nil {
		return nil, bad(err)
	}
	tx.ID, tx.Creator, tx.Time = h.channel.GetTxId(), h.signature.GetCreator(), h.channel.GetTimestamp().AsTime()
	if h.channel.GetType() == int32(common.HeaderType_CONFIG) {
		tx.Config = true
		return nil, &TxError{BadTx, peer.TxValidationCode_UNSUPPORTED_TX_PAYLOAD, errors.New("a configuration among transactions")}
	}
	if h.channel.GetType() != int32(common.HeaderType_ENDORSER_TRANSACTION) {
		return nil, bad(fmt.Errorf("type %d", h.channel.GetType()))
	}
	if h.channel.GetEpoch() != 0 || len(h.signature.GetNonce()) == 0 || len(tx.Creator) == 0 {
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
	if !bytes.Equal(inner.GetCreator(), tx.Creator) || !bytes.Equal(inner.GetNonce(), h.signature.GetNonce()) {
		return nil, malformed(errors.New("the proposal has another creator"))
	}
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
	if err := tx.decodeInput(&h.channel, ccPayload.GetChaincodeProposalPayload()); err != nil {
		return nil, malformed(err)
	}
	if err := tx.decodeResult(prp.GetExtension()); err != nil {
		return nil, err
	}
	return ccPayload.GetAction(), nil
}

func (tx *Tx) decodeInput(channel *common.ChannelHeader, raw []byte) error {
	var ext peer.ChaincodeHeaderExtension
	if err := proto.Unmarshal(channel.GetExtension(), &ext); err != nil {
		return err
	}
	tx.Chaincode = ext.GetChaincodeId().GetName()
	var proposal peer.ChaincodeProposalPayload
	if err := proto.Unmarshal(raw, &proposal); err != nil {
		return err
	}
	var spec peer.ChaincodeInvocationSpec
	if err := proto.Unmarshal(proposal.GetInput(), &spec); err != nil {
		return err
	}
	tx.Args = spec.GetChaincodeSpec().GetInput().GetArgs()
	return nil
}

func (tx *Tx) decodeResult(raw []byte) error {
	var result peer.ChaincodeAction
	if err := proto.Unmarshal(raw, &result); err != nil {
		return &TxError{BadTx, peer.TxValidationCode_BAD_RESPONSE_PAYLOAD, err}
	}
	if result.GetChaincodeId().GetName() != tx.Chaincode {
		return &TxError{BadChaincode, peer.TxValidationCode_INVALID_CHAINCODE, fmt.Errorf("answered by %q", result.GetChaincodeId().GetName())}
	}
	tx.Response = result.GetResponse()
	if len(result.GetEvents()) > 0 {
		tx.Event = &peer.ChaincodeEvent{}
		if err := proto.Unmarshal(result.GetEvents(), tx.Event); err != nil {
			return &TxError{BadTx, peer.TxValidationCode_INVALID_OTHER_REASON, err}
		}
	}
	if err := tx.decodeRWSet(result.GetResults()); err != nil {
		return &TxError{BadWriteSet, peer.TxValidationCode_BAD_RWSET, err}
	}
	return nil
}

func (tx *Tx) decodeRWSet(raw []byte) error {
	var set rwset.TxReadWriteSet
	if err := proto.Unmarshal(raw, &set); err != nil {
		return err
	}
	if set.GetDataModel() != rwset.TxReadWriteSet_KV {
		return fmt.Errorf("data model %d", set.GetDataModel())
	}
	for _, ns := range set.GetNsRwset() {
		var kv kvrwset.KVRWSet
		if err := proto.Unmarshal(ns.GetRwset(), &kv); err != nil {
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
	}
	return nil
}

func (c *Channel) verifyEndorsements(tx *Tx, response []byte, endorsements []*peer.Endorsement) error {
	signed := map[string]bool{}
	var last error
	for _, e := range endorsements {
		who, err := c.Members.Identify(e.GetEndorser())
		if err == nil {
			err = who.Verify(e.GetSignature(), response, e.GetEndorser())
		}
		if err != nil {
			last = err // one bad endorsement does not spoil enough good ones, as in Fabric
			continue
		}
		if !signed[who.MSP] {
			signed[who.MSP] = true
			tx.Endorsers = append(tx.Endorsers, who.MSP)
		}
	}
	if !c.Endorsement.met(signed) {
		if last == nil {
			last = fmt.Errorf("%d of %v needed, have %v", c.Endorsement.Need, c.Endorsement.Of, tx.Endorsers)
		}
		return &TxError{BadEndorsement, peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE, last}
	}
	for _, w := range tx.Writes {
		if c.Chaincode != "" && w.Namespace != c.Chaincode {
			return &TxError{BadWriteSet, peer.TxValidationCode_ILLEGAL_WRITESET, fmt.Errorf("writes to %q", w.Namespace)}
		}
	}
	return nil
}
