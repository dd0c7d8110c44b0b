// Package fabblock reads Hyperledger Fabric blocks and believes nothing in them that it has not checked.
//
// A Channel comes from the configuration in the genesis block, which the reader knows by its hash. Check then takes
// each block with its predecessor's header: number, hash chain, data hash, the orderers' signatures, and for every
// transaction the creator's and endorsers' signatures, the transaction id, the binding of the endorsement to the
// proposal, and the endorsement policy that the organisations have agreed for the contract. A block that changes the
// configuration or the contract's definition is held against the one before, and gives the Channel for the next.
// What a transaction did to the state is in its write set; whether that is what the contract would have done, and
// whether what it had read was still so, is for the reader to find out, who has the contract's rules and the state.
//
// The same code decides at the embedded ledger's Submit what may enter a block, so that nothing enters which a
// reader would refuse.
//
// docs/spec/fabric-blocks.md says what is checked, and docs/design/0014-believing-a-fabric-block.md why so.
package fabblock

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
)

// A Block is a checked block, decoded.
type Block struct {
	Number       uint64
	Hash         []byte // of the header: what the next block names as its predecessor
	PreviousHash []byte
	DataHash     []byte
	Txs          []Tx
	Next         *Channel // what the next block is to be checked against, where this one changes it; nil otherwise and in block 0
}

// Check verifies b as the successor of the block with header prev (nil for block 0) and decodes it. The error is an
// *Error that names the block and the transaction.
//
// Every transaction gets a Verdict of its own, whatever the block says of it. A block is refused that calls a
// transaction valid which is not, or a change of the configuration invalid which is valid: Fabric's orderers do not
// sign the validation codes, each peer adds its own. A transaction that the block calls invalid and whose Verdict is
// VALID is for the reader to judge, who has the state: whether what it read has changed since, and whether an earlier
// transaction has its id. That goes for definitions of the contract too; Next rests on the block's codes for them, and
// is not to be used before the reader has found them right. On the embedded ledger the block's signature covers the
// codes.
//
// The embedded ledger's configuration never changes; a later one is refused.
func (c *Channel) Check(prev *common.BlockHeader, b *common.Block) (*Block, error) {
	h := b.GetHeader()
	if h == nil {
		return nil, blockError(BadBlock, 0, errors.New("no header"))
	}
	if err := checkChain(prev, b); err != nil {
		return nil, err
	}
	// The genesis block carries no signature: its reader knows it by its hash.
	if h.GetNumber() > 0 {
		if err := c.checkOrderer(b); err != nil {
			return nil, err
		}
	}
	filter, err := Filter(b)
	if err != nil {
		return nil, err
	}
	if c.SealedCodes && h.GetNumber() > 0 {
		if err := checkCodes(b, filter); err != nil {
			return nil, err
		}
	}
	out := &Block{Number: h.GetNumber(), Hash: HeaderHash(h), PreviousHash: h.GetPreviousHash(), DataHash: h.GetDataHash(),
		Txs: make([]Tx, len(b.GetData().GetData()))}
	check := &checker{channel: c, out: out, defined: c.defined}
	for i, raw := range b.GetData().GetData() {
		tx := &out.Txs[i]
		tx.Index, tx.Code = i, peer.TxValidationCode(filter[i])
		if err := check.tx(tx, raw); err != nil {
			return nil, err
		}
	}
	if check.changed {
		if out.Next, err = c.withDefinition(check.defined); err != nil {
			return nil, blockError(BadDefinition, out.Number, err)
		}
	}
	return out, nil
}

// withDefinition is the channel after transactions on the contract's definition.
func (c *Channel) withDefinition(l lifecycle) (*Channel, error) {
	next := *c
	next.defined = l
	return &next, next.define()
}

// Advance is the channel after a block that Check has passed before, such as one in the node's archive: what the next
// block is to be checked against. No signature is verified again. It is c itself where the block changes nothing, and
// for block 0, from which c came.
func (c *Channel) Advance(b *common.Block) (*Channel, error) {
	number := b.GetHeader().GetNumber()
	filter, err := Filter(b)
	if err != nil {
		return nil, err
	}
	if number == 0 || c.SealedCodes {
		return c, nil
	}
	defined, changed := c.defined, false
	for i, raw := range b.GetData().GetData() {
		tx := &Tx{Index: i}
		if peer.TxValidationCode(filter[i]) != peer.TxValidationCode_VALID {
			continue
		}
		h, err := tx.decode(raw)
		if tx.Config && err == nil {
			var config *configTx
			var next *Channel
			if config, err = decodeConfigPayload(&h.payload); err == nil {
				next, err = c.configured(config)
			}
			if err != nil {
				return nil, &Error{BadConfig, number, i, err}
			}
			return next, nil // it stands alone in its block
		}
		if err != nil {
			return nil, &Error{BadTx, number, i, err}
		}
		if tx.lifecycle.touches(c.Chaincode) {
			defined, changed = defined.with(c.Chaincode, tx.lifecycle), true
		}
	}
	if !changed {
		return c, nil
	}
	next, err := c.withDefinition(defined)
	if err != nil {
		return nil, blockError(BadDefinition, number, err)
	}
	return next, nil
}

// checkChain checks what ties the block to its predecessor and its transactions to its header.
func checkChain(prev *common.BlockHeader, b *common.Block) error {
	h := b.GetHeader()
	n := h.GetNumber()
	if prev == nil {
		if n != 0 {
			return blockError(BadNumber, n, errors.New("no predecessor given"))
		}
	} else {
		if n != prev.GetNumber()+1 || n == 0 {
			return blockError(BadNumber, n, fmt.Errorf("follows block %d", prev.GetNumber()))
		}
		if !bytes.Equal(h.GetPreviousHash(), HeaderHash(prev)) {
			return blockError(BadPrevious, n, nil)
		}
	}
	if len(b.GetData().GetData()) == 0 {
		return blockError(BadBlock, n, errors.New("no transactions"))
	}
	for i, raw := range b.GetData().GetData() {
		// Nobody signs the envelope in which a channel's first configuration comes.
		if err := checkFraming(raw); err != nil && n > 0 {
			return &Error{BadFraming, n, i, err}
		}
	}
	if !bytes.Equal(h.GetDataHash(), DataHash(b.GetData().GetData())) {
		return blockError(BadDataHash, n, nil)
	}
	return nil
}

// Filter is the block's validation codes, one for each transaction.
func Filter(b *common.Block) ([]byte, error) {
	n, m := b.GetHeader().GetNumber(), b.GetMetadata().GetMetadata()
	if len(m) <= int(common.BlockMetadataIndex_TRANSACTIONS_FILTER) {
		return nil, blockError(BadMetadata, n, errors.New("no validation codes"))
	}
	f := m[common.BlockMetadataIndex_TRANSACTIONS_FILTER]
	if len(f) != len(b.GetData().GetData()) {
		return nil, blockError(BadMetadata, n, fmt.Errorf("%d validation codes for %d transactions", len(f), len(b.GetData().GetData())))
	}
	return f, nil
}

// checkOrderer checks the signatures over the block's header against the policy of the ordering organisations. Under
// BFT consensus a quorum of the orderers must have signed as well; they name themselves by number.
func (c *Channel) checkOrderer(b *common.Block) error {
	n, m := b.GetHeader().GetNumber(), b.GetMetadata().GetMetadata()
	if len(m) <= int(common.BlockMetadataIndex_SIGNATURES) {
		return blockError(BadMetadata, n, errors.New("no signatures"))
	}
	var md common.Metadata
	if err := proto.Unmarshal(m[common.BlockMetadataIndex_SIGNATURES], &md); err != nil {
		return blockError(BadMetadata, n, err)
	}
	header := HeaderBytes(b.GetHeader())
	set := make([]signature, 0, len(md.GetSignatures()))
	for _, s := range md.GetSignatures() {
		identity, signed, err := c.ordererOf(s)
		if err != nil {
			return blockError(BadMetadata, n, err)
		}
		if identity != nil {
			set = append(set, signature{identity, s.GetSignature(), [3][]byte{md.GetValue(), signed, header}})
		}
	}
	who, last := c.signers(set)
	if !c.ordering.MetBy(who) {
		return blockError(BadOrderer, n, unmet(c.ordering, who, last))
	}
	if k := c.consentersAmong(who); k < c.quorum {
		return blockError(BadOrderer, n, fmt.Errorf("%d orderers signed, and %d of %d are a quorum", k, c.quorum, len(c.consenters)))
	}
	return nil
}

// ordererOf is who claims to have made a block signature, and the header of it that the signature covers. The identity
// is nil for a number that no orderer has.
func (c *Channel) ordererOf(s *common.MetadataSignature) (identity, signed []byte, err error) {
	if c.bft && len(s.GetSignatureHeader()) == 0 && len(s.GetIdentifierHeader()) > 0 {
		var h common.IdentifierHeader
		err := proto.Unmarshal(s.GetIdentifierHeader(), &h)
		return c.consenters[h.GetIdentifier()], s.GetIdentifierHeader(), err
	}
	var h common.SignatureHeader
	if err := proto.Unmarshal(s.GetSignatureHeader(), &h); err != nil {
		return nil, nil, err
	}
	return h.GetCreator(), s.GetSignatureHeader(), nil
}

// consentersAmong counts the signers that are orderers of the channel. Where consensus is not BFT none are needed.
func (c *Channel) consentersAmong(who []*msp.Subject) int {
	if c.quorum == 0 {
		return 0
	}
	n := 0
	for _, raw := range c.consenters {
		o, err := c.all.Resolve(raw)
		if err != nil || o.Invalid() != nil {
			continue
		}
		for _, s := range who {
			if s.Same(o) {
				n++
				break
			}
		}
	}
	return n
}

// checkCodes holds the validation codes against the digest in the value that the block's signatures, checked before,
// cover.
func checkCodes(b *common.Block, filter []byte) error {
	n := b.GetHeader().GetNumber()
	var md common.Metadata
	if err := proto.Unmarshal(b.GetMetadata().GetMetadata()[common.BlockMetadataIndex_SIGNATURES], &md); err != nil {
		return blockError(BadMetadata, n, err)
	}
	var sealed common.OrdererBlockMetadata
	if err := proto.Unmarshal(md.GetValue(), &sealed); err != nil {
		return blockError(BadMetadata, n, err)
	}
	if !bytes.Equal(sealed.GetConsenterMetadata(), CodesHash(filter)) {
		return blockError(BadCodes, n, nil)
	}
	return nil
}

// checker takes the transactions of one block in order.
type checker struct {
	channel *Channel // as of before the block: what a block defines counts from the next one
	out     *Block
	defined lifecycle // what has been written about the contract's definition, this block's transactions included
	changed bool      // this block wrote some of it
}

// tx judges one transaction and holds the block's code against the verdict.
func (k *checker) tx(tx *Tx, raw []byte) error {
	fail := func(code Code, cause error) error { return &Error{code, k.out.Number, tx.Index, cause} }
	var env common.Envelope
	if err := proto.Unmarshal(raw, &env); err != nil {
		tx.Verdict = peer.TxValidationCode_INVALID_OTHER_REASON
		if tx.Code == peer.TxValidationCode_VALID {
			return fail(BadTx, err)
		}
		return nil
	}
	if k.out.Number == 0 {
		return k.genesis(tx, &env)
	}
	err := k.channel.judge(tx, &env)
	if err == nil && tx.Config {
		err = k.config(tx, &env)
	}
	_ = tx.rule(err)
	valid := tx.Code == peer.TxValidationCode_VALID
	var bad *TxError
	switch {
	case valid && errors.As(err, &bad) && tx.Config:
		return fail(BadConfig, bad)
	case valid && errors.As(err, &bad) && k.channel.indifferent(&env):
		tx.Code = tx.Verdict
	case valid && errors.As(err, &bad):
		return fail(bad.Code, bad.Cause)
	case !valid && err == nil && tx.Config:
		return fail(HiddenChange, fmt.Errorf("the block says %s", tx.Code))
	case valid && tx.lifecycle.touches(k.channel.Chaincode):
		k.defined, k.changed = k.defined.with(k.channel.Chaincode, tx.lifecycle), true
	}
	return nil
}

// indifferent reports whether it makes no difference to anybody who reads the contract's state if a transaction is valid:
// it writes neither there nor to the definitions of contracts. Where a peer calls such a one valid and it does not check
// here, nobody is blamed, since the cause may be a kind of identity that this program does not know, which its
// organisation alone admits. Readers see it as invalid.
func (c *Channel) indifferent(env *common.Envelope) bool {
	if c.SealedCodes {
		return false
	}
	tx := &Tx{}
	h, err := tx.decodeHeader(env)
	if err == nil {
		_, err = tx.decodeAction(h)
	}
	return err == nil && !tx.Wrote(lifecycleNamespace) && (c.Chaincode == "" || !tx.Wrote(c.Chaincode))
}

// genesis takes the channel's first configuration as it is: whoever reads it knows its hash.
func (k *checker) genesis(tx *Tx, env *common.Envelope) error {
	_, err := tx.decodeHeader(env)
	if !tx.Config || len(k.out.Txs) != 1 {
		return &Error{BadConfig, 0, tx.Index, errors.Join(errors.New("not exactly one transaction, a configuration"), err)}
	}
	return nil
}

// config checks a change of the configuration.
func (k *checker) config(tx *Tx, env *common.Envelope) error {
	bad := func(err error) error {
		return &TxError{BadConfig, peer.TxValidationCode_INVALID_CONFIG_TRANSACTION, err}
	}
	if k.channel.SealedCodes {
		return bad(errors.New("the embedded ledger's configuration does not change"))
	}
	if len(k.out.Txs) != 1 {
		return bad(errors.New("a configuration shares its block"))
	}
	var payload common.Payload
	if err := proto.Unmarshal(env.GetPayload(), &payload); err != nil {
		return bad(err)
	}
	config, err := decodeConfigPayload(&payload)
	if err != nil {
		return bad(err)
	}
	next, err := k.channel.update(config)
	if err != nil {
		return bad(err)
	}
	k.out.Next = next
	return nil
}

// decode reads a transaction without judging it.
func (tx *Tx) decode(raw []byte) (*header, error) {
	var env common.Envelope
	if err := proto.Unmarshal(raw, &env); err != nil {
		return nil, err
	}
	h, err := tx.decodeHeader(&env)
	if err != nil || tx.Config {
		return h, err
	}
	if _, err := tx.decodeAction(h); err != nil {
		return nil, err
	}
	return h, tx.readCreator()
}

// Decode reads a block whose bytes are already known to be the ones that were checked, such as a node's own store or
// archive: it decodes what Check decodes, except the endorsers, without verifying signatures or the chain.
func Decode(b *common.Block) (*Block, error) {
	h := b.GetHeader()
	filter, err := Filter(b)
	if err != nil {
		return nil, err
	}
	out := &Block{Number: h.GetNumber(), Hash: HeaderHash(h), PreviousHash: h.GetPreviousHash(), DataHash: h.GetDataHash(),
		Txs: make([]Tx, len(filter))}
	for i, raw := range b.GetData().GetData() {
		tx := &out.Txs[i]
		tx.Index, tx.Code = i, peer.TxValidationCode(filter[i])
		_, err := tx.decode(raw)
		if err != nil && !tx.Config && tx.Code == peer.TxValidationCode_VALID {
			return nil, &Error{Code: BadTx, Block: out.Number, Tx: i, Cause: err}
		}
	}
	return out, nil
}

func (tx *Tx) readCreator() error {
	who, err := msp.Read(tx.Creator)
	if err != nil {
		return err
	}
	tx.MSP, tx.CommonName = who.MSP, who.Name
	return nil
}
