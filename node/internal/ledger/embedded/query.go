package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/ledger/queryresult"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"github.com/syndtr/goleveldb/leveldb/iterator"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// batchSize is how many results travel from a Fabric peer to a contract at a time. The peer reads one result further
// to see whether there is more, and what it has read is what validation checks; so a contract that stops early here
// conflicts with exactly the same writes as on Fabric.
const batchSize = 100

// stateIterator hands out a range in batches.
type stateIterator struct {
	source  *recordedRange
	batch   []*queryresult.KV
	carried *queryresult.KV // the result read beyond a full batch
	more    bool            // carried starts another batch
	read    int             // results read so far
	limit   int             // results that may be read
	closed  bool
}

// all opens a range without pages.
func (s *stub) all(start, end string) (shim.StateQueryIteratorInterface, error) {
	source, err := s.sim.query(start, end)
	if err != nil {
		return nil, err
	}
	it := &stateIterator{source: source, limit: s.sim.limit}
	if err := it.fill(batchSize); err != nil {
		return nil, err
	}
	return it, nil
}

// page opens one page of a range. A page of size 0 from the start is the whole range, as in Fabric.
func (s *stub) page(start, end string, size int32, bookmark string) (shim.StateQueryIteratorInterface, *peer.QueryResponseMetadata, error) {
	if size == 0 && bookmark == "" {
		it, err := s.all(start, end)
		return it, &peer.QueryResponseMetadata{}, err
	}
	if s.sim.wrote {
		return nil, nil, errPaged(s.sim.proposal.txID)
	}
	s.sim.paged = true
	if bookmark != "" {
		start = bookmark
	}
	source, err := s.sim.query(start, end)
	if err != nil {
		return nil, nil, err
	}
	it := &stateIterator{source: source, limit: s.sim.limit}
	if size > 0 && int(size) < it.limit {
		it.limit = int(size)
	}
	if err := it.fill(it.limit); err != nil {
		return nil, nil, err
	}
	// The bookmark is the key that follows the page. Looking it up is no read of the transaction.
	next, err := peek(source)
	if err != nil {
		return nil, nil, err
	}
	return it, &peer.QueryResponseMetadata{FetchedRecordsCount: int32(it.read), Bookmark: next}, nil
}

func peek(r *recordedRange) (string, error) {
	if r.query.exhausted {
		return "", nil
	}
	key, _, _, _, err := r.scan.next()
	return key, err
}

// fill reads until the batch holds size results and one more is known, the range ends, or the limit is reached.
func (it *stateIterator) fill(size int) error {
	it.batch, it.more = nil, false
	if it.carried != nil {
		it.batch, it.carried = append(it.batch, it.carried), nil
	}
	for it.read < it.limit {
		key, value, ok, err := it.source.next()
		if err != nil {
			return err
		}
		if !ok {
			return nil
		}
		it.read++
		kv := &queryresult.KV{Namespace: it.source.sim.set.namespace, Key: key, Value: value}
		if len(it.batch) == size {
			it.carried, it.more = kv, true
			return nil
		}
		it.batch = append(it.batch, kv)
	}
	return nil
}

func (it *stateIterator) HasNext() bool { return !it.closed && (len(it.batch) > 0 || it.more) }

func (it *stateIterator) Next() (*queryresult.KV, error) {
	if !it.HasNext() {
		return nil, errors.New("no such key")
	}
	kv := it.batch[0]
	it.batch = it.batch[1:]
	if len(it.batch) == 0 && it.more {
		if err := it.fill(batchSize); err != nil {
			return nil, err
		}
	}
	return kv, nil
}

func (it *stateIterator) Close() error {
	it.closed = true
	return nil
}

// historyScan walks over the versions of a key from the newest to the oldest.
type historyScan struct {
	sim    *simulation
	key    string
	prefix []byte
	it     iterator.Iterator
	begun  bool
	next   *queryresult.KeyModification
	block  *fabblock.Block // the last block read; one block often holds several versions
	closed bool
}

// advance finds the next older version.
func (h *historyScan) advance() error {
	h.next = nil
	if h.sim.expired.Load() {
		return errExpired
	}
	move := h.it.Prev
	if !h.begun {
		h.begun, move = true, h.it.Last
	}
	if !move() {
		return h.it.Error()
	}
	place := h.it.Key()[len(h.prefix):]
	if len(place) != 12 {
		return fmt.Errorf("%w: state: history of %q", ErrCorrupt, h.key)
	}
	m, err := h.modification(binary.BigEndian.Uint64(place), int(binary.BigEndian.Uint32(place[8:])))
	if err != nil {
		return err
	}
	h.next = m
	return nil
}

func (h *historyScan) modification(number uint64, tx int) (*queryresult.KeyModification, error) {
	if h.block == nil || h.block.Number != number {
		b, err := h.sim.store.block(number)
		if err != nil {
			return nil, err
		}
		if h.block, err = fabblock.Decode(b); err != nil {
			return nil, err
		}
	}
	if tx >= len(h.block.Txs) {
		return nil, fmt.Errorf("%w: state: history of %q names block %d tx %d", ErrCorrupt, h.key, number, tx)
	}
	t := &h.block.Txs[tx]
	w, ok := findWrite(t, h.sim.set.namespace, h.key)
	if !ok {
		return nil, fmt.Errorf("%w: state: history of %q names block %d tx %d", ErrCorrupt, h.key, number, tx)
	}
	return &queryresult.KeyModification{TxId: t.ID, Value: w.Value, Timestamp: timestamppb.New(t.Time), IsDelete: w.Delete}, nil
}

func (h *historyScan) HasNext() bool { return !h.closed && h.next != nil }

func (h *historyScan) Next() (*queryresult.KeyModification, error) {
	if !h.HasNext() {
		return nil, errors.New("no such key")
	}
	m := h.next
	if err := h.advance(); err != nil {
		return nil, err
	}
	return m, nil
}

func (h *historyScan) Close() error {
	h.closed = true
	return nil
}
