package submit

import (
	"slices"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// aboutLedger are the codes of a failed proposal that say nothing of its operations.
var aboutLedger = map[model.Code]Reason{
	model.CodeLedgerUnavailable: ReasonLedger,
	model.CodeOutcomeUnknown:    ReasonLedger,
	model.CodeTimeSkew:          ReasonClock,
	model.CodeNotInitialised:    ReasonContract,
	model.CodeLevelUnsupported:  ReasonContract,
	model.CodeImportOpen:        ReasonContract, // the ledger is still taking over another's records
	model.CodeShuttingDown:      ReasonLedger,   // a contract's service is being restarted
}

// proposalFailed deals with a proposal that failed as a whole: the ledger's trouble is waited out; an
// operation's is isolated by halving, and once alone it is judged.
func (s *Submitter) proposalFailed(items []*item, err error) {
	code := codeOf(err)
	if reason, ok := aboutLedger[code]; ok || s.ctx.Err() != nil {
		s.mu.Lock()
		s.fail(reason, err)
		s.back(items)
		s.mu.Unlock()
		return
	}
	s.well()
	if len(items) > 1 {
		s.metrics.bisected.Inc()
		s.mu.Lock()
		for _, it := range items {
			it.limit = max(1, len(items)/2)
		}
		s.back(items)
		s.mu.Unlock()
		return
	}
	s.refused(items, []model.Refusal{{Index: 0, Code: code, Field: model.AsError(err).Field}})
}

// refused judges each refusal of a proposal and returns the items that were not refused. A refused item is
// settled, when this node's own records agree, or waits: the endorser may lag.
func (s *Submitter) refused(items []*item, refusals []model.Refusal) []*item {
	var final []model.Outcome
	var gone, wait []*item
	left := make([]*item, 0, len(items))
	next := 0
	for i, it := range items {
		if next == len(refusals) || refusals[next].Index != i {
			left = append(left, it)
			continue
		}
		problem, agreed := s.judge(it, refusals[next], gone)
		next++
		if agreed {
			out := it.outcome
			out.Status, out.Problem = model.Rejected, problem
			final, gone = append(final, out), append(gone, it)
		} else {
			wait = append(wait, it)
		}
	}
	if len(final) > 0 {
		if err := s.outbox.Refuse(final); err != nil {
			s.note(ReasonOutbox, err)
			wait = append(wait, gone...)
			final, gone = nil, nil
		}
	}
	committed := s.committed(wait)
	before := make([]*item, len(wait))
	for i, it := range wait {
		before[i] = s.predecessor(it, gone)
	}
	s.mu.Lock()
	ids := make([]model.OpID, len(gone))
	for i, it := range gone {
		ids[i] = it.id
		s.settle(it, final[i])
	}
	for i, it := range wait {
		it.attempts++
		// One whose predecessor is in flight is held back by that anyway.
		if before[i] == nil || before[i].queued {
			it.after = time.Now().Add(s.backoff(it.attempts))
		}
	}
	s.back(wait)
	s.mu.Unlock()
	if len(ids) > 0 {
		s.metrics.refused.Add(float64(len(ids)))
		s.cfg.Settled(ids, nil)
	}
	s.tell(committed)
	return left
}

// judge asks whether this node's own records agree with a refusal. It is not final while an earlier
// operation on the record is on its way, nor when the operation is committed: then the refusal is the
// version rule at work.
func (s *Submitter) judge(it *item, r model.Refusal, gone []*item) (*model.Problem, bool) {
	op, err := model.DecodeOperation(it.raw)
	if err != nil { // no endorser will ever take it, whatever comes before it
		if _, ok, failed := s.records.Receipt(it.id); ok || failed != nil {
			return nil, false
		}
		return model.AsError(err).Problem(), true
	}
	if s.predecessor(it, gone) != nil {
		return nil, false
	}
	judged := s.records.Judge(op)
	// Asked after the judgement, never before: the records that refused the operation because they hold it
	// hold its receipt, too.
	if _, ok, err := s.records.Receipt(it.id); ok || err != nil {
		return nil, false
	}
	if judged == nil {
		s.note(ReasonDisagree, model.E(r.Code, r.Field))
		return nil, false
	}
	switch model.AsError(judged).Kind() {
	case model.Internal, model.Unavailable, model.Unknown:
		return nil, false // no judgement
	}
	return model.E(r.Code, r.Field).Problem(), true
}

// predecessor finds an operation on the same record that makes an earlier version and still waits, other
// than those just refused.
func (s *Submitter) predecessor(it *item, gone []*item) *item {
	s.mu.Lock()
	defer s.mu.Unlock()
	for other := s.onRecord[it.record]; other != nil; other = other.sibling {
		if other.version < it.version && !slices.Contains(gone, other) {
			return other
		}
	}
	return nil
}

// committed settles the items whose receipts the records hold and returns their ids.
func (s *Submitter) committed(items []*item) []model.OpID {
	var ids []model.OpID
	for _, it := range items {
		receipt, ok, err := s.records.Receipt(it.id)
		if err != nil || !ok {
			if err != nil {
				s.cfg.Logger.Error("records could not be read", "cause", err)
			}
			continue
		}
		s.mu.Lock()
		out := it.outcome
		out.Status, out.Receipt = model.Committed, &receipt
		s.settle(it, out)
		s.mu.Unlock()
		ids = append(ids, it.id)
	}
	return ids
}

// tell follows up on committed.
func (s *Submitter) tell(ids []model.OpID) {
	if len(ids) > 0 {
		s.forget(ids)
		s.cfg.Settled(ids, nil)
	}
}

// settle ends an item; mu is held.
func (s *Submitter) settle(it *item, out model.Outcome) {
	if it.settled {
		return
	}
	it.settled, it.outcome = true, out
	if it.queued {
		s.queue.remove(it)
	}
	delete(s.items, it.id)
	s.forgetSibling(it)
	it.wakeWaiters()
}
