package embedded

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// Submit orders a transaction. It answers once the block that holds it is on the disk and applied, so an answer
// means ordered for good; whether the transaction is valid is CommitStatus's business.
//
// Errors say what is known:
//   - InvalidArgument, PermissionDenied, Aborted: refused, and in no block on account of this call.
//   - AlreadyExists: ordered or being ordered on account of an earlier call.
//   - ResourceExhausted: the queue is full; in no block.
//   - Unavailable: the ledger does not accept, or stopped while it wrote; perhaps in a block.
//   - DeadlineExceeded, Canceled: perhaps in a block.
func (s service) Submit(ctx context.Context, request *gateway.SubmitRequest) (*gateway.SubmitResponse, error) {
	env := request.GetPreparedTransaction()
	if env == nil {
		return nil, status.Error(codes.InvalidArgument, "a prepared transaction is required")
	}
	if len(env.GetSignature()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "prepared transaction must be signed")
	}
	if err := s.Err(); err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	tx, err := s.accept(env)
	if err != nil {
		s.metrics.refused.Inc()
		return nil, err
	}
	if request.GetTransactionId() != tx.ID || request.GetChannelId() != s.channel.ID {
		return nil, status.Error(codes.InvalidArgument, "the request and its transaction disagree about transaction or channel")
	}
	known, err := s.store.known(tx.ID)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	if known {
		return nil, duplicate(tx.ID)
	}
	p := &pending{tx: tx, done: make(chan struct{}), encoded: marshal(&common.Envelope{Payload: env.GetPayload(), Signature: env.GetSignature()})}
	if err := s.queue.put(p); err != nil {
		return nil, err
	}
	select {
	case <-p.done:
		if p.err != nil {
			return nil, status.Error(codes.Unavailable, p.err.Error())
		}
		return &gateway.SubmitResponse{}, nil
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

func duplicate(txID string) error {
	return status.Errorf(codes.AlreadyExists, "duplicate transaction found [%s]", txID)
}

// accept checks everything about a transaction that a reader of its block will check, and that its creator's
// certificate is valid now.
func (l *Ledger) accept(env *common.Envelope) (*fabblock.Tx, error) {
	if n := proto.Size(env); n > l.cfg.Limits.MessageBytes {
		return nil, status.Errorf(codes.InvalidArgument, "the transaction has %d bytes, %d are allowed", n, l.cfg.Limits.MessageBytes)
	}
	tx, err := l.channel.VerifyTx(env)
	if err != nil {
		l.cfg.Logger.Warn("transaction refused", "tx", tx.ID, "msp", tx.MSP, "cause", err)
		var bad *fabblock.TxError
		if errors.As(err, &bad) && bad.Code == fabblock.BadCreator {
			return nil, l.refuse(codes.PermissionDenied, "the creator's signature is not valid", texts(bad))
		}
		return nil, l.refuse(codes.Aborted, "received unsuccessful response from orderer: status=BAD_REQUEST", texts(bad))
	}
	who, err := l.channel.Members.Identify(tx.Creator)
	if err == nil {
		err = who.ValidAt(l.cfg.Clock())
	}
	if err != nil {
		return nil, l.refuse(codes.PermissionDenied, "the creator's certificate is not valid now", err.Error())
	}
	return tx, nil
}

func texts(bad *fabblock.TxError) string {
	return fmt.Sprintf("%s (%s)", bad.Error(), bad.Validation)
}

// pending is a transaction on its way into a block.
type pending struct {
	tx      *fabblock.Tx
	encoded []byte        // the envelope
	done    chan struct{} // closed when its fate is known
	err     error         // set before done is closed: why the block could not be written
}

func (p *pending) finish(err error) {
	p.err = err
	close(p.done)
}

// queue holds what was submitted and is not yet in a block. It is bounded in number and bytes.
type queue struct {
	limits Limits
	wake   chan struct{} // holds a token when there may be something to take

	mu     sync.Mutex
	items  []*pending
	bytes  int
	ids    map[string]bool // transactions queued or in the block being written
	closed bool
}

func newQueue(l Limits) *queue {
	return &queue{limits: l, wake: make(chan struct{}, 1), ids: map[string]bool{}}
}

func (q *queue) put(p *pending) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return status.Error(codes.Unavailable, ErrStopped.Error())
	case q.ids[p.tx.ID]:
		return duplicate(p.tx.ID)
	case len(q.items) >= q.limits.QueuedTxs || len(q.items) > 0 && q.bytes+len(p.encoded) > q.limits.QueuedBytes:
		return status.Error(codes.ResourceExhausted, "too many transactions are waiting to be ordered")
	}
	q.ids[p.tx.ID] = true
	q.items = append(q.items, p)
	q.bytes += len(p.encoded)
	q.signal()
	return nil
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take removes what goes into the next block: everything waiting, up to the limits of a block. One transaction that
// is larger than a block should be gets a block to itself.
func (q *queue) take() []*pending {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.items) && n < q.limits.BlockTxs && (n == 0 || size+len(q.items[n].encoded) <= q.limits.BlockBytes) {
		size += len(q.items[n].encoded)
		n++
	}
	batch := q.items[:n:n]
	q.items = q.items[n:]
	q.bytes -= size
	if len(q.items) > 0 {
		q.signal()
	} else {
		q.items = nil
	}
	return batch
}

// forget frees the ids of transactions whose fate is known.
func (q *queue) forget(batch []*pending) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range batch {
		delete(q.ids, p.tx.ID)
	}
}

// close refuses further transactions; those in the queue are still taken.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.signal()
}

func (q *queue) drained() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed && len(q.items) == 0
}

func (q *queue) depth() (txs, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items), q.bytes
}
