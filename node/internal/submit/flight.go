package submit

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// flight is one transaction from its signature until its fate is known.
type flight struct {
	txID     string
	envelope []byte
	items    []*item
	keys     [][]string // state keys that it keeps busy
	began    time.Time
	seen     chan struct{} // closed when a block showed it and its operations were settled or put back

	recovered bool // made by an earlier process: it may stand in a block that was applied long ago

	trace trace // of one with operations of requests that are followed

	valid bool // guarded by the submitter's mutex until seen is closed
}

func keysOf(items []*item) [][]string {
	out := make([][]string, len(items))
	for i, it := range items {
		out[i] = it.keys
	}
	return out
}

// fly carries a batch from proposal to outcome. It runs in a goroutine of its own.
func (s *Submitter) fly(batch []*item) {
	f := &flight{keys: keysOf(batch), items: batch, began: time.Now(), seen: make(chan struct{})}
	s.follow(f)
	if !s.endorse(f) {
		f.trace.end(resultNotSent)
		s.mu.Lock()
		s.land(f.keys)
		s.mu.Unlock()
		return
	}
	s.carry(f)
}

// endorse proposes until the contract refuses none of what is left, and stores the signed envelope. When
// it returns false, every item of the flight is settled or back in the queue.
func (s *Submitter) endorse(f *flight) bool {
	for len(f.items) > 0 {
		now := model.TimeOf(s.cfg.Clock()).String()
		args := make([][]byte, len(f.items))
		for i, it := range f.items {
			it.stamp(now)
			args[i] = it.raw
		}
		f.trace.to(stepPropose)
		txID, result, envelope, err := s.ledger.Propose(s.ctx, model.FunctionApply, model.Pack(args))
		if err != nil {
			s.proposalFailed(f.items, err)
			return false
		}
		refusals, err := readResponse(result, len(f.items))
		if err != nil {
			s.proposalFailed(f.items, model.E(model.CodeLedgerUnavailable).Because(err))
			return false
		}
		s.well()
		if len(refusals) > 0 {
			f.items = s.refused(f.items, refusals)
			continue
		}
		ids := make([]model.OpID, len(f.items))
		for i, it := range f.items {
			ids[i] = it.id
		}
		f.txID, f.envelope = txID, envelope
		// Registered before it can be sent, so that no block comes too early; stored before it is sent, so
		// that a crash leaves no transaction that this node does not know of.
		s.mu.Lock()
		s.flights[txID] = f
		s.mu.Unlock()
		f.trace.to(stepStore)
		if err := s.envelopes.StoreEnvelope(txID, envelope, ids); err != nil {
			s.mu.Lock()
			delete(s.flights, txID)
			s.fail(ReasonOutbox, err)
			s.back(f.items)
			s.mu.Unlock()
			return false
		}
		s.metrics.operations.Observe(float64(len(f.items)))
		return true
	}
	return false
}

// readResponse reads the contract's answer to a transaction of n operations.
func readResponse(b []byte, n int) ([]model.Refusal, error) {
	var r model.Response
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, err
	}
	last := -1
	for _, x := range r.Refused {
		if x.Index <= last || x.Index >= n || x.Code == "" {
			return nil, model.E(model.CodeBadValue).With("the contract's answer is out of order")
		}
		last = x.Index
	}
	if r.Accepted+len(r.Refused) != n {
		return nil, model.E(model.CodeBadValue).With("the contract answered about %d of %d operations", r.Accepted+len(r.Refused), n)
	}
	return r.Refused, nil
}

// carry sends a stored envelope until the flight's fate is known, or until Close. The same envelope is
// sent every time: a new one is made only after this one was seen invalid in a block, or was turned down
// again and again and is absent from all blocks up to the head.
func (s *Submitter) carry(f *flight) {
	const turnedDown = 3 // times before the records are asked whether to give the envelope up
	refusals, failures := 0, 0
	for {
		f.trace.to(stepOrder)
		err := s.send(f)
		wait := s.cfg.Resubmit
		switch {
		case err == nil:
			failures = 0
			s.well()
			f.trace.to(stepCommit)
			if f.recovered {
				wait = s.cfg.Retry
			}
		default:
			failures++
			wait = s.backoff(failures)
			s.note(ReasonLedger, err)
			if model.AsError(err).Kind() != model.Unknown {
				refusals++
			}
		}
		if s.await(f, wait) {
			s.well()
			s.finish(f)
			return
		}
		if s.ctx.Err() != nil {
			f.trace.end(resultStopped)
			return // the envelope and its operations stay in the outbox
		}
		switch {
		case err == nil:
			s.inquire(f)
		case refusals >= turnedDown:
			if s.abandon(f) {
				return
			}
			refusals = 0
		}
	}
}

// send submits once; a block that shows the transaction meanwhile ends the call, and then how the call
// ended says nothing about the ledger.
func (s *Submitter) send(f *flight) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	go func() {
		select {
		case <-f.seen:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := s.ledger.Submit(ctx, f.envelope)
	select {
	case <-f.seen:
		return nil
	default:
		return err
	}
}

// await waits for a block that shows the flight's transaction.
func (s *Submitter) await(f *flight, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-f.seen:
		return true
	case <-t.C:
	case <-s.ctx.Done():
	}
	select {
	case <-f.seen:
		return true
	default:
		return false
	}
}

// inquire asks the ledger about a transaction that was ordered and does not appear: it may stand in a block
// that was applied before this process knew of it. That it is invalid may be believed, since the version
// rule makes another attempt harmless; that it is valid only the records prove.
func (s *Submitter) inquire(f *flight) {
	ctx, cancel := context.WithTimeout(s.ctx, 2*time.Second)
	defer cancel()
	asked := time.Now()
	code, _, err := s.ledger.Status(ctx, f.txID)
	if err != nil || s.records.AtHead(ctx, asked) != nil {
		return
	}
	if code == peer.TxValidationCode_VALID {
		for _, it := range f.items {
			if _, ok, err := s.records.Receipt(it.id); err != nil || !ok {
				return
			}
		}
	}
	s.show(f.txID, code, nil)
}

// abandon gives up an envelope that the ledger turns down, once the node has applied everything up to a
// head later than the last refusal and has not seen it. Should the ledger order it after all, the version
// rule decides, and the receipts tell.
func (s *Submitter) abandon(f *flight) bool {
	ctx, cancel := context.WithTimeout(s.ctx, s.cfg.Resubmit)
	defer cancel()
	if err := s.records.AtHead(ctx, time.Now()); err != nil {
		return false
	}
	s.mu.Lock()
	if s.flights[f.txID] != f { // shown just now
		s.mu.Unlock()
		s.finish(f)
		return true
	}
	delete(s.flights, f.txID)
	s.mu.Unlock()
	f.trace.end(resultAbandoned)
	s.metrics.abandoned.Inc()
	s.cfg.Logger.Warn("transaction was turned down by the ledger and is in no block", "tx", f.txID)
	s.again(f)
	s.drop(f)
	return true
}

// finish cleans up after a flight whose transaction a block has shown.
func (s *Submitter) finish(f *flight) {
	if f.valid {
		ids := make([]model.OpID, len(f.items))
		for i, it := range f.items {
			ids[i] = it.id
		}
		s.forget(ids)
	}
	s.drop(f)
}

func (s *Submitter) drop(f *flight) {
	if err := s.envelopes.DropEnvelope(f.txID); err != nil {
		s.cfg.Logger.Warn("outbox could not drop an envelope; it will be looked at again at the next start", "tx", f.txID, "cause", err)
	}
}

// forget removes committed operations from the outbox. A failure costs nothing but a look at the receipts
// at the next start.
func (s *Submitter) forget(ids []model.OpID) {
	if err := s.outbox.Done(ids); err != nil {
		s.cfg.Logger.Warn("outbox could not remove committed operations", "cause", err)
	}
}

// Applied is a transaction of a block that the node has applied to its records, or that stands in the block
// as invalid.
type Applied struct {
	TxID string
	Code peer.TxValidationCode
	// Receipts of a valid transaction's operations, in order. Left out, they are read when asked for.
	Receipts []model.Receipt
}

// Applied tells of an applied block: every transaction of the chaincode with its validation code, after
// the records hold it. It does not wait for anything.
func (s *Submitter) Applied(txs []Applied) {
	for i := range txs {
		s.show(txs[i].TxID, txs[i].Code, txs[i].Receipts)
	}
}

// show settles a flight whose transaction stands in a block.
func (s *Submitter) show(txID string, code peer.TxValidationCode, receipts []model.Receipt) {
	s.mu.Lock()
	f := s.flights[txID]
	if f == nil {
		s.mu.Unlock()
		return
	}
	delete(s.flights, txID)
	s.metrics.transactions.WithLabelValues(label(code)).Inc()
	f.trace.to(stepCommit)
	f.trace.end(label(code))
	if code != peer.TxValidationCode_VALID {
		s.mu.Unlock()
		s.again(f)
		close(f.seen)
		return
	}
	f.valid = true
	ids := make([]model.OpID, len(f.items))
	for i, it := range f.items {
		ids[i] = it.id
		out := it.outcome
		out.Status = model.Committed
		if i < len(receipts) && receipts[i].Operation == it.id {
			out.Receipt = &receipts[i]
		}
		s.settle(it, out)
	}
	s.metrics.seconds.Observe(time.Since(f.began).Seconds())
	s.land(f.keys)
	s.mu.Unlock()
	close(f.seen)
	if len(receipts) != len(ids) {
		receipts = nil
	}
	s.cfg.Settled(ids, receipts)
}

// again puts the operations of a transaction that did not become valid back into the queue, in halves,
// except those that the records hold: another transaction carried them.
func (s *Submitter) again(f *flight) {
	s.metrics.repeated.Add(float64(len(f.items)))
	committed := s.committed(f.items)
	s.mu.Lock()
	for _, it := range f.items {
		it.attempts++
		it.limit = max(1, len(f.items)/2)
		it.after = time.Now().Add(s.patience(it.attempts))
	}
	s.back(f.items)
	s.land(f.keys)
	s.mu.Unlock()
	s.tell(committed)
}

// patience is how long an operation waits after its n-th failure: the first few cost nothing.
func (s *Submitter) patience(n int) time.Duration {
	if n <= 3 {
		return 0
	}
	return s.backoff(n - 3)
}
