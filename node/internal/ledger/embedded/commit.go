package embedded

import (
	"crypto/rand"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// sealedBlock is a block ready to be stored.
type sealedBlock struct {
	number uint64
	hash   []byte // of the header
	stored []byte // checksum ‖ encoded block
}

// commitLoop is the committer: the one goroutine that makes blocks. It ends when the queue is closed and empty.
func (l *Ledger) commitLoop() {
	for range l.queue.wake {
		batch := l.queue.take()
		if len(batch) > 0 {
			err := l.commit(batch)
			// Ids are freed only now: whoever submits one of them again finds it in the index.
			l.queue.forget(batch)
			for _, p := range batch {
				p.finish(err)
			}
		}
		if l.queue.drained() {
			return
		}
	}
}

// commit puts the transactions into one block, judges them, stores the block and announces it. The error is the
// ledger's end: see store.append.
func (l *Ledger) commit(batch []*pending) error {
	if err := l.Err(); err != nil {
		return err
	}
	begin := time.Now()
	number := l.store.height
	v := newValidator(l.store, number)
	txs := make([]*fabblock.Tx, len(batch))
	data := make([][]byte, len(batch))
	filter := make([]byte, len(batch))
	for i, p := range batch {
		code, err := v.judge(i, p.tx)
		if err != nil {
			return l.fail(err)
		}
		p.tx.Index, p.tx.Code = i, code
		txs[i], data[i], filter[i] = p.tx, p.encoded, byte(code)
	}
	b, err := l.seal(number, data, filter)
	if err != nil {
		return l.fail(err)
	}
	if err := l.store.append(b, txs); err != nil {
		return l.fail(err)
	}
	l.head.publish(b)
	l.waiting.announce(number, txs)
	l.metrics.committed(b, txs, time.Since(begin))
	return nil
}

// seal makes and signs the block as Fabric's orderer does, with the validation codes that Fabric's peer adds. The
// signature covers a digest of them, where Fabric's orderers put what concerns their consensus: whoever passes the
// block on cannot make a transaction look invalid and so hide what it did.
func (l *Ledger) seal(number uint64, data [][]byte, filter []byte) (*sealedBlock, error) {
	header := &common.BlockHeader{Number: number, PreviousHash: l.store.hash, DataHash: fabblock.DataHash(data)}
	headerBytes := fabblock.HeaderBytes(header)
	nonce := make([]byte, 24)
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	value := marshal(&common.OrdererBlockMetadata{LastConfig: &common.LastConfig{}, ConsenterMetadata: fabblock.CodesHash(filter)})
	signatureHeader := marshal(&common.SignatureHeader{Creator: l.cfg.Identity.Serialized(), Nonce: nonce})
	sig, err := l.cfg.Identity.Sign(value, signatureHeader, headerBytes)
	if err != nil {
		return nil, err
	}
	m := newMetadata()
	m[common.BlockMetadataIndex_SIGNATURES] = marshal(&common.Metadata{
		Value: value, Signatures: []*common.MetadataSignature{{SignatureHeader: signatureHeader, Signature: sig}}})
	m[lastConfigIndex] = marshal(&common.Metadata{Value: marshal(&common.LastConfig{})})
	m[common.BlockMetadataIndex_TRANSACTIONS_FILTER] = filter
	b := &common.Block{Header: header, Data: &common.BlockData{Data: data}, Metadata: &common.BlockMetadata{Metadata: m}}
	return &sealedBlock{number: number, hash: hashOf(headerBytes), stored: sealBlock(marshal(b))}, nil
}

// outcomeOf is what readers are told about a transaction.
type outcomeOf struct {
	block uint64
	code  peer.TxValidationCode
}
