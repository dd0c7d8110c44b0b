package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"github.com/syndtr/goleveldb/leveldb"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// A Finding is one thing that is wrong with a ledger, for programs and for people.
type Finding struct {
	Code  string `json:"code"`  // stable, see docs/spec/embedded-ledger.md
	Where string `json:"where"` // file and offset, block, key or transaction
	En    string `json:"en"`
	Zh    string `json:"zh"`
}

// Codes of findings beside those of fabblock.
const (
	CodeFile      = "file.damaged"
	CodeOpen      = "database.unreadable"
	CodeStray     = "database.stray_key"
	CodeChecksum  = "block.checksum"
	CodeEncoding  = "block.encoding"
	CodeUnread    = "block.unreadable"
	CodeFilter    = string(fabblock.BadCodes)
	CodeMissing   = "state.missing"
	CodeExtra     = "state.extra"
	CodeDifferent = "state.different"
	CodeAhead     = "state.ahead"
	CodeUnchecked = "state.unchecked"
)

// maxFindings ends a check: a ledger damaged all over needs no longer list.
const maxFindings = 100

// A Report is what a check found. The ledger is sound if Findings is empty.
type Report struct {
	Height       uint64    `json:"height"`       // blocks stored
	Applied      uint64    `json:"applied"`      // blocks that the state reflects
	Transactions uint64    `json:"transactions"` // in the blocks checked
	Entries      uint64    `json:"entries"`      // of the state database compared
	Hash         []byte    `json:"hash"`         // header hash of the last block checked
	Torn         []string  `json:"torn"`         // files whose last write a crash cut short; the next start mends them
	Findings     []Finding `json:"findings"`
}

// errEnough ends a check that has found maxFindings.
var errEnough = errors.New("enough findings")

func (r *Report) add(code, where, en, zh string) error {
	r.Findings = append(r.Findings, Finding{code, where, where + ": " + en, where + "：" + zh})
	if len(r.Findings) >= maxFindings {
		return errEnough
	}
	return nil
}

// Fsck checks the ledger in dir and changes nothing there. Every byte of the databases' files that holds anything is
// compared with its checksum; every block with its stored checksum, its canonical encoding, its predecessor, its
// orderer's signature, its transactions' signatures, ids and endorsements, and the validation codes that follow from
// replaying the chain; and every entry of the state, the history and the transaction index with that replay, in both
// directions. progress may be nil.
//
// The error says that the check could not be made (ErrNotCreated, ErrInUse, ctx ended, the files cannot be read);
// what is wrong with the ledger is in the report.
func Fsck(ctx context.Context, dir string, progress func(done, total uint64)) (Report, error) {
	c := &checker{ctx: ctx, dir: dir, report: Report{Findings: []Finding{}, Torn: []string{}}, progress: progress}
	if c.progress == nil {
		c.progress = func(uint64, uint64) {}
	}
	defer c.release()
	err := c.run()
	if errors.Is(err, errEnough) {
		err = nil
	}
	return c.report, err
}

type checker struct {
	ctx      context.Context
	dir      string
	report   Report
	progress func(done, total uint64)
	cleanup  []func()

	blocks, state *leveldb.DB
	channel       *fabblock.Channel
	replay        *store // the state as the blocks make it, in a temporary folder
	compared      bool
}

func (c *checker) release() {
	for i := len(c.cleanup) - 1; i >= 0; i-- {
		c.cleanup[i]()
	}
}

func (c *checker) run() error {
	for _, name := range []string{blocksName, stateName} {
		path := filepath.Join(c.dir, name)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%w: %s is missing", ErrNotCreated, path)
		} else if err != nil {
			return err
		}
		release, err := lockShared(path)
		if err != nil {
			return err
		}
		c.cleanup = append(c.cleanup, release)
	}
	for _, name := range []string{blocksName, stateName} {
		if err := c.files(name); err != nil {
			return err
		}
	}
	var err error
	if c.blocks, err = c.open(blocksName); err != nil || c.blocks == nil {
		return err
	}
	if c.state, err = c.open(stateName); err != nil {
		return err
	}
	if err := c.openReplay(); err != nil {
		return err
	}
	if err := c.findHeight(); err != nil {
		return err
	}
	return c.chain()
}

func (c *checker) files(name string) error {
	f, err := scanFiles(c.dir, name, true)
	if err != nil {
		return err
	}
	c.report.Torn = append(c.report.Torn, f.torn...)
	for _, d := range f.damage {
		if err := c.report.add(CodeFile, fmt.Sprintf("%s offset %d", d.file, d.offset), d.what, "文件已损坏（"+d.what+"）"); err != nil {
			return err
		}
	}
	return nil
}

// open opens one database for reading. A database that cannot be opened is a finding, and nil.
func (c *checker) open(name string) (*leveldb.DB, error) {
	db, release, err := openOverlay(filepath.Join(c.dir, name))
	if err != nil {
		return nil, c.report.add(CodeOpen, name, "the database cannot be opened: "+err.Error(), "数据库无法打开："+err.Error())
	}
	c.cleanup = append(c.cleanup, release, func() { _ = db.Close() })
	return db, nil
}

func (c *checker) openReplay() error {
	tmp, err := os.MkdirTemp("", "ledger-check-*")
	if err != nil {
		return err
	}
	c.cleanup = append(c.cleanup, func() { _ = os.RemoveAll(tmp) })
	db, err := leveldb.OpenFile(tmp, stateOptions(Limits{}.withDefaults()))
	if err != nil {
		return err
	}
	c.cleanup = append(c.cleanup, func() { _ = db.Close() })
	c.replay = &store{state: db}
	return nil
}

// findHeight looks at the keys of the blocks database and at the state's savepoint.
func (c *checker) findHeight() error {
	it := c.blocks.NewIterator(nil, nil)
	defer it.Release()
	for ok := it.First(); ok; ok = it.Next() {
		if key := it.Key(); len(key) != 9 || key[0] != blockPrefix {
			if err := c.report.add(CodeStray, fmt.Sprintf("blocks key %x", key), "the key belongs to no block", "该键不属于任何区块"); err != nil {
				return err
			}
			continue
		}
		if n := blockNumber(it.Key()); n+1 > c.report.Height {
			c.report.Height = n + 1
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		if err := c.report.add(CodeOpen, "blocks", "the database cannot be read to its end: "+err.Error(), "数据库无法读完："+err.Error()); err != nil {
			return err
		}
	}
	if c.report.Height == 0 {
		return c.report.add(string(fabblock.BadNumber), "block 0", "no block is stored", "未存储任何区块")
	}
	if c.state == nil {
		return nil
	}
	applied, _, err := (&store{state: c.state}).savepoint()
	if err != nil {
		return c.report.add(CodeDifferent, "state savepoint", "it cannot be read: "+err.Error(), "保存点无法读取："+err.Error())
	}
	if c.report.Applied = applied; applied > c.report.Height {
		return c.report.add(CodeAhead, fmt.Sprintf("block %d", c.report.Height),
			fmt.Sprintf("the state reflects %d blocks, but only %d are stored: blocks are lost", applied, c.report.Height),
			fmt.Sprintf("状态已应用 %d 个区块，但仅存储 %d 个：区块丢失", applied, c.report.Height))
	}
	return nil
}

// chain checks block after block and replays them. After a block that cannot be used the rest is still checked for
// what does not depend on the replay, and the state is left uncompared, which is a finding too.
func (c *checker) chain() error {
	var prev *common.BlockHeader
	sound := true
	for n := range c.report.Height {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		b, err := c.readBlock(n)
		if err != nil {
			return err
		}
		if b == nil {
			prev, sound = nil, false
		} else if prev, sound, err = c.checkBlock(prev, b, n, sound); err != nil {
			return err
		}
		if sound && n+1 == c.compareAt() {
			if err := c.compareState(); err != nil {
				return err
			}
		}
		c.progress(n+1, c.report.Height)
	}
	if !c.compared && c.state != nil && c.report.Height > 0 {
		return c.report.add(CodeUnchecked, "state", "it could not be compared, because a block before it is damaged", "因此前区块损坏，状态未能核对")
	}
	return nil
}

// compareAt is the number of blocks after which the replay must equal the state.
func (c *checker) compareAt() uint64 {
	if c.report.Applied == 0 || c.report.Applied > c.report.Height {
		return c.report.Height
	}
	return c.report.Applied
}

// readBlock reads one block; nil after a finding that makes it unusable.
func (c *checker) readBlock(n uint64) (*common.Block, error) {
	where := fmt.Sprintf("block %d", n)
	stored, err := c.blocks.Get(blockKey(n), nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return nil, c.report.add(CodeUnread, where, "the block is missing", "区块缺失")
	}
	if err != nil {
		return nil, c.report.add(CodeUnread, where, "the block cannot be read: "+err.Error(), "区块无法读取："+err.Error())
	}
	raw := stored
	if len(stored) > checksumSize {
		raw = stored[checksumSize:]
	}
	if _, err := unsealBlock(stored); err != nil {
		if err := c.report.add(CodeChecksum, where, err.Error(), "存储的校验和与区块不符"); err != nil {
			return nil, err
		}
	}
	var b common.Block
	if err := proto.Unmarshal(raw, &b); err != nil {
		return nil, c.report.add(string(fabblock.BadBlock), where, "the block cannot be read: "+err.Error(), "区块无法解析："+err.Error())
	}
	if !bytes.Equal(marshal(&b), raw) || unknownFields(&b) {
		if err := c.report.add(CodeEncoding, where, "the block is not in its canonical encoding", "区块编码不规范"); err != nil {
			return nil, err
		}
	}
	return &b, nil
}

// unknownFields reports whether the block or one of its envelopes carries bytes that no field accounts for.
func unknownFields(b *common.Block) bool {
	for _, m := range []proto.Message{b, b.GetHeader(), b.GetData(), b.GetMetadata()} {
		if m.ProtoReflect().IsValid() && len(m.ProtoReflect().GetUnknown()) > 0 {
			return true
		}
	}
	for _, raw := range b.GetData().GetData() {
		var env common.Envelope
		if proto.Unmarshal(raw, &env) != nil || len(env.ProtoReflect().GetUnknown()) > 0 || !bytes.Equal(marshal(&env), raw) {
			return true
		}
	}
	return false
}

// checkBlock checks one decoded block and, while the replay is sound, replays it.
func (c *checker) checkBlock(prev *common.BlockHeader, b *common.Block, n uint64, sound bool) (*common.BlockHeader, bool, error) {
	if b.GetHeader().GetNumber() != n {
		err := c.report.add(string(fabblock.BadNumber), fmt.Sprintf("block %d", n),
			fmt.Sprintf("it says that it is block %d", b.GetHeader().GetNumber()), fmt.Sprintf("其自述编号为 %d", b.GetHeader().GetNumber()))
		return nil, false, err
	}
	if n == 0 {
		channel, err := fabblock.ParseConfig(b)
		if err != nil {
			return nil, false, c.chainFinding(n, err)
		}
		c.channel = channel
	}
	if c.channel == nil {
		return b.GetHeader(), false, nil
	}
	if prev == nil && n > 0 {
		return b.GetHeader(), false, nil // its predecessor was the finding
	}
	checked, err := c.channel.Check(prev, b)
	if err != nil {
		return b.GetHeader(), false, c.chainFinding(n, err)
	}
	c.report.Hash = checked.Hash
	c.report.Transactions += uint64(len(checked.Txs))
	if !expectedMetadata(b) {
		if err := c.report.add(string(fabblock.BadMetadata), fmt.Sprintf("block %d", n), "its metadata is not what the ledger writes", "区块元数据与账本写入的不符"); err != nil {
			return nil, false, err
		}
	}
	if !sound {
		return b.GetHeader(), false, nil
	}
	txs, err := c.revalidate(checked)
	if err != nil {
		return nil, false, err
	}
	return b.GetHeader(), true, c.replay.apply(n, checked.Hash, txs)
}

func (c *checker) chainFinding(n uint64, err error) error {
	var bad *fabblock.Error
	if errors.As(err, &bad) {
		c.report.Findings = append(c.report.Findings, Finding{string(bad.Code), bad.Where(), bad.En(), bad.Zh()})
		return nil
	}
	return c.report.add(string(fabblock.BadBlock), fmt.Sprintf("block %d", n), err.Error(), err.Error())
}

// expectedMetadata checks the metadata that no signature covers; one covers the validation codes by their hash.
func expectedMetadata(b *common.Block) bool {
	m := b.GetMetadata().GetMetadata()
	want := newMetadata()
	want[lastConfigIndex] = marshal(&common.Metadata{Value: marshal(&common.LastConfig{})})
	if b.GetHeader().GetNumber() == 0 {
		want[common.BlockMetadataIndex_SIGNATURES] = marshal(&common.Metadata{
			Value: marshal(&common.OrdererBlockMetadata{LastConfig: &common.LastConfig{}})})
	}
	if len(m) != len(want) {
		return false
	}
	for i := range want {
		signed := i == int(common.BlockMetadataIndex_SIGNATURES) && b.GetHeader().GetNumber() > 0
		if i != int(common.BlockMetadataIndex_TRANSACTIONS_FILTER) && !signed && !bytes.Equal(m[i], want[i]) {
			return false
		}
	}
	return true
}

// revalidate judges the block's transactions again. Where the block says otherwise that is a finding, and the replay
// goes on as the block says, so that one wrong code does not hide what else is wrong.
func (c *checker) revalidate(b *fabblock.Block) ([]*fabblock.Tx, error) {
	v := newValidator(c.replay, b.Number)
	txs := make([]*fabblock.Tx, len(b.Txs))
	for i := range b.Txs {
		tx := &b.Txs[i]
		txs[i] = tx
		if tx.Config {
			continue
		}
		code, err := v.judge(i, tx)
		if err != nil {
			return nil, err
		}
		if code != tx.Code {
			where := fmt.Sprintf("block %d tx %d", b.Number, i)
			if err := c.report.add(CodeFilter, where,
				fmt.Sprintf("the block says %s of transaction %s, replaying it gives %s", tx.Code, tx.ID, code),
				fmt.Sprintf("区块将交易 %s 记为 %s，重放结果为 %s", tx.ID, tx.Code, code)); err != nil {
				return nil, err
			}
		}
		if tx.Code == peer.TxValidationCode_VALID {
			for _, w := range tx.Writes {
				if w.Namespace != tx.Chaincode {
					return nil, c.report.add(string(fabblock.BadWriteSet), fmt.Sprintf("block %d tx %d", b.Number, i),
						fmt.Sprintf("contract %q writes to %q", tx.Chaincode, w.Namespace), fmt.Sprintf("合约 %q 写入 %q", tx.Chaincode, w.Namespace))
				}
			}
		}
	}
	return txs, nil
}
