package outbox

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

const (
	groupBytes = 8 << 20     // a group is closed beyond this
	retryAfter = time.Second // between attempts to open a failed database anew
)

// write is something to be synced: a request (ops set), a refusal or an envelope.
type write struct {
	puts  []pair
	done  chan error // buffered, answered once
	seq   uint64
	ops   []model.Operation
	bytes int
}

type pair struct{ key, value []byte }

func (w *write) put(key, value []byte) { w.puts = append(w.puts, pair{key, value}) }

// failure is what the committer knows of a disk that failed.
type failure struct {
	failed atomic.Bool // read by Full
	void   [][]byte    // keys whose writes failed: perhaps on the disk, must not survive
	tried  time.Time   // last attempt to recover
}

// send hands a write to the committer and waits for it, however long the disk takes.
func (o *Outbox) send(w *write) error {
	select {
	case <-o.closing:
		o.drop(w)
		return model.E(model.CodeShuttingDown)
	default:
	}
	select {
	case o.writes <- w:
	case <-o.closing:
		o.drop(w)
		return model.E(model.CodeShuttingDown)
	}
	select {
	case err := <-w.done:
		return err
	case <-o.stopped:
	}
	select {
	case err := <-w.done:
		return err
	default: // it came after the committer's last look
		o.drop(w)
		return model.E(model.CodeShuttingDown)
	}
}

func (o *Outbox) drop(w *write) {
	if w.ops != nil {
		o.settle(w, false)
	}
}

// commitLoop is the one goroutine that syncs. It takes whatever waits, so that the more callers there are
// the fewer syncs a request costs.
func (o *Outbox) commitLoop() {
	defer close(o.stopped)
	tick := time.NewTicker(retryAfter)
	defer tick.Stop()
	expired := time.Now()
	for {
		var group []*write
		select {
		case w := <-o.writes:
			group = append(group, w)
		case <-tick.C:
			switch {
			case o.state.failed.Load():
				o.recover()
			case time.Since(expired) > time.Hour:
				expired = time.Now()
				if err := o.expire(); err != nil {
					o.cfg.Logger.Error("outbox could not expire old entries", "cause", err)
				}
			}
			continue
		case <-o.closing:
			for { // what was sent before Close is served
				select {
				case w := <-o.writes:
					o.commit([]*write{w})
				default:
					return
				}
			}
		}
		for bytes := group[0].bytes; bytes < groupBytes; {
			select {
			case w := <-o.writes:
				group = append(group, w)
				bytes += w.bytes
				continue
			default:
			}
			break
		}
		o.commit(group)
	}
}

// commit writes a group and answers it.
//
// This is the commit point of acceptance. Crash argument: the group is one goleveldb batch, one checksummed
// record of its journal, and goleveldb applies a record wholly or not at all. Nobody is told "accepted"
// before the journal is synced. So after a crash at any moment: before the sync, the group is there as a
// whole or not at all, and no caller was answered; after it, the group is there. A request lies in one
// group with its idempotency record, so a caller that was not answered and asks again with its key finds
// both or neither. Entries are removed without a sync (Done): one that comes back after a crash belongs to
// operations whose receipts are in the records, and the submitter looks there before it sends anything.
//
// When the write itself fails, the group may or may not be on the disk. Its keys are remembered and
// deleted, synced, before anything else is accepted, and its callers hear outcome_unknown: only a crash
// before that deletion could bring it back.
func (o *Outbox) commit(group []*write) {
	group = o.admit(group)
	if len(group) == 0 {
		return
	}
	if o.batch == nil || len(o.batch.Dump()) > 2*groupBytes {
		o.batch = leveldb.MakeBatch(groupBytes / 8)
	}
	batch := o.batch
	batch.Reset()
	for _, w := range group {
		for _, p := range w.puts {
			batch.Put(p.key, p.value)
		}
	}
	start := time.Now()
	o.handle.RLock()
	err := o.db.Write(batch, &opt.WriteOptions{Sync: true})
	o.handle.RUnlock()
	o.metrics.syncSeconds.Observe(time.Since(start).Seconds())
	o.metrics.groupWrites.Observe(float64(len(group)))
	if err != nil {
		o.fail(group, err)
		return
	}
	for _, w := range group {
		if w.ops != nil {
			o.settle(w, true)
		}
		w.done <- nil
	}
}

// admit turns away what cannot be written now. Requests need free disk above the reserve; refusals and
// envelopes may use the reserve, because they are what empties the outbox.
func (o *Outbox) admit(group []*write) []*write {
	if o.state.failed.Load() && !o.recover() {
		for _, w := range group {
			o.refuse(w, model.CodeStorageFull)
		}
		return nil
	}
	free, err := o.cfg.Free(o.dir)
	if err != nil || free >= o.cfg.MinFree {
		o.metrics.storageFull.Set(0)
		return group // an unreadable figure is no reason to stop: the write will tell
	}
	o.metrics.storageFull.Set(1)
	kept := group[:0]
	for _, w := range group {
		if w.ops != nil {
			o.refuse(w, model.CodeStorageFull)
			continue
		}
		kept = append(kept, w)
	}
	return kept
}

func (o *Outbox) refuse(w *write, code model.Code) {
	o.drop(w)
	w.done <- model.E(code)
}

func (o *Outbox) fail(group []*write, cause error) {
	o.cfg.Logger.Error("outbox could not write", "cause", cause)
	o.state.failed.Store(true)
	o.metrics.storageFull.Set(1)
	for _, w := range group {
		for _, p := range w.puts {
			o.state.void = append(o.state.void, p.key)
		}
		o.drop(w)
		w.done <- model.E(model.CodeOutcomeUnknown).Because(cause)
	}
	o.recover()
}

// recover opens the database anew after a failed write and deletes what must not survive. goleveldb's
// journal stays failed once a write has failed, so the handle is of no more use for writing. Where not even
// a new handle can be had for writing, one for reading takes its place, so that reads go on.
func (o *Outbox) recover() bool {
	if time.Since(o.state.tried) < retryAfter {
		return false
	}
	o.state.tried = time.Now()
	if free, err := o.cfg.Free(o.dir); err == nil && free < o.cfg.MinFree {
		return false
	}
	o.handle.Lock()
	defer o.handle.Unlock()
	if err := o.db.Close(); err != nil && !errors.Is(err, leveldb.ErrClosed) {
		o.cfg.Logger.Warn("outbox closed a failed database", "cause", err)
	}
	db, err := o.open(o.dir, false)
	if err == nil {
		batch := new(leveldb.Batch)
		for _, key := range o.state.void {
			batch.Delete(key)
		}
		o.db = db
		if err = o.forgotten(db, batch); err == nil {
			err = db.Write(batch, &opt.WriteOptions{Sync: true})
		}
		if err == nil {
			o.state.void = nil
			o.state.failed.Store(false)
			o.metrics.storageFull.Set(0)
			o.cfg.Logger.Info("outbox accepts again")
			return true
		}
		if cause := db.Close(); cause != nil {
			err = errors.Join(err, cause)
		}
	}
	o.cfg.Logger.Error("outbox could not be opened anew", "cause", err)
	if db, err = o.open(o.dir, true); err != nil {
		o.cfg.Logger.Error("outbox cannot even be read", "cause", err)
		return false
	}
	o.db = db
	return false
}

// forgotten adds to a batch the deletion of every request on the disk that waits no longer. goleveldb gives a
// write that follows a failed one the failed one's sequence number, so a removal that the old handle took
// without complaint may be missing when the journal is read again.
func (o *Outbox) forgotten(db *leveldb.DB, batch *leveldb.Batch) error {
	waits := map[string]bool{}
	o.mu.Lock()
	for e := o.pending.requests.Front(); e != nil; e = e.Next() {
		waits[string(requestKey(e.Value.(*request).seq))] = true
	}
	o.mu.Unlock()
	it := db.NewIterator(util.BytesPrefix([]byte{requestPrefix}), nil)
	defer it.Release()
	for it.Next() {
		if !waits[string(it.Key())] {
			batch.Delete(append([]byte(nil), it.Key()...))
		}
	}
	return it.Error()
}
