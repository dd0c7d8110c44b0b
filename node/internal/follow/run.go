package follow

import (
	"errors"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
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
	last, _, err := archived(cfg.Archive, r.next-1)
	if err != nil {
		return nil, err
	}
	r.prev = last.GetHeader()
	if err := r.sameChain(); err != nil {
		return nil, inArchive(err, cfg.Archive, r.next-1)
	}
	return r, r.configure()
}

// configure makes the channel as it is before block next: the first configuration, and what the marked blocks
// since changed. They were checked when they were archived.
func (r *run) configure() error {
	first, _, err := archived(r.cfg.Archive, 0)
	if err != nil {
		return err
	}
	if r.channel, err = parseConfig(r.cfg, first); err != nil {
		return inArchive(asFinding(err, 0), r.cfg.Archive, 0)
	}
	for _, n := range r.cfg.Archive.Marked(r.next) {
		if n == 0 {
			continue
		}
		b, _, err := archived(r.cfg.Archive, n)
		if err != nil {
			return err
		}
		if r.channel, err = r.channel.Advance(b); err != nil {
			return inArchive(asFinding(err, n), r.cfg.Archive, n)
		}
	}
	return nil
}

func parseConfig(cfg *Config, b *common.Block) (*fabblock.Channel, error) {
	c, err := fabblock.ParseConfig(b)
	if err == nil {
		c.Chaincode = cfg.Chaincode
	}
	return c, err
}

func archived(a Archive, n uint64) (b *common.Block, raw []byte, err error) {
	if raw, err = a.Block(n); err != nil {
		return nil, nil, err
	}
	b = &common.Block{}
	if err := proto.Unmarshal(raw, b); err != nil {
		return nil, nil, newFinding(Code(fabblock.BadBlock), n, -1, err).inArchive(a.File(n))
	}
	return b, raw, nil
}

// inArchive adds to a finding which file holds the block.
func inArchive(err error, a Archive, n uint64) error {
	var found *Finding
	if errors.As(err, &found) {
		return found.inArchive(a.File(n))
	}
	return err
}

// takeArchived takes the next block out of the archive. Nothing of it is believed: whoever made the archive,
// what does not check is a finding.
func (r *run) takeArchived() error {
	n := r.next
	b, raw, err := archived(r.cfg.Archive, n)
	if err != nil {
		return err
	}
	return inArchive(r.take(b, raw), r.cfg.Archive, n)
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
	if r.next < r.applied {
		if err := r.recall(checked); err != nil {
			return err
		}
	}
	switch {
	case r.next < r.gap:
	case r.next < r.applied:
		if err := r.restore(checked); err != nil {
			return err
		}
	default:
		if done, err = r.verify(checked, b.GetData().GetData()); err != nil {
			return err
		}
	}
	if err := r.archive(raw, checked.Next != nil || r.next == 0); err != nil {
		return err
	}
	if checked.Next != nil {
		r.channel = checked.Next
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

// archive appends the block. One that is there already, in an archive that somebody else may have made, must
// be marked as it is: the marks decide against which configuration blocks are checked after the next start.
func (r *run) archive(raw []byte, mark bool) error {
	if r.next < r.cfg.Archive.Height() {
		marked := r.cfg.Archive.Marked(r.next + 1)
		if n := len(marked); mark != (n > 0 && marked[n-1] == r.next) {
			return newFinding(WrongMark, r.next, -1, nil)
		}
	}
	return r.cfg.Archive.Append(r.next, raw, mark)
}

// recall holds a block that the records applied before against what they keep of it: whether each of its
// transactions is valid. No signature covers that on Fabric, and the versions that it was derived from are
// gone.
func (r *run) recall(b *fabblock.Block) error {
	claimed := map[string]int{} // valid ones, by id
	for i := range b.Txs {
		if t := &b.Txs[i]; t.Code == peer.TxValidationCode_VALID {
			claimed[t.ID]++
		}
	}
	for i := range b.Txs {
		t := &b.Txs[i]
		first, valid, ok, err := r.cfg.Records.Known(t.ID)
		if err != nil {
			return err
		}
		want := 0
		if valid && first == b.Number {
			want = 1
		}
		switch {
		case !ok: // a configuration without an id, or an id that no valid transaction can have
		case claimed[t.ID] > want:
			return newFinding(FalseValidity, b.Number, i, nil)
		case claimed[t.ID] < want:
			return newFinding(HiddenTx, b.Number, i, nil)
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
	c, err := parseConfig(r.cfg, b)
	if err != nil {
		return asFinding(err, 0)
	}
	r.channel = c
	return nil
}

// give hands a verified block to the records.
func (r *run) give(b *fabblock.Block, v *verified) error {
	r.broken = true
	if err := r.cfg.Records.Block(b.Number, model.Digest(b.Hash), v.at, v.valid, v.invalid); err != nil {
		return err
	}
	for i := range v.writes {
		w := &v.writes[i]
		if err := r.cfg.Records.Write(w.namespace, w.key, w.value, w.tx); err != nil {
			return err
		}
	}
	n := 0
	for i := range v.txs {
		t := &v.txs[i]
		for j := range t.Receipts {
			if err := r.cfg.Records.Leaf(&v.applied[n], &v.leaves[n], &t.Receipts[j], v.applied[n].Msp); err != nil {
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
