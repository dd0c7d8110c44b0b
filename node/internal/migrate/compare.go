package migrate

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Records is what a node has made of one ledger, as of one moment.
type Records interface {
	// Position is the number of leaves.
	Position() uint64
	// Leaves lists leaves from a position on.
	Leaves(from uint64, limit int) ([]Leaf, error)
	// List lists a kind's records in the order of their ids, after one.
	List(kind model.Kind, after model.RecordID, limit int) ([]model.View, error)
}

// Leaf is one leaf of a log.
type Leaf struct {
	Position  uint64
	Hash      model.Digest
	Operation model.OpID
	Type      model.Type
	Kind      model.Kind
	ID        model.RecordID
	Digest    model.Digest // of the operation
	Record    model.Digest // record digest after it
	Msp       model.MSPID  // on whose word
	Late      bool
}

// End is where a log ends: what an organisation names when it closes the import.
type End struct {
	Position uint64       `json:"position"` // leaves, those of genesis included
	Chain    model.Digest `json:"chain"`
}

// Difference is one thing in which the new ledger's records differ from the old one's.
type Difference struct {
	Code     string         `json:"code"`
	Position *uint64        `json:"position,omitempty"` // of a leaf
	Kind     model.Kind     `json:"kind,omitempty"`
	Record   model.RecordID `json:"record,omitempty"`
	En       string         `json:"en"`
	Zh       string         `json:"zh"`
}

// Codes of differences.
const (
	LeafMissing   = "leaf.missing"
	LeafDiffers   = "leaf.differs"
	LeafExtra     = "leaf.extra"
	LeafWord      = "leaf.word" // the same operation on another organisation's word, or late in one of both
	RecordMissing = "record.missing"
	RecordDiffers = "record.differs"
	RecordExtra   = "record.extra"
)

// Comparison is what Compare found.
type Comparison struct {
	End
	Leaves      uint64       `json:"leaves"`        // compared
	Records     uint64       `json:"records"`       // compared
	Since       uint64       `json:"changed_since"` // records that have changed since the import was closed
	Differences []Difference `json:"differences"`   // the first hundred
	More        bool         `json:"more"`          // there are more
}

// maxDifferences ends a comparison: records that differ all over need no longer list.
const maxDifferences = 100

const pageSize = 500

// EndOf folds a log into its end, up to a position.
func EndOf(ctx context.Context, r Records, until uint64, progress func(done, total uint64)) (End, error) {
	var e End
	for e.Position < until {
		leaves, err := r.Leaves(e.Position, int(min(pageSize, until-e.Position)))
		if err != nil {
			return e, err
		}
		if len(leaves) == 0 {
			return e, fmt.Errorf("leaf %d is missing", e.Position)
		}
		for i := range leaves {
			e.Chain = model.Chain(e.Chain, leaves[i].Digest, leaves[i].Record)
			e.Position++
		}
		if progress != nil {
			progress(e.Position, until)
		}
		if err := ctx.Err(); err != nil {
			return e, err
		}
	}
	return e, nil
}

// Compare holds what a node has made of the new ledger against what it had of the old one: leaf by leaf, at the
// same positions, then record by record. What came after the import was closed is no difference.
func Compare(ctx context.Context, was, is Records, progress func(done, total uint64)) (Comparison, error) {
	c := &comparing{ctx: ctx, was: was, is: is, progress: progress}
	c.out.Differences = []Difference{}
	if c.progress == nil {
		c.progress = func(uint64, uint64) {}
	}
	err := c.leaves()
	if err == nil && !c.out.More {
		err = c.records()
	}
	return c.out, err
}

type comparing struct {
	ctx      context.Context
	was, is  Records
	progress func(done, total uint64)
	out      Comparison
}

func (c *comparing) add(d Difference) {
	if len(c.out.Differences) == maxDifferences {
		c.out.More = true
		return
	}
	c.out.Differences = append(c.out.Differences, d)
}

func (c *comparing) leaf(code string, l *Leaf, en, zh string) {
	at := l.Position
	c.add(Difference{code, &at, l.Kind, l.ID, fmt.Sprintf("position %d, %s %s: %s", at, l.Kind, l.ID, en), fmt.Sprintf("位置 %d，%s %s：%s", at, l.Kind, l.ID, zh)})
}

func (c *comparing) leaves() error {
	total := c.was.Position()
	for c.out.Position < total && !c.out.More {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		old, err := c.was.Leaves(c.out.Position, pageSize)
		if err != nil {
			return err
		}
		if len(old) == 0 {
			return fmt.Errorf("leaf %d of the old records is missing", c.out.Position)
		}
		now, err := c.is.Leaves(c.out.Position, len(old))
		if err != nil {
			return err
		}
		for i := range old {
			was := &old[i]
			c.out.Chain = model.Chain(c.out.Chain, was.Digest, was.Record)
			c.out.Position++
			c.out.Leaves++
			if i >= len(now) {
				c.leaf(LeafMissing, was, "the old ledger's operation is not in the new one", "原账本的操作不在新账本中")
				continue
			}
			c.same(was, &now[i])
		}
		c.progress(c.out.Position, total)
	}
	if c.is.Position() <= total || c.out.More {
		return nil
	}
	next, err := c.is.Leaves(total, 1)
	if err != nil {
		return err
	}
	if len(next) == 1 && next[0].Type != model.ImportClosed {
		c.leaf(LeafExtra, &next[0], "the new ledger has operations that this node's old records have not: it had not caught up when it was switched. `zhenglian migrate switch --undo`, catch up on the old ledger, switch again",
			"新账本有本节点原记录中没有的操作：切换时本节点尚未追平；请 zhenglian migrate switch --undo，在原账本追平后再切换")
	}
	return nil
}

func (c *comparing) same(was, is *Leaf) {
	switch {
	case was.Hash != is.Hash || was.Position != is.Position || was.Operation != is.Operation || was.Digest != is.Digest || was.Record != is.Record:
		c.leaf(LeafDiffers, was, fmt.Sprintf("operation %s with leaf %s stands here, it was %s with %s", is.Operation, is.Hash, was.Operation, was.Hash),
			fmt.Sprintf("此处是操作 %s、叶 %s，原为 %s、%s", is.Operation, is.Hash, was.Operation, was.Hash))
	case was.Late != is.Late || was.Msp != is.Msp && was.Type != model.Genesis: // the genesis is whose Init was
		c.leaf(LeafWord, was, fmt.Sprintf("it is %s's (late: %t), it was %s's (late: %t)", is.Msp, is.Late, was.Msp, was.Late),
			fmt.Sprintf("此处提交单位为 %s（迟报：%t），原为 %s（迟报：%t）", is.Msp, is.Late, was.Msp, was.Late))
	}
}

// records compares both lists of each kind like a zip.
func (c *comparing) records() error {
	for _, kind := range slices.Sorted(maps.Keys(model.Machines)) {
		was, is := &lister{r: c.was, kind: kind}, &lister{r: c.is, kind: kind}
		for !c.out.More {
			a, err := was.peek()
			if err != nil {
				return err
			}
			b, err := is.peek()
			if err != nil {
				return err
			}
			if a == nil && b == nil {
				break
			}
			switch {
			case b == nil || a != nil && a.ID < b.ID:
				c.record(RecordMissing, a, "the old ledger's record is not in the new one", "原账本的记录不在新账本中")
				c.out.Records++
				was.next()
			case a == nil || b.ID < a.ID:
				if b.Position < c.out.Position {
					c.record(RecordExtra, b, "the old ledger had no such record", "原账本没有这条记录")
				} else {
					c.out.Since++
				}
				is.next()
			default:
				c.out.Records++
				if b.Position >= c.out.Position {
					c.out.Since++ // its versions were compared as leaves
				} else if !sameView(a, b) {
					c.record(RecordDiffers, a, "it stands otherwise than it did", "现状与原来不一致")
				}
				was.next()
				is.next()
			}
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparing) record(code string, v *model.View, en, zh string) {
	c.add(Difference{Code: code, Kind: v.Kind, Record: v.ID, En: fmt.Sprintf("%s %s: %s", v.Kind, v.ID, en), Zh: fmt.Sprintf("%s %s：%s", v.Kind, v.ID, zh)})
}

func sameView(a, b *model.View) bool {
	return a.Kind == b.Kind && a.ID == b.ID && a.Header == b.Header && bytes.Equal(a.Public, b.Public) && a.Digest == b.Digest &&
		a.Position == b.Position && a.Leaf == b.Leaf && a.Duplicate == b.Duplicate
}

// lister walks the records of a kind.
type lister struct {
	r     Records
	kind  model.Kind
	page  []model.View
	after model.RecordID
	ended bool
}

func (l *lister) peek() (*model.View, error) {
	if len(l.page) == 0 && !l.ended {
		var err error
		if l.page, err = l.r.List(l.kind, l.after, pageSize); err != nil {
			return nil, err
		}
		if l.ended = len(l.page) < pageSize; len(l.page) > 0 {
			l.after = l.page[len(l.page)-1].ID
		}
	}
	if len(l.page) == 0 {
		return nil, nil
	}
	return &l.page[0], nil
}

func (l *lister) next() { l.page = l.page[1:] }
