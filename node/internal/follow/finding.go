package follow

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// Code says what is wrong with the ledger. Those of a block or transaction that does not check by itself
// are fabblock's; the ones below need the contract or the chain as this node knows it.
type Code string

// Findings of the follower's own.
const (
	OtherGenesis  Code = "chain.genesis"      // block 0 is not the pinned one
	ForkedChain   Code = "chain.fork"         // the chain is not the one that the records were made from
	ForeignWrite  Code = "tx.namespace"       // a write into a namespace that is not the contract's own
	RefusedCall   Code = "tx.refused"         // the contract refuses what the block calls valid
	OtherResponse Code = "tx.response"        // the contract answers otherwise
	OtherWrites   Code = "tx.write_set_other" // the contract writes otherwise
	FalseValidity Code = "tx.false_validity"  // the block calls valid what the ledger's rules make invalid
	HiddenTx      Code = "tx.hidden"          // the block calls invalid what the ledger's rules make valid
	WrongMark     Code = "chain.archive_mark" // the archive misstates after which blocks the channel changes
)

var texts = map[Code][2]string{
	OtherGenesis:  {"the channel's first block is not the one configured here", "通道的创世区块与本节点配置的不一致"},
	ForkedChain:   {"the ledger's chain is not the one that this node has followed so far", "账本的区块链与本节点此前同步的不是同一条"},
	ForeignWrite:  {"a transaction writes outside its own contract's state", "交易写入了其他合约的数据区"},
	RefusedCall:   {"the contract's rules refuse a transaction that the ledger calls valid", "账本标为有效的交易被合约规则拒绝"},
	OtherResponse: {"the contract answers the transaction otherwise than the ledger says", "合约对该交易的应答与账本记载不一致"},
	OtherWrites:   {"the contract writes otherwise than the ledger says", "合约对该交易的写集与账本记载不一致"},
	FalseValidity: {"the block calls a transaction valid that is not, by the versions of what it read", "区块把按读集版本应判为无效的交易标为有效"},
	HiddenTx:      {"the block calls a transaction invalid that is valid, and so hides what it wrote", "区块把有效的交易标为无效，隐藏了其写入"},
	WrongMark:     {"the archive misstates after which blocks the channel's configuration changes", "区块归档对通道配置变更位置的标注有误"},
}

// Finding is a fault of the ledger that stopped the follower. It holds no part of any operation.
type Finding struct {
	Code  Code       `json:"code"`
	Block uint64     `json:"block"`
	Tx    int        `json:"tx"` // −1 where the block itself is meant
	En    string     `json:"en"`
	Zh    string     `json:"zh"`
	Time  model.Time `json:"time"` // when this node found it
	cause error

	given bool // the source gave it: another may give better
}

// Fault tells a source what it is refused for.
func (f *Finding) Fault() (code, en, zh string, block uint64, tx int) {
	return string(f.Code), f.En, f.Zh, f.Block, f.Tx
}

// inArchive says which file holds what does not check: no gateway is to blame, and an operator can replace it.
func (f *Finding) inArchive(file string) *Finding {
	f.En += "; it stands in the archive's file " + file + ": stop the node, put that file from another member's archive in its place, or remove it and " +
		"all later ones so that the ledger gives the blocks again, remove the records and finding.json, and start"
	f.Zh += "；该区块位于归档文件 " + file + "：请停止节点，用其他成员的同名归档文件替换（或删除该文件及其后的归档文件，由账本重新提供），删除 records 与 finding.json 后重新启动"
	return f
}

func (f *Finding) Error() string { return "follow: " + string(f.Code) + ": " + f.En }

// Unwrap gives the cause, where this run found it.
func (f *Finding) Unwrap() error { return f.cause }

func newFinding(code Code, block uint64, tx int, cause error) *Finding {
	where := &fabblock.Error{Block: block, Tx: tx}
	f := &Finding{Code: code, Block: block, Tx: tx, cause: cause}
	f.En, f.Zh = where.Where()+": "+texts[code][0], where.Where()+": "+texts[code][1]
	if cause != nil {
		f.En, f.Zh = f.En+": "+cause.Error(), f.Zh+": "+cause.Error()
	}
	return f
}

// asFinding takes over what fabblock found.
func asFinding(err error, block uint64) error {
	var e *fabblock.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("follow: block %d: %w", block, err)
	}
	return &Finding{Code: Code(e.Code), Block: e.Block, Tx: e.Tx, En: e.En(), Zh: e.Zh(), cause: err}
}

// ReadFinding reads what an earlier run left, nil for nothing.
func ReadFinding(path string) (*Finding, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) || path == "" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var f Finding
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("follow: the stored finding %s: %w", path, err)
	}
	return &f, nil
}

func writeFinding(path string, f *Finding) error {
	if path == "" {
		return nil
	}
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // gone after the rename
	_, err = tmp.Write(append(b, '\n'))
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}

// ClearFinding removes a stored finding: the next run takes the block that it was about once more. It is
// for an operator who knows why.
func ClearFinding(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
