package submit

import (
	"math/rand/v2"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Reason says why the submitter does not get on. The set is closed.
type Reason string

// Reasons.
const (
	ReasonRecovering Reason = "recovering" // the follower has not reached the head since the start
	ReasonLedger     Reason = "ledger"     // no gateway answers, or with nothing of use
	ReasonClock      Reason = "clock"      // the ledger's clock and ours differ by minutes
	ReasonContract   Reason = "contract"   // not initialised, or at a level that an endorser cannot run
	ReasonOutbox     Reason = "outbox"     // the outbox cannot write
	ReasonDisagree   Reason = "disagree"   // the ledger refuses what our own records would accept
)

// health is guarded by the submitter's mutex.
type health struct {
	reason   Reason
	cause    model.Code
	trouble  error     // that the cause was read from
	failures int       // proposals in a row that the ledger did not answer
	until    time.Time // no new proposal before
}

// Degraded is empty while all is well, else why operations wait and the last code behind it.
func (s *Submitter) Degraded() (Reason, model.Code) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health.reason, s.health.cause
}

// Trouble is what the reason came with, for operators; nil where there is none.
func (s *Submitter) Trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health.trouble
}

// fail notes that the ledger or the disk did not serve, and pauses new proposals; mu is held.
func (s *Submitter) fail(reason Reason, err error) {
	if s.ctx.Err() != nil {
		return
	}
	s.health.failures++
	s.health.until = time.Now().Add(s.backoff(s.health.failures))
	s.setReason(reason, err)
	s.poke()
}

// note keeps a reason that does not stop new proposals.
func (s *Submitter) note(reason Reason, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setReason(reason, err)
}

func (s *Submitter) setReason(reason Reason, err error) {
	if s.ctx.Err() != nil {
		return
	}
	if s.health.reason != reason {
		s.cfg.Logger.Warn("submission is held up", "reason", reason, "cause", err)
	}
	code := codeOf(err)
	if reason == ReasonLedger && model.AsError(err).Kind() == model.Unknown {
		code = model.CodeLedgerUnavailable // a transaction's outcome is unknown, the trouble is the ledger's
	}
	s.health.reason, s.health.cause, s.health.trouble = reason, code, err
}

// well notes that the ledger served.
func (s *Submitter) well() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open || s.health.reason == "" {
		return
	}
	s.cfg.Logger.Info("submission goes on", "was", s.health.reason)
	s.health = health{}
	s.poke()
}

// jitter spreads nodes that failed together.
func jitter(d time.Duration) time.Duration {
	return d*3/4 + time.Duration(rand.Int64N(int64(d)/2+1))
}
