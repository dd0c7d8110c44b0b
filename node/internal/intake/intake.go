// Package intake turns what a caller asks for into operations that the contract will accept: it checks
// the right to ask, gives record ids, versions and licence identifiers, commits to confidential fields,
// signs, and puts the result into the outbox. Only then is an operation accepted.
//
// What it checks against this node's records the contract decides again on the ledger's state: intake
// exists so that a caller hears at once, and in full, what is wrong.
package intake

import (
	"context"
	"crypto/sha256"
	"runtime"
	"sync"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/vault"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

// Ledger is what this node knows of the ledger. Entries are shared and read only; absent ones are nil.
type Ledger interface {
	View(kind model.Kind, id model.RecordID) (*model.View, error)
	Agency(id model.AgencyID) (*model.Agency, error)
	LicenceType(code model.TypeCode) (*model.LicenceType, error)
	// Claimed reports whether a record stands that has the identifier, or the number of the type.
	Claimed(id model.LicenceID, t model.TypeCode, number string) (bool, error)
	// ClaimedFile reports whether any record ever had a licence file of either digest.
	ClaimedFile(sha256, sm3 model.Digest) (bool, error)
	// LastSerial is the greatest serial of an agency's records of a kind, 0 for none.
	LastSerial(kind model.Kind, agency model.AgencyID) (uint64, error)
}

// Queue takes operations on their way to the ledger.
type Queue interface {
	// Accept makes a request durable: its operations, and the idempotency record of its key where that is not
	// zero. It sets the operations' times to the moment of acceptance. fresh is false, and nothing was
	// written, when the same key and digest are accepted already.
	Accept(ctx context.Context, key [16]byte, digest model.Digest, accepted time.Time, ops []model.Operation) (fresh bool, err error)
	// Lookup finds a request by its key: its digest and how many operations it had.
	Lookup(key [16]byte) (digest model.Digest, operations int, ok bool, err error)
}

// Keys finds the node's signing keys.
type Keys interface {
	Signer(agency model.AgencyID, keyID string) (envelope.Signer, bool)
	// Create draws a key and stores it durably before it returns; it never replaces one.
	Create(agency model.AgencyID, keyID string, alg envelope.Alg) (envelope.Signer, error)
}

// Caller is who asks: a principal of an agency (or of the tree below it) under its pseudonym.
type Caller struct {
	Principal string
	Agency    model.AgencyID
	Person    model.Pseudonym
	Source    string // the way by which a back office pushes; then it, and no principal or agency, is whose keys are
}

// opID is the id of the n-th operation of a request under a key; -1 stands for the request.
func (c *Caller) opID(key string, n int) model.OpID {
	if c.Source != "" {
		return model.DeriveOpID("", c.Source, key, n)
	}
	return model.DeriveOpID(c.Agency, c.Principal, key, n)
}

// Intake is safe for concurrent use.
type Intake struct {
	Node   model.NodeID // the node that it runs on: it acts only for agencies whose acting node this is
	Ledger Ledger
	Queue  Queue
	Keys   Keys
	Vault  *vault.Vault
	Clock  func() time.Time
	// Closed says why nothing may be accepted now, nil if it may; a nil Closed is always open.
	Closed func() error
	// Stands reports whether an operation stands on the ledger. It is set where the queue may have forgotten keys that it
	// accepted, as after a restore from a backup; nil: it has not.
	Stands func(model.OpID) (bool, error)
	// History lists versions of a record below before (0: from the latest), newest first; nil: this node keeps none.
	History func(kind model.Kind, id model.RecordID, before uint64, limit int) ([]model.HistoryEntry, error)
	Signed  func([]Signature) // told of signatures that this node knows to be good, once they stand on the ledger; nil: nobody

	once    sync.Once
	pending *pending
	// Completing and signing drafts is computation alone, a tenth of a millisecond and more each. If all requests
	// that come did it at once, whatever else the node is asked would wait for a time slice of every one of them: one
	// processor is left to following and to verdicts.
	working chan struct{}  // holds a token for each request that computes
	busy    [64]sync.Mutex // requests of one idempotency key are taken one after another
}

// Accept accepts all of the drafts or none, and returns the ids of their operations in order.
//
// With a key, the same key and body give the same ids again, another body model.CodeIdempotencyMismatch.
// Errors are *model.Error, about one element where index ≥ 0; nothing was written.
func (in *Intake) Accept(ctx context.Context, who Caller, key string, body model.Digest, drafts []model.Draft) (ids []model.OpID, index int, err error) {
	in.once.Do(in.begin)
	if in.Closed != nil {
		if err := in.Closed(); err != nil {
			return nil, -1, err
		}
	}
	var k [16]byte
	if key != "" {
		k = requestKey(who, key)
		mu := &in.busy[k[0]%64]
		mu.Lock()
		defer mu.Unlock()
		if ids, ok, err := in.Known(who, key, body); err != nil || ok {
			return ids, -1, err
		}
		if ids, err := in.done(who, key, len(drafts)); ids != nil || err != nil {
			return ids, -1, err
		}
	}
	if len(drafts) == 0 || len(drafts) > model.MaxOperations {
		return nil, -1, model.E(model.CodeTooMany)
	}
	w := work{in: in, who: who, ops: make([]model.Operation, len(drafts)), agencies: map[model.AgencyID]*model.Agency{}, serials: map[serialKey]uint64{}}
	if i, err := w.number(drafts); err != nil {
		return nil, i, err
	}
	accepted := false
	defer func() {
		if !accepted {
			in.pending.release(w.claimed, nil)
		}
	}()
	ids = make([]model.OpID, len(drafts))
	if i, err := w.complete(ctx, key, drafts, ids); err != nil {
		return nil, i, err
	}
	if err := in.Vault.Keep(w.sealed); err != nil {
		return nil, -1, err
	}
	fresh, err := in.Queue.Accept(ctx, k, body, in.Clock(), w.ops)
	if err != nil {
		return nil, -1, err
	}
	accepted = fresh // of a request that was accepted before, what this call claimed is let go
	return ids, -1, nil
}

// done finds a request of a key that the queue has forgotten on the ledger. What it asked for then is not known any
// more, so the body cannot be compared; another number of operations is another body.
func (in *Intake) done(who Caller, key string, n int) (ids []model.OpID, err error) {
	if in.Stands == nil {
		return nil, nil
	}
	stand := 0
	for i := range n {
		id := who.opID(key, i)
		ok, err := in.Stands(id)
		if err != nil {
			return nil, model.E(model.CodeInternal).Because(err)
		}
		if ok {
			stand++
		}
		ids = append(ids, id)
	}
	switch stand {
	case 0:
		return nil, nil
	case n:
		return ids, nil
	}
	return nil, model.E(model.CodeIdempotencyMismatch)
}

func (in *Intake) begin() {
	in.pending = newPending()
	in.working = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)-1))
}

// complete makes the operations, of so many requests at a time that a processor is left for the rest.
func (w *work) complete(ctx context.Context, key string, drafts []model.Draft, ids []model.OpID) (index int, err error) {
	select {
	case w.in.working <- struct{}{}:
		defer func() { <-w.in.working }()
	case <-ctx.Done():
		return -1, model.E(model.CodeShuttingDown).Because(ctx.Err())
	}
	for i := range drafts {
		if i > 0 {
			runtime.Gosched() // who waits for a verdict goes first
		}
		ids[i] = model.NewOpID()
		if key != "" {
			ids[i] = w.who.opID(key, i)
		}
		if err := w.draft(i, &drafts[i], ids[i]); err != nil {
			return i, err
		}
	}
	return -1, nil
}

// Recover makes known what the outbox still held at start, before the first Accept.
func (in *Intake) Recover(ops []model.Operation) {
	in.once.Do(in.begin)
	for i := range ops {
		op := &ops[i]
		in.pending.version(op.Kind, op.Record, op.Version, op.ID)
		switch b, _ := model.DecodeBody(op); b := b.(type) {
		case *model.IssueBody:
			in.pending.claim(claimKeys(&b.Value), op.ID)
		case *model.AmendBody:
			in.pending.claim(newClaims(&b.Previous, &b.Value), op.ID)
		}
	}
}

// Signature is a licence's signature that this node made or checked: it stands at Position of the log, and Public
// verifies it.
type Signature struct {
	Position uint64
	Alg      string
	Public   string // the key's bytes
}

// Settled forgets operations that are committed or refused. Receipts is nil, or of the same operations, committed
// exactly as they were accepted.
func (in *Intake) Settled(ids []model.OpID, receipts []model.Receipt) {
	in.once.Do(in.begin)
	signed := in.pending.release(ids, receipts)
	if in.Signed != nil && len(signed) > 0 {
		in.Signed(signed)
	}
}

func requestKey(who Caller, key string) [16]byte {
	id := who.opID(key, -1)
	sum := sha256.Sum256(id[:])
	return [16]byte(sum[:16])
}
