package fabblock

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// VerifyTx decodes an endorsed transaction and checks everything about it that does not depend on the state or on
// the clock: form, channel, id, the creator's chain and signature, that the endorsement covers this very proposal,
// the endorsers' chains and signatures and the endorsement policy. The error is a *TxError; the transaction then holds
// what could be decoded.
func (c *Channel) VerifyTx(env *common.Envelope) (*Tx, error) {
	tx := &Tx{}
	err := c.judge(tx, env)
	if err == nil && tx.Config {
		err = &TxError{BadTx, peer.TxValidationCode_UNSUPPORTED_TX_PAYLOAD, errors.New("a configuration among transactions")}
	}
	return tx, tx.rule(err)
}

// rule notes what the checks came to.
func (tx *Tx) rule(err error) error {
	tx.Verdict = peer.TxValidationCode_VALID
	if bad := (*TxError)(nil); errors.As(err, &bad) {
		tx.Verdict = bad.Validation
	}
	return err
}

// judge checks a transaction in the order in which Fabric's peers do, so that it fails with the code that they give.
// Of a configuration it checks only what it has in common with other transactions.
func (c *Channel) judge(tx *Tx, env *common.Envelope) error {
	h, err := tx.decodeHeader(env)
	if err != nil {
		return err
	}
	badCreator := func(err error) error {
		return &TxError{BadCreator, peer.TxValidationCode_BAD_CREATOR_SIGNATURE, err}
	}
	creator, err := c.all.Identify(h.signature.GetCreator())
	if err != nil {
		return badCreator(err)
	}
	if err := creator.Verify(env.GetSignature(), env.GetPayload()); err != nil {
		return badCreator(err)
	}
	if h.channel.GetChannelId() != c.ID {
		return &TxError{BadChannel, peer.TxValidationCode_TARGET_CHAIN_NOT_FOUND, fmt.Errorf("%q", h.channel.GetChannelId())}
	}
	if tx.Config {
		return nil
	}
	if h.channel.GetType() == int32(common.HeaderType_ENDORSER_TRANSACTION) && TxID(h.signature.GetNonce(), h.signature.GetCreator()) != h.channel.GetTxId() {
		return &TxError{BadTxID, peer.TxValidationCode_BAD_PROPOSAL_TXID, nil}
	}
	a, err := tx.decodeAction(h)
	if err != nil {
		return err
	}
	if !bytes.Equal(tx.Creator, h.signature.GetCreator()) {
		if creator, err = c.all.Identify(tx.Creator); err != nil {
			return badCreator(fmt.Errorf("of the proposal: %w", err))
		}
	}
	tx.MSP, tx.CommonName = creator.MSP, creator.Name
	e := &endorsed{channel: c, tx: tx, response: a.GetProposalResponsePayload(), endorsements: a.GetEndorsements()}
	if c.SealedCodes {
		return e.judgeEmbedded()
	}
	return e.judge()
}

// endorsed is a transaction whose endorsements are being judged.
type endorsed struct {
	channel      *Channel
	tx           *Tx
	response     []byte
	endorsements []*peer.Endorsement

	known bool // who and last are set
	who   []*msp.Subject
	last  error
}

// require checks that the endorsers meet the policy.
func (e *endorsed) require(p *Policy) error {
	if !e.known {
		e.known = true
		set := make([]signature, len(e.endorsements))
		for i, s := range e.endorsements {
			set[i] = signature{s.GetEndorser(), s.GetSignature(), [3][]byte{e.response, s.GetEndorser()}}
		}
		e.who, e.last = e.channel.signers(set)
		for _, s := range e.who {
			if s.Invalid() == nil && !slices.Contains(e.tx.Endorsers, s.MSP) {
				e.tx.Endorsers = append(e.tx.Endorsers, s.MSP)
			}
		}
	}
	if p.MetBy(e.who) {
		return nil
	}
	return &TxError{BadEndorsement, peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE, unmet(p, e.who, e.last)}
}

// judgeEmbedded applies the embedded ledger's rules: one contract, which writes to its own namespace only, and the
// policy of the configuration.
func (e *endorsed) judgeEmbedded() error {
	name := e.channel.Chaincode
	if name != "" && e.tx.Chaincode != name {
		return &TxError{BadChaincode, peer.TxValidationCode_INVALID_CHAINCODE, fmt.Errorf("%q", e.tx.Chaincode)}
	}
	if err := e.require(e.channel.endorsement); err != nil {
		return err
	}
	for _, ns := range e.tx.wrote {
		if name != "" && ns != name {
			return illegal("writes to %q", ns)
		}
	}
	return e.ordinary(name)
}

// judge applies Fabric's rules: for every namespace that the transaction writes to, and for that of its own contract,
// the policy of that namespace. Only those of the contract and of the definitions are judged here. What happens in
// any other changes nothing that is read.
func (e *endorsed) judge() error {
	judged := func(ns string) error {
		switch ns {
		case lifecycleNamespace:
			return e.judgeLifecycle()
		case e.channel.Chaincode:
			if ns == "" {
				return nil
			}
			d := e.channel.definition
			if d == nil {
				return &TxError{BadChaincode, peer.TxValidationCode_INVALID_CHAINCODE, fmt.Errorf("%q is not defined", ns)}
			}
			if err := e.require(d.Policy); err != nil {
				return err
			}
			return e.ordinary(ns)
		}
		return nil
	}
	if err := judged(e.tx.Chaincode); err != nil {
		return err
	}
	for _, ns := range e.tx.wrote {
		if ns == e.tx.Chaincode {
			continue
		}
		if err := judged(ns); err != nil {
			return err
		}
	}
	return nil
}

// ordinary refuses writes that the contract never makes and that a reader could not follow: private data, and
// endorsement policies of single keys, which would change who may write them.
func (e *endorsed) ordinary(ns string) error {
	if slices.Contains(e.tx.beyond, ns) {
		return illegal("writes private data or endorsement policies of keys in %q", ns)
	}
	return nil
}

func illegal(format string, ns string) error {
	return &TxError{BadWriteSet, peer.TxValidationCode_ILLEGAL_WRITESET, fmt.Errorf(format, ns)}
}

// judgeLifecycle applies the policy of definitions to public writes, and of each organisation to its approvals. A
// transaction with neither needs the policy of definitions.
func (e *endorsed) judgeLifecycle() error {
	set := e.tx.lifecycle
	if set == nil {
		return e.require(e.channel.defining)
	}
	if len(set.public.GetMetadataWrites()) > 0 {
		return illegal("writes endorsement policies of keys in %q", lifecycleNamespace)
	}
	checked := false
	if len(set.public.GetWrites()) > 0 {
		if err := e.require(e.channel.defining); err != nil {
			return err
		}
		checked = true
	}
	for _, c := range set.collections {
		if len(c.set.GetMetadataWrites()) > 0 {
			return illegal("writes endorsement policies of keys in %q", lifecycleNamespace)
		}
		if len(c.set.GetHashedWrites()) == 0 {
			continue
		}
		p := e.channel.collectionPolicy(c.name)
		if p == nil {
			return &TxError{BadEndorsement, peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE, fmt.Errorf("there is no collection %q", c.name)}
		}
		if err := e.require(p); err != nil {
			return err
		}
		checked = true
	}
	if checked {
		return nil
	}
	return e.require(e.channel.defining)
}
