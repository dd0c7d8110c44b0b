package follow

import (
	"fmt"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// run is one pass along the chain, from where archive and records stand. The archive may be behind the
// records or before them, whichever lost its end in a power cut: a block that the one has is given to the
// other alone.
type run struct {
	cfg     *Config
	channel *fabblock.Channel   // as configured before block next; nil before block 0
	prev    *common.BlockHeader // of block next−1
	next    uint64              // the block that is taken next
	applied uint64              // the block that the records take next
	gap     uint64              // the first block whose operations the records may miss; applied where none
	hash    model.Digest        // of block applied−1, as the records have it

	group  []Committed // given to the records and not yet committed
	leaves int
	bytes  int
	broken bool // the records failed within a block: what they hold must not be committed
}

func newRun(cfg *Config) (*run, error) {
	height, hash, _, _ := cfg.Records.Cursor()
	r := &run{cfg: cfg, applied: height, hash: hash, gap: height}
	if block, ok, err := cfg.Records.Gap(); err != nil {
		return nil, err
	} else if ok {
		r.gap = block
	}
	r.next = min(r.gap, cfg.Archive.Height())
	if r.next == 0 {
		return r, nil
	}
	last, err := archived(cfg.Archive, r.next-1)
	if err != nil {
		return nil, err
	}
	r.prev = last.GetHeader()
	if err := r.sameChain(); err != nil {
		return nil, err
	}
	n, ok := cfg.Archive.Config(r.next)
	if !ok {
		return nil, fmt.Errorf("follow: the archive holds no configuration before block %d", r.next)
	}
	config, err := archived(cfg.Archive, n)
	if err != nil {
		return nil, err
	}
	if r.channel, err = fabblock.ParseConfig(config); err != nil {
		return nil, err
	}
	return r, nil
}

func archived(a Archive, n uint64) (*common.Block, error) {
	raw, err := a.Block(n)
	if err != nil {
		return nil, err
	}
	return decodeBlock(raw, n)
}

func decodeBlock(raw []byte, n uint64) (*common.Block, error) {
	var b common.Block
	if err := proto.Unmarshal(raw, &b); err != nil {
		return nil, fmt.Errorf("follow: archived block %d: %w", n, err)
	}
	return &b, nil
}

// sameChain holds the block taken last against the records, where it is the last that they have.
func (r *run) sameChain() error {
	if r.next == r.applied && r.next > 0 && model.Digest(fabblock.HeaderHash(r.prev)) != r.hash {
		return newFinding(ForkedChain, r.next-1, -1, nil)
	}
	return nil
}

func (r *run) full() bool {
	return len(r.group) >= groupBlocks || r.leaves >= groupLeaves || r.bytes >= groupBytes
}

// taken hands over the group once it is committed, and begins a new one.
func (r *run) taken() (group []Committed, leaves int) {
	group, leaves = r.group, r.leaves
	r.group, r.leaves, r.bytes = nil, 0, 0
	return group, leaves
}

// take verifies the next block and gives it to archive and records. raw is the block's encoding. The error
// is a *Finding where the block is at fault; neither has taken it then.
func (r *run) take(b *common.Block, raw []byte) error {
	if r.next == 0 {
		if err := r.genesis(b); err != nil {
			return err
		}
	}
	checked, err := r.channel.Check(r.prev, b)
	if err != nil {
		return asFinding(err, r.next)
	}
	var done *verified
	switch {
	case r.next < r.gap:
	case r.next < r.applied:
		if err := r.restore(checked); err != nil {
			return err
		}
	default:
		if done, err = r.verify(checked); err != nil {
			return err
		}
	}
	if err := r.cfg.Archive.Append(r.next, raw, r.next == 0); err != nil {
		return err
	}
	if done != nil {
		if err := r.give(checked, done); err != nil {
			return err
		}
		r.applied++
		r.bytes += len(raw)
		r.hash = model.Digest(checked.Hash)
	}
	r.prev = b.GetHeader()
	r.next++
	return r.sameChain()
}

// restore gives the records the operations of a block that they applied before.
func (r *run) restore(b *fabblock.Block) error {
	for i := range b.Txs {
		t := &b.Txs[i]
		if !r.ours(t) || len(t.Args) < 2 {
			continue
		}
		ops := t.Args[1:]
		if string(t.Args[0]) == model.FunctionInit {
			doc, _, err := model.DecodeGenesis(t.Args[1])
			if err != nil {
				return err
			}
			derived, err := doc.Operations()
			if err != nil {
				return err
			}
			ops = make([][]byte, len(derived))
			for j := range derived {
				ops[j] = derived[j].Encode()
			}
		}
		if err := r.cfg.Records.Restore(b.Number, t.ID, ops); err != nil {
			return err
		}
	}
	return nil
}

// genesis takes the channel's first configuration from block 0, which is known by its hash or, where the
// operator has pinned none, believed at first sight.
func (r *run) genesis(b *common.Block) error {
	if b.GetHeader() == nil || b.GetHeader().GetNumber() != 0 {
		return newFinding(Code(fabblock.BadNumber), 0, -1, nil)
	}
	if !r.cfg.Genesis.IsZero() && model.Digest(fabblock.HeaderHash(b.GetHeader())) != r.cfg.Genesis {
		return newFinding(OtherGenesis, 0, -1, nil)
	}
	c, err := fabblock.ParseConfig(b)
	if err != nil {
		return asFinding(err, 0)
	}
	r.channel = c
	return nil
}

// give hands a verified block to the records.
func (r *run) give(b *fabblock.Block, v *verified) error {
	r.broken = true
	if err := r.cfg.Records.Block(b.Number, model.Digest(b.Hash), v.at, v.writes); err != nil {
		return err
	}
	n := 0
	for i := range v.txs {
		t := &v.txs[i]
		for j := range t.Receipts {
			if err := r.cfg.Records.Leaf(&v.applied[n], &v.leaves[n], &t.Receipts[j], v.msps[i]); err != nil {
				return err
			}
			n++
		}
	}
	r.broken = false
	r.group = append(r.group, Committed{b.Number, v.txs})
	r.leaves += n
	return nil
}
