package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Ledger is the new ledger as a node reaches it. Its errors unwrap to *model.Error: the contract's code where it
// refused, else an unavailable, conflict or unknown one.
type Ledger interface {
	// Evaluate asks the contract without ordering anything. The answer is of one peer's and guides only.
	Evaluate(ctx context.Context, function string, args ...[]byte) ([]byte, error)
	// Call has a call endorsed, ordered and committed. After an error it may be committed all the same.
	Call(ctx context.Context, function string, args [][]byte) error
}

// Source is the old ledger's blocks as this node kept them.
type Source interface {
	Height() uint64
	Blocks(from uint64) iter.Seq2[[]byte, error]       // in order; what is yielded is valid until the next
	Hash(number uint64) (hash model.Digest, err error) // of a block's header
}

// Options of an import. Zero fields take the default in the comment.
type Options struct {
	BatchBytes  int           // blocks of one call, unless one alone has more: 1 MiB
	BatchBlocks int           // and at most so many: model.MaxImportBlocks
	Stall       time.Duration // gives up when nothing has moved for this long: 3 min
	Pause       time.Duration // the longest between two attempts: 2 s

	Progress func(Progress) // after each call; nil for nobody
	Trouble  func(error)    // told why an attempt failed that is made again; nil for nobody
}

// Progress is how far an import is. Operations counts those of the genesis.
type Progress struct {
	Blocks     uint64 `json:"blocks"`     // of the old ledger, in the new one
	Total      uint64 `json:"total"`      // that this node has
	Operations uint64 `json:"operations"` // in the new ledger
}

// State is how far the import is on the new ledger.
type State struct {
	model.Import
	Closed bool `json:"closed"`
}

// ReadState asks how far the import is; nil where none was begun.
func ReadState(ctx context.Context, l Ledger) (*State, error) {
	raw, err := l.Evaluate(ctx, model.FunctionGet, []byte(model.KindImport), []byte(model.ImportID))
	if err != nil {
		switch model.AsError(err).Code {
		case model.CodeNotFound, model.CodeNotInitialised:
			return nil, nil
		}
		return nil, err
	}
	return DecodeState(raw)
}

// DecodeState reads a canonical model.StateEntry of the import.
func DecodeState(raw []byte) (*State, error) {
	if len(raw) > model.MaxGenesis {
		return nil, model.E(model.CodeTooMany)
	}
	var e model.StateEntry
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, model.E(model.CodeInternal).Because(err)
	}
	value, err := model.DecodeEntry(model.KindImport, model.ImportID, e.Value)
	if err != nil {
		return nil, err
	}
	i, ok := value.(*model.Import)
	if !ok {
		return nil, model.E(model.CodeInternal)
	}
	return &State{*i, e.Header.Exists()}, nil
}

// Import gives the new ledger what it has not yet got of the old one, block by block, until it has all that the
// source has or the import is closed. It keeps nothing of its own: the contract's state says what is next, so it
// can be killed and called again at any moment, by anybody.
//
// The error is a *Fault where somebody has to do something first.
func Import(ctx context.Context, l Ledger, s Source, genesis []byte, o Options) (*State, error) {
	o.defaults()
	run := &importing{l: l, s: s, genesis: genesis, o: o, limit: o.BatchBytes, moved: time.Now()}
	for {
		at, err := ReadState(ctx, l)
		if err == nil {
			run.note(at)
			var done bool
			if done, err = run.next(ctx, at); done {
				return at, err
			}
		}
		if err == nil {
			run.failures = 0
			continue
		}
		if err := run.failed(ctx, err); err != nil {
			return at, err
		}
	}
}

func (o *Options) defaults() {
	if o.BatchBytes <= 0 {
		o.BatchBytes = 1 << 20
	}
	if o.BatchBlocks <= 0 || o.BatchBlocks > model.MaxImportBlocks {
		o.BatchBlocks = model.MaxImportBlocks
	}
	if o.Stall <= 0 {
		o.Stall = 3 * time.Minute
	}
	if o.Pause <= 0 {
		o.Pause = 2 * time.Second
	}
	if o.Progress == nil {
		o.Progress = func(Progress) {}
	}
	if o.Trouble == nil {
		o.Trouble = func(error) {}
	}
}

type importing struct {
	l       Ledger
	s       Source
	genesis []byte
	o       Options

	limit    int // bytes of the next call
	blocks   uint64
	moved    time.Time // when blocks last grew
	failures int       // in a row
	inits    int
}

func (r *importing) note(at *State) {
	if at != nil && at.Blocks > r.blocks {
		r.blocks, r.moved = at.Blocks, time.Now()
		r.o.Progress(Progress{at.Blocks, r.s.Height(), at.Position})
	}
}

// next does the next step, or says that there is none.
func (r *importing) next(ctx context.Context, at *State) (done bool, err error) {
	if at == nil {
		return false, r.begin(ctx)
	}
	height := r.s.Height()
	source, err := r.s.Hash(0)
	if err != nil {
		return true, err
	}
	if at.Source != source {
		return true, fault(CodeOther, nil, fmt.Sprintf("the new ledger takes over the ledger with block 0 %s, this node's was %s: see `zhenglian migrate plan` at each organisation", at.Source, source),
			"新账本迁入的是另一个账本；请各单位用 zhenglian migrate plan 核对")
	}
	if at.Closed {
		return true, nil
	}
	if at.Blocks > height {
		return true, behind(at.Blocks, height)
	}
	last, err := r.s.Hash(at.Blocks - 1)
	if err != nil {
		return true, err
	}
	if last != at.Last {
		return true, fault(CodeOther, nil, fmt.Sprintf("block %d of the pilot is another in the new ledger than at this node: the pilot's ledger showed its members different blocks. Do not close; begin again on a new channel", at.Blocks-1),
			fmt.Sprintf("原账本第 %d 个区块在新账本与本节点不一致，原账本曾向成员出示不同区块；不要结束迁入，请换新通道重新开始", at.Blocks-1))
	}
	if at.Blocks == height {
		return true, nil
	}
	batch, err := r.batch(at.Blocks)
	if err != nil {
		return true, fault(CodeDamaged, err, "the archive of the old ledger is damaged: copy archive/ from another member's folder, or from a backup, to "+Before+"/archive",
			"原账本的区块归档已损坏；请从其他成员或备份复制到 "+Before+"/archive")
	}
	err = r.l.Call(ctx, model.FunctionImport, batch)
	if err != nil {
		if len(batch) > 1 && !late(err) { // too much for one transaction, perhaps
			r.limit = max(r.limit/2, 1)
		}
		return false, err
	}
	r.limit = min(2*r.limit, r.o.BatchBytes)
	return false, nil
}

func behind(has, height uint64) *Fault {
	return fault(CodeBehind, nil, fmt.Sprintf("the new ledger already has %d blocks of the pilot, this node only had %d of them when it was switched: `zhenglian migrate switch --undo`, let the node catch up on the old ledger, switch again", has, height),
		fmt.Sprintf("新账本已有原账本的 %d 个区块，本节点切换时只有 %d 个；请先 zhenglian migrate switch --undo，待节点在原账本追平后再切换", has, height))
}

// begin opens the import. Of several that try, one succeeds.
func (r *importing) begin(ctx context.Context) error {
	for block, err := range r.s.Blocks(0) {
		if err != nil {
			return err
		}
		r.inits++
		err = r.l.Call(ctx, model.FunctionInit, [][]byte{r.genesis, append([]byte(nil), block...)})
		if err != nil && model.AsError(err).Code == model.CodeInitialised && r.inits > 6 {
			return fault(CodeBegun, err, "the new channel has a ledger of its own already, which began without the pilot: only a fresh channel can take a pilot over",
				"新通道已有自己的账本，不能再迁入；请使用全新的通道")
		}
		return err
	}
	return fault(CodeDamaged, nil, "the archive of the old ledger holds no block", "原账本的区块归档是空的")
}

// batch reads the blocks of the next call.
func (r *importing) batch(from uint64) (batch [][]byte, err error) {
	size := 0
	for block, err := range r.s.Blocks(from) {
		if err != nil {
			return nil, err
		}
		if len(batch) > 0 && size+len(block) > r.limit {
			break
		}
		batch = append(batch, append([]byte(nil), block...))
		if size += len(block); len(batch) == r.o.BatchBlocks {
			break
		}
	}
	if len(batch) == 0 {
		return nil, errors.New("it ends too early")
	}
	return batch, nil
}

// late reports whether a call failed because another was quicker.
func late(err error) bool {
	c := model.AsError(err).Code
	return c == model.CodeImportOrder || c == model.CodeInitialised
}

// final reports whether calling again cannot help.
func final(err error) bool {
	var f *Fault
	if errors.As(err, &f) {
		return true
	}
	e := model.AsError(err)
	switch e.Code {
	case model.CodeImportOrder, model.CodeInitialised, model.CodeImportClosed, model.CodeNotInitialised:
		return false // the next look at the state tells
	}
	switch e.Kind() {
	case model.Refused, model.Invalid, model.Denied:
		return true
	}
	return false
}

// failed waits before the next attempt, or returns why there is none.
func (r *importing) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if final(err) {
		return err
	}
	if !late(err) {
		r.o.Trouble(err)
	}
	if time.Since(r.moved) > r.o.Stall {
		return fault(CodeStalled, err, fmt.Sprintf("nothing has moved for %s; call the command again once the cause is gone", r.o.Stall),
			fmt.Sprintf("已有 %s 没有进展；排除原因后请重新执行", r.o.Stall))
	}
	r.failures++
	pause := min(50*time.Millisecond<<min(r.failures, 10), r.o.Pause)
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
