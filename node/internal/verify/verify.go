// Package verify answers whether a licence is valid. A verdict is made of checks, each of which can decide:
// that the record exists, that its names are its own, its state and dates on the day asked about as known
// on the day asked about, the holder's proof, the licence's signature, and the age of what this node knows.
// Unknown is never valid.
package verify

import (
	"context"
	"log/slog"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Snapshot is the records as they are after one block. All answers are of that moment; Release ends it.
// Used by one goroutine.
type Snapshot interface {
	Height() uint64
	Position() uint64
	// Find lists the licences that a query may mean, the likeliest first; empty where none ever held the name.
	// Of a contested name it cannot be said which licence is meant, whatever each of them is worth by itself.
	Find(q *model.Query) (ids []model.RecordID, contested bool, err error)
	// View is a record as it stands, nil for none.
	View(kind model.Kind, id model.RecordID) (*model.View, error)
	// History lists a record's versions below one (0: all), the newest first.
	History(kind model.Kind, id model.RecordID, before uint64, limit int) ([]model.HistoryEntry, error)
	// KeyAt is the key that an agency listed under an id when the leaf at a position was made.
	KeyAt(agency model.AgencyID, id string, position uint64) (alg string, public []byte, ok bool, err error)
	Release()
}

// Config of a service.
type Config struct {
	Snapshot func() Snapshot // of the newest records; safe for concurrent use
	// Check verifies a signature: the algorithm as the registry writes it, an uncompressed point, 64 bytes r‖s.
	Check func(alg string, public, message, signature []byte) error
	Age   func() time.Duration // since this node last knew that it had all of the ledger
	// Behind reports whether this node knows of blocks that it has not applied: not found then proves nothing.
	Behind func() bool
	Clock  func() time.Time // nil: time.Now

	Stale      time.Duration // older data gives no verdict: 10 min
	Missing    time.Duration // with older data, not found proves nothing: 10 s
	CacheBytes int           // of decoded licences, as estimated: 64 MiB

	Logger *slog.Logger // nil: slog.Default
}

// Service gives verdicts. It is safe for concurrent use.
type Service struct {
	cfg        Config
	cache      *cache
	signatures *signatures
	day        dayClock
}

// New makes a service. Its Changed must be called by the records, with the licences that read differently,
// before any reader can see the change, and such that a snapshot taken after the call has it.
func New(cfg Config) *Service {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Stale <= 0 {
		cfg.Stale = 10 * time.Minute
	}
	if cfg.Missing <= 0 {
		cfg.Missing = 10 * time.Second
	}
	if cfg.CacheBytes <= 0 {
		cfg.CacheBytes = 64 << 20
	}
	return &Service{cfg: cfg, cache: newCache(cfg.CacheBytes), signatures: newSignatures()}
}

// Changed makes the service forget licences that read differently from now on.
func (s *Service) Changed(licences []model.RecordID) { s.cache.forget(licences) }

// Vouch tells the service that a key verifies the signature at a leaf, which it then need not find out. Whether the
// key was the agency's at that leaf is still the registry's to say.
func (s *Service) Vouch(position uint64, alg, public string) {
	s.signatures.put(position, alg, public, sigGood)
}

// Verify answers queries in their order, all as of one block. Where the records cannot be read, or ctx has
// ended, the verdict is undetermined for that reason. A query says one thing to look for; one that says
// nothing finds nothing.
//
// The verdicts' Record and History are shared and read only.
func (s *Service) Verify(ctx context.Context, queries []model.Query) []model.Verdict {
	// The generation is noted before the snapshot is taken, so that nothing older gets into the cache.
	generation := s.cache.generation()
	// So is how old the records are: what is read after that is no older.
	age, behind := s.cfg.Age(), s.cfg.Behind()
	snap := s.cfg.Snapshot()
	defer snap.Release()
	today := s.day.today(s.cfg.Clock())
	a := asking{s: s, snap: snap, generation: generation, age: age, behind: behind, today: today, height: snap.Height(), position: snap.Position()}
	out := make([]model.Verdict, len(queries))
	for i := range queries {
		a.answer(ctx, &queries[i], &out[i])
	}
	return out
}

// asking is one call of Verify.
type asking struct {
	s                *Service
	snap             Snapshot
	generation       uint64
	age              time.Duration
	behind           bool
	today            model.Date
	height, position uint64
}

func (a *asking) answer(ctx context.Context, q *model.Query, v *model.Verdict) {
	v.At, v.KnownAt = q.At, q.KnownAt
	if v.At == "" {
		v.At = a.today
	}
	if v.KnownAt == "" {
		v.KnownAt = a.today
	}
	v.Height, v.Position = a.height, a.position
	v.AgeMS = min(a.age.Milliseconds(), model.MaxSafeInt-1)
	j, l, err := a.judge(q, v.At, v.KnownAt)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		a.s.cfg.Logger.Error("a licence could not be verified", "error", err)
		e := model.E(model.CodeInternal)
		v.Verdict, v.Reason, v.Check, v.Zh, v.En = model.Undetermined, model.Reason(e.Code), "readable", e.Zh(), e.En()
		return
	}
	if l != nil {
		v.Record, v.History = l.view, l.history
	}
	v.Since = j.Since
	if a.age > a.s.cfg.Stale {
		v.Last = &model.LastKnown{Verdict: j.Word, Reason: j.Reason}
		j.Word, j.Reason = model.Stale, model.ReasonAge
	}
	v.Verdict, v.Reason = j.Word, j.Reason
	v.Check, v.Zh, v.En = j.Reason.Check(), j.Reason.Zh(), j.Reason.En()
}

// judge decides by the first candidate that existed on the day: a number that passed from an ended licence
// to a new one means the old one before the new was issued.
func (a *asking) judge(q *model.Query, at, knownAt model.Date) (model.Judgement, *licence, error) {
	if q.Identifier != "" {
		if l := a.s.cache.named(q.Identifier, a.position); l != nil {
			if j, err := a.judgeOne(q, l, at, knownAt); err != nil || j.Reason != model.ReasonNotYetIssued {
				return j, l, err
			}
		}
	}
	ids, contested, err := a.snap.Find(q)
	if err != nil {
		return model.Judgement{}, nil, err
	}
	var first *licence
	var decision model.Judgement
	for _, id := range ids {
		l, err := a.licence(id)
		if err != nil {
			return model.Judgement{}, nil, err
		}
		if l == nil {
			continue
		}
		if contested {
			return model.Judgement{Word: model.Undetermined, Reason: model.ReasonDuplicate}, l, nil
		}
		j, err := a.judgeOne(q, l, at, knownAt)
		if err != nil {
			return model.Judgement{}, nil, err
		}
		if first == nil || (decision.Reason == model.ReasonNotYetIssued && j.Reason != model.ReasonNotYetIssued) {
			first, decision = l, j
		}
		if decision.Reason != model.ReasonNotYetIssued {
			break
		}
	}
	if first != nil {
		return decision, first, nil
	}
	if a.behind || a.age > a.s.cfg.Missing {
		return model.Judgement{Word: model.Undetermined, Reason: model.ReasonBehind}, nil, nil
	}
	return model.Judgement{Word: model.NotValid, Reason: model.ReasonNotFound}, nil, nil
}

func (a *asking) judgeOne(q *model.Query, l *licence, at, knownAt model.Date) (model.Judgement, error) {
	if l.view.Duplicate {
		return model.Judgement{Word: model.Undetermined, Reason: model.ReasonDuplicate}, nil
	}
	j := model.Judge(l.versions, at, knownAt, q.Identifier)
	if j.Word == model.Valid && presentedOld(q, j.Value) {
		j.Word, j.Reason, j.Since = model.NotValid, model.ReasonSuperseded, ""
	}
	j = j.JudgeHolder(q.Presentation)
	if j.Word != model.Valid {
		return j, nil
	}
	return a.signature(l, j)
}

// presentedOld reports whether the number or file presented is of an earlier face of the licence.
func presentedOld(q *model.Query, v *model.Licence) bool {
	switch {
	case q.Number != "":
		return v.Number != q.Number || v.Type != q.Type
	case q.File != "":
		return v.File == nil || (v.File.SHA256.String() != q.File && v.File.SM3.String() != q.File)
	}
	return false
}
