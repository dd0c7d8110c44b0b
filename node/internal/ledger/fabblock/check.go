// Package fabblock reads Hyperledger Fabric blocks and believes nothing in them that it has not checked.
//
// A Channel comes from the configuration in the genesis block, which the reader knows by its hash. Check then takes
// each block with its predecessor's header: number, hash chain, data hash, the orderer's signature, and for every
// transaction that the block calls valid the creator's and endorsers' signatures, the transaction id and the binding
// of the endorsement to the proposal. What a transaction did to the state is in its write set; whether that is what
// the contract would have done is for the reader to find out by running the contract's rules again.
//
// The same code decides at the embedded ledger's Submit what may enter a block, so that nothing enters which a
// reader would refuse.
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
	Channel      *Channel // the configuration that the block holds; nil for a block of transactions
	Next         *Channel // what the next block is to be checked against, where this one changes it; nil otherwise and in block 0
}

// Check verifies b as the successor of the block with header prev (nil for block 0) and decodes it. The error is an
// *Error that names the block and the transaction.
//
// Transactions that the block marks invalid are decoded as far as they go and are not otherwise judged: they changed
// nothing. Who marked them so depends on the ledger. On the embedded ledger the block's signature covers the codes, so
// nobody else can hide a transaction by changing one; on Fabric each peer adds its own and nothing signs them. That a transaction of an earlier block stands in this one again, marked valid, is for the reader to see
// who knows the earlier ids.
//
// Only block 0 may hold a configuration. A later one could bring in other roots for a member, and the orderer's
// signature alone is no reason to believe it; so it is refused.
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
	for i, raw := range b.GetData().GetData() {
		tx := &out.Txs[i]
		tx.Index, tx.Code = i, peer.TxValidationCode(filter[i])
		if err := c.checkTx(out, tx, raw); err != nil {
			return nil, err
		}
	}
	return out, nil
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

// checkOrderer checks the signatures over the block's header against the rule of the ordering organisations.
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
	signed := map[string]bool{}
	var last error
	for _, s := range md.GetSignatures() {
		var sh common.SignatureHeader
		if err := proto.Unmarshal(s.GetSignatureHeader(), &sh); err != nil {
			last = err
			continue
		}
		who, err := c.Orderers.Identify(sh.GetCreator())
		if err == nil {
			err = who.Verify(s.GetSignature(), md.GetValue(), s.GetSignatureHeader(), header)
		}
		if err != nil {
			last = err
			continue
		}
		signed[who.MSP] = true
	}
	if !c.Ordering.met(signed) {
		return blockError(BadOrderer, n, last)
	}
	return nil
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

// Advance is the channel after a block that Check has passed before, such as one in the node's archive: what the next
// block is to be checked against. No signature is verified again. It is c itself where the block changes nothing.
func (c *Channel) Advance(b *common.Block) (*Channel, error) {
	if _, err := Decode(b); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Channel) checkTx(out *Block, tx *Tx, raw []byte) error {
	fail := func(code Code, cause error) error {
		return &Error{Code: code, Block: out.Number, Tx: tx.Index, Cause: cause}
	}
	var env common.Envelope
	if err := proto.Unmarshal(raw, &env); err != nil {
		tx.Verdict = peer.TxValidationCode_INVALID_OTHER_REASON
		if tx.Code == peer.TxValidationCode_VALID {
			return fail(BadTx, err)
		}
		return nil
	}
	err := c.verifyTx(tx, &env)
	if bad := (*TxError)(nil); errors.As(err, &bad) && !tx.Config {
		tx.Verdict = bad.Validation
	}
	if tx.Code != peer.TxValidationCode_VALID {
		return nil
	}
	if tx.Config {
		if out.Number > 0 || len(out.Txs) != 1 {
			return fail(BadConfig, errors.New("a change of configuration is not accepted"))
		}
		out.Channel = c
		return nil
	}
	var bad *TxError
	if errors.As(err, &bad) {
		return fail(bad.Code, bad.Cause)
	}
	return nil
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
		var env common.Envelope
		if err = proto.Unmarshal(raw, &env); err == nil {
			var hd *header
			if hd, err = tx.decodeHeader(&env); err == nil {
				if _, err = tx.decodeAction(hd); err == nil {
					err = tx.readCreator()
				}
			}
		}
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
