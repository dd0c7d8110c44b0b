package embedded

import (
	"context"
	"sync"

	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// CommitStatus waits until a block holds the transaction and says what became of it.
func (s service) CommitStatus(ctx context.Context, signed *gateway.SignedCommitStatusRequest) (*gateway.CommitStatusResponse, error) {
	if len(signed.GetRequest()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "a commit status request is required")
	}
	var request gateway.CommitStatusRequest
	if err := proto.Unmarshal(signed.GetRequest(), &request); err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "invalid status request: %v", err)
	}
	// Expiry is not asked for: whoever could submit may learn the outcome.
	if err := s.mayRead(request.GetChannelId(), request.GetIdentity(), signed.GetRequest(), signed.GetSignature(), false); err != nil {
		return nil, err
	}
	wait, err := s.waiting.add(request.GetTransactionId())
	if err != nil {
		return nil, err
	}
	defer s.waiting.remove(request.GetTransactionId(), wait)
	// Looked up after the registration, so that a block committed in between is not missed.
	v, code, ok, err := s.store.transaction(request.GetTransactionId())
	if err != nil {
		return nil, status.Error(codes.Aborted, err.Error())
	}
	if ok {
		return &gateway.CommitStatusResponse{Result: code, BlockNumber: v.Block}, nil
	}
	select {
	case out := <-wait:
		return &gateway.CommitStatusResponse{Result: out.code, BlockNumber: out.block}, nil
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	case <-s.stopping.Done():
		return nil, status.Error(codes.Unavailable, "the ledger is shutting down")
	}
}

// mayRead checks a signed request of a reader: any member may read.
func (l *Ledger) mayRead(channel string, identity, message, sig []byte, expiry bool) error {
	if channel != l.channel.ID {
		return status.Errorf(codes.NotFound, "channel '%s' not found", channel)
	}
	who, err := l.channel.Members.Identify(identity)
	if err == nil {
		err = who.Verify(sig, message)
	}
	if err == nil && expiry {
		err = who.ValidAt(l.cfg.Clock())
	}
	if err != nil {
		l.cfg.Logger.Warn("reader refused", "cause", err)
		return status.Errorf(codes.PermissionDenied, "access denied: channel [%s]", l.channel.ID)
	}
	return nil
}

// waiters are the CommitStatus calls whose transaction no block holds yet.
type waiters struct {
	limit int

	mu    sync.Mutex
	count int
	byTx  map[string][]chan outcomeOf
}

func newWaiters(limit int) *waiters {
	return &waiters{limit: limit, byTx: map[string][]chan outcomeOf{}}
}

func (w *waiters) add(txID string) (chan outcomeOf, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.count >= w.limit {
		return nil, status.Error(codes.ResourceExhausted, "too many calls are waiting for their transaction")
	}
	w.count++
	c := make(chan outcomeOf, 1)
	w.byTx[txID] = append(w.byTx[txID], c)
	return c, nil
}

func (w *waiters) remove(txID string, c chan outcomeOf) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count--
	for i, other := range w.byTx[txID] {
		if other == c {
			w.byTx[txID] = append(w.byTx[txID][:i:i], w.byTx[txID][i+1:]...)
			break
		}
	}
	if len(w.byTx[txID]) == 0 {
		delete(w.byTx, txID)
	}
}

// announce tells those who wait what became of the block's transactions. It never blocks.
func (w *waiters) announce(block uint64, txs []*fabblock.Tx) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, tx := range txs {
		if tx.Code == peer.TxValidationCode_DUPLICATE_TXID {
			continue // the first one of that id is the transaction
		}
		for _, c := range w.byTx[tx.ID] {
			c <- outcomeOf{block, tx.Code}
		}
		delete(w.byTx, tx.ID)
	}
}
