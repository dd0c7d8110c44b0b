package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/contract/origin"
	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/archive"
	"github.com/zhenglian/zhenglian/node/internal/migrate"
	"github.com/zhenglian/zhenglian/node/internal/outbox"
	"github.com/zhenglian/zhenglian/node/internal/records"
)

// Names of what a node has made of its ledger.
const (
	recordsDir = "records"
	archiveDir = "archive"
	outboxDir  = "outbox"
)

func misfit(en, zh string) error {
	return &migrate.Fault{Code: migrate.CodeConfig, En: en, Zh: zh}
}

func interrupted(kind string) error {
	command := "zhenglian migrate switch"
	if kind == migrate.Undo {
		command += " --undo"
	}
	return &migrate.Fault{
		Code: migrate.CodeInterrupted, En: "this node was just being switched to another ledger: run `" + command + " --dir` of this folder again, it finishes what was begun",
		Zh: "本节点切换账本的过程被中断；请对本文件夹重新执行 " + command + " --dir，完成已开始的切换",
	}
}

// Switched says what a switch did.
type Switched struct {
	Before     string `json:"before"`      // folder of what the node had of the old ledger
	ImportFrom string `json:"import_from"` // hash of the old ledger's block 0
	Resumed    bool   `json:"resumed"`     // an interrupted call was finished
}

// SwitchLedger turns a stopped node's folder to another ledger, which is to take over the one it has. Keys, vault,
// outbox and signing keys stay; records, archive and configuration are set aside. The identity is replaced where
// one is given; its paths and those in to are relative to the working directory.
//
// It can be interrupted at any moment: until the commit point of migrate.Begin nothing has changed, and after it
// nothing but this function will touch the folder, which then finishes what was begun.
func SwitchLedger(dir string, to Network, id IdentityFiles) (Switched, error) {
	out := Switched{Before: filepath.Join(dir, migrate.Before)}
	kind, err := migrate.Interrupted(dir)
	switch {
	case err != nil:
		return out, err
	case kind == migrate.Undo:
		return out, interrupted(kind)
	case kind == migrate.Switch:
		out.Resumed = true
		if err := migrate.Finish(dir); err != nil {
			return out, err
		}
		cfg, err := LoadConfig(dir)
		if err == nil {
			out.ImportFrom = cfg.ImportFrom
		}
		return out, err
	}
	cfg, err := LoadConfig(dir)
	if err != nil {
		return out, err
	}
	source, err := switchable(cfg, to)
	if err != nil {
		return out, err
	}
	out.ImportFrom = source.String()
	m, err := cfg.stage(to, id, out.ImportFrom)
	if err != nil {
		return out, err
	}
	if err := migrate.Begin(dir, m); err != nil {
		return out, err
	}
	return out, migrate.Finish(dir)
}

// switchable checks that a node has all of an embedded ledger and nothing on its way to it, and returns the hash of
// the ledger's block 0.
func switchable(cfg *Config, to Network) (model.Digest, error) {
	if _, err := os.Lstat(filepath.Join(cfg.dir, migrate.Before)); err == nil {
		return model.Digest{}, &migrate.Fault{
			Code: migrate.CodeSwitched, En: "this node has been switched already: " + migrate.Before + " is there. `zhenglian migrate switch --undo` takes it back",
			Zh: "本节点已经切换过（存在 " + migrate.Before + "）；如需恢复，请用 zhenglian migrate switch --undo",
		}
	}
	if to.Channel != cfg.Channel {
		return model.Digest{}, misfit(fmt.Sprintf("the new ledger's channel is %q, but the genesis document names %q: the new channel must have the same name", to.Channel, cfg.Channel),
			fmt.Sprintf("新账本的通道为 %q，创世文件中为 %q；两者必须同名", to.Channel, cfg.Channel))
	}
	if to.GenesisBlock == "" || len(to.Ledger.Gateways) == 0 {
		return model.Digest{}, misfit("the new ledger needs the hash of its block 0 and at least one gateway", "缺少新账本创世区块的哈希或网关地址")
	}
	if _, err := blockPin(to.GenesisBlock); err != nil {
		return model.Digest{}, misfit("the hash of block 0 has 64 hexadecimal digits", "创世区块的哈希为 64 位十六进制数字")
	}
	if err := nothingWaits(cfg); err != nil {
		return model.Digest{}, err
	}
	if f, err := Finding(cfg); err != nil {
		return model.Digest{}, err
	} else if f != nil {
		return model.Digest{}, &migrate.Fault{
			Code: migrate.CodeDamaged, En: "this node's follower has stopped with a finding: see `zhenglian finding --dir` of this folder first",
			Zh: "本节点发现账本异常，已停止同步；请先对本文件夹执行 zhenglian finding --dir 查看",
		}
	}
	s, a, err := openRecords(cfg, nil)
	if err != nil {
		return model.Digest{}, err
	}
	defer s.Close()
	defer a.Close()
	if s.Height() != a.Height() || a.Height() == 0 {
		return model.Digest{}, uneven(s.Height(), a.Height())
	}
	return pilotOf(cfg, a)
}

// uneven is a node that was stopped between its two stores, or has nothing yet.
func uneven(records, archive uint64) error {
	return &migrate.Fault{
		Code: migrate.CodeDamaged,
		En:   fmt.Sprintf("the records have %d blocks and the archive has %d: start the node once on its ledger, let it catch up, and stop it", records, archive),
		Zh:   fmt.Sprintf("记录库有 %d 个区块，区块归档有 %d 个；请在原账本上启动节点，待其追平后停止", records, archive),
	}
}

// pilotOf is the hash of block 0 of the embedded ledger that an archive is of.
func pilotOf(cfg *Config, a *archive.Archive) (model.Digest, error) {
	raw, err := a.Block(0)
	if err != nil {
		return model.Digest{}, err
	}
	old, err := origin.Open(raw)
	if err == nil && cfg.ImportFrom != "" {
		err = errors.New("it took over another ledger itself")
	}
	if err != nil {
		return model.Digest{}, &migrate.Fault{
			Code: migrate.CodeNoPilot, En: "this ledger cannot be taken over, only an embedded one can", Zh: "此账本不能迁移；只有嵌入式账本可以", Reason: err,
		}
	}
	if pin, err := blockPin(cfg.GenesisBlock); err != nil || !pin.IsZero() && pin != old.Hash {
		return model.Digest{}, misfit(fmt.Sprintf("block 0 of the archive has the hash %s, but genesis_block is %q: this is another ledger's archive", model.Digest(old.Hash), cfg.GenesisBlock),
			fmt.Sprintf("区块归档中区块 0 的哈希为 %s，而 genesis_block 为 %q；这是另一账本的归档", model.Digest(old.Hash), cfg.GenesisBlock))
	}
	return old.Hash, nil
}

// nothingWaits checks that the outbox is empty: what it holds would be sent to the other ledger.
func nothingWaits(cfg *Config) error {
	if _, err := os.Stat(cfg.path(outboxDir)); err != nil {
		return err
	}
	n, sent, err := inOutbox(cfg)
	if err == nil && (n > 0 || sent > 0) {
		err = waiting(n, sent)
	}
	return err
}

// inOutbox counts the operations that wait in a stopped node's outbox and the transactions that may be on their way.
func inOutbox(cfg *Config) (operations, sent int, err error) {
	o, err := outbox.Open(cfg.path(outboxDir), outbox.Config{Logger: quiet})
	if err != nil {
		return 0, 0, fmt.Errorf("%w (stop the node first)", err)
	}
	operations, _, _ = o.Depth()
	err = o.Envelopes(func(string, []byte, []model.OpID) error { sent++; return nil })
	return operations, sent, errors.Join(err, o.Close())
}

func waiting(operations, sent int) error {
	return &migrate.Fault{
		Code: migrate.CodeWaiting,
		En: fmt.Sprintf("%d accepted operations wait in the outbox, %d transactions are on their way: start node and ledger again, wait until /metrics says zhenglian_outbox_operations 0, stop the node",
			operations, sent),
		Zh: fmt.Sprintf("发件箱中还有 %d 个已受理的操作、%d 笔在途交易；请重新启动账本和节点，待 /metrics 中 zhenglian_outbox_operations 为 0 后停止节点", operations, sent),
	}
}

// stage prepares the files of the new configuration and says what is to be moved.
func (c *Config) stage(to Network, id IdentityFiles, from string) (migrate.Moves, error) {
	m := migrate.Moves{Kind: migrate.Switch}
	stage, err := migrate.Staging(c.dir)
	if err != nil {
		return m, err
	}
	next := *c
	next.GenesisBlock, next.ImportFrom = to.GenesisBlock, from
	if to.Chaincode != "" {
		next.Chaincode = to.Chaincode
	}
	ledger, files, err := to.Ledger.copied()
	if err != nil {
		return m, err
	}
	next.Ledger = ledger
	if err := writeFiles(stage, files); err != nil {
		return m, err
	}
	if id.Cert != "" || id.Key != "" {
		identity, err := id.Load(c.Msp)
		if err != nil {
			return m, err
		}
		if name := identity.Certificate().Subject.CommonName; name != string(c.Node) {
			return m, misfit(fmt.Sprintf("the new certificate's common name is %q, but this node is %q: the registry knows the node by it", name, c.Node),
				fmt.Sprintf("新证书的通用名为 %q，本节点为 %q；登记簿以此识别节点", name, c.Node))
		}
		if err := identity.Save(stage, identityName); err != nil {
			return m, err
		}
		next.Identity = identityName
	}
	if err := save(filepath.Join(stage, ConfigFile), &next); err != nil {
		return m, err
	}
	if _, err := LoadConfig(stage); err != nil {
		return m, err
	}
	staged, err := os.ReadDir(stage)
	if err != nil {
		return m, err
	}
	aside := []string{recordsDir, archiveDir, findingFile}
	for _, f := range staged {
		m.Place = append(m.Place, migrate.Move{From: migrate.Staged(f.Name()), To: f.Name()})
		aside = append(aside, f.Name())
	}
	for _, name := range aside {
		switch _, err := os.Lstat(filepath.Join(c.dir, name)); {
		case err == nil:
			m.Aside = append(m.Aside, migrate.Move{From: name, To: filepath.Join(migrate.Before, name)})
		case !errors.Is(err, fs.ErrNotExist):
			return m, err
		}
	}
	return m, nil
}

// UndoSwitch takes a stopped node back to the ledger it had. What it had of the new one is kept aside.
func UndoSwitch(ctx context.Context, dir string) error {
	kind, err := migrate.Interrupted(dir)
	if err != nil {
		return err
	}
	if err := migrate.Finish(dir); err != nil || kind == migrate.Undo {
		return err
	}
	if _, err := os.Lstat(filepath.Join(dir, migrate.Before)); errors.Is(err, fs.ErrNotExist) {
		_, err := migrate.PlanUndo(dir, nil)
		return err
	}
	cfg, err := LoadConfig(dir)
	if err != nil {
		return err
	}
	if err := nothingWaits(cfg); err != nil {
		return err
	}
	if err := notClosed(ctx, cfg); err != nil {
		return err
	}
	names := []string{recordsDir, archiveDir, findingFile, ConfigFile}
	gateways, err := filepath.Glob(filepath.Join(dir, "gateway-*-ca.pem"))
	if err != nil {
		return err
	}
	for _, g := range gateways {
		names = append(names, filepath.Base(g))
	}
	m, err := migrate.PlanUndo(dir, names)
	if err != nil {
		return err
	}
	if _, err := migrate.Staging(dir); err != nil {
		return err
	}
	if err := migrate.Begin(dir, m); err != nil {
		return err
	}
	return migrate.Finish(dir)
}

// asking is how long the new ledger has to say whether the import is closed.
const asking = 10 * time.Second

// notClosed refuses to leave a ledger whose import is closed: the old one is history. Where that ledger does not
// answer, what the node has made of it must do: it may be why somebody goes back.
func notClosed(ctx context.Context, cfg *Config) error {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	if s, err := ImportState(ctx, cfg); err == nil && s != nil && s.Closed {
		return closed()
	}
	if _, err := os.Stat(cfg.path(recordsDir)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	s, err := records.Open(cfg.path(recordsDir), records.Options{})
	if err != nil {
		return err
	}
	v, err := s.View(model.KindImport, model.ImportID)
	if err := errors.Join(err, s.Close()); err != nil {
		return err
	}
	if v != nil {
		return closed()
	}
	return nil
}

func closed() error {
	return &migrate.Fault{
		Code: migrate.CodeClosed, En: "the import has been closed by the organisations: the new ledger counts from here, and there is no way back",
		Zh: "各单位已结束迁入，以新账本为准，不能再退回",
	}
}
