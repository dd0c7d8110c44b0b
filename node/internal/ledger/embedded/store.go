package embedded

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/storage"
	"github.com/syndtr/goleveldb/leveldb/util"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/node/internal/ledger/fabblock"
)

// checksumSize is what precedes a stored block.
const checksumSize = sha256.Size

// The two databases of a ledger's folder.
const (
	blocksName = "blocks"
	stateName  = "state"
)

// Keys of the blocks database: only block numbers, which rise. So its tables never overlap, and compaction moves
// them instead of writing the blocks again.
//
//	b ‖ number (8 bytes, big endian) → SHA-256 of the block ‖ the block
//
// Keys of the state database, all of it derived from the blocks:
//
//	d ‖ namespace ‖ 0 ‖ key                              → version ‖ value
//	h ‖ namespace ‖ 0 ‖ key length ‖ key ‖ block ‖ tx    → nothing (block 8 bytes, tx 4 bytes, big endian)
//	t ‖ transaction id (32 bytes)                        → version ‖ validation code (1 byte)
//	s                                                    → height (8 bytes) ‖ hash of the last applied block
//
// A version is block and transaction number, each an unsigned varint.
const (
	blockPrefix   = 'b'
	dataPrefix    = 'd'
	historyPrefix = 'h'
	txPrefix      = 't'
	savepointKey  = "s"
)

// store is the two databases of one ledger. Its methods are safe for concurrent use, except append, which the
// committer alone calls.
type store struct {
	dir    string
	blocks *leveldb.DB
	state  *leveldb.DB

	height uint64 // owned by the committer after recover: number of blocks stored
	hash   []byte // owned by the committer after recover: header hash of the last block
}

func blocksOptions() *opt.Options {
	return &opt.Options{
		WriteBuffer:                   32 << 20,
		CompactionTableSize:           32 << 20,
		BlockSize:                     64 << 10,
		BlockCacheCapacity:            opt.MiB, // blocks are read once, at the head from memory, behind it in order
		Compression:                   opt.NoCompression,
		OpenFilesCacheCapacity:        64,
		CompactionL0Trigger:           4,
		CompactionTotalSizeMultiplier: 10,
		Strict:                        strictness,
	}
}

func stateOptions(l Limits) *opt.Options {
	return &opt.Options{
		WriteBuffer:            l.StateBuffer,
		CompactionTableSize:    8 << 20,
		CompactionTotalSize:    64 << 20,
		BlockCacheCapacity:     l.StateCache,
		BlockSize:              8 << 10,
		Compression:            opt.SnappyCompression,
		Filter:                 filter.NewBloomFilter(10),
		DisableBufferPool:      true, // a pooled buffer larger than its block takes the cache from others
		OpenFilesCacheCapacity: 128,
		Strict:                 strictness,
	}
}

// createStore makes a folder with the genesis block in it.
//
// Crash argument: the genesis block is one synced write, and the last one. Before it the folder holds no block and
// Open answers ErrNotCreated, and Create may be called again: what an interrupted call left holds nothing and is
// removed first. After it the ledger exists.
func createStore(dir string, genesis *common.Block, l Limits) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{stateName, blocksName} {
		if err := removeLeftovers(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	blocks, err := openDB(filepath.Join(dir, blocksName), blocksOptions())
	if err != nil {
		return err
	}
	defer blocks.Close()
	height, err := lastHeight(blocks)
	if err != nil {
		return err
	}
	if height > 0 {
		return ErrExists
	}
	state, err := openDB(filepath.Join(dir, stateName), stateOptions(l))
	if err != nil {
		return err
	}
	if err := state.Close(); err != nil {
		return err
	}
	return blocks.Put(blockKey(0), sealBlock(marshal(genesis)), &opt.WriteOptions{Sync: true})
}

// removeLeftovers removes a database whose making was interrupted: one without an entry point, without tables and
// without anything in a journal. Whatever else is there stays.
func removeLeftovers(path string) error {
	if _, err := os.Stat(filepath.Join(path, "CURRENT")); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	files, err := listFiles(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, fd := range files {
		info, err := os.Stat(filepath.Join(path, fd.String()))
		if err != nil {
			return err
		}
		if fd.Type == storage.TypeTable || fd.Type == storage.TypeJournal && info.Size() > 0 {
			return nil
		}
	}
	return os.RemoveAll(path)
}

// openStore opens an existing folder; it never makes a ledger.
func openStore(dir string, l Limits) (*store, error) {
	if _, err := os.Stat(filepath.Join(dir, blocksName)); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotCreated, dir) // asked first, so that opening makes no folder
	} else if err != nil {
		return nil, err
	}
	o := blocksOptions()
	o.ErrorIfMissing = true
	blocks, err := openChecked(dir, blocksName, o)
	if err != nil {
		return nil, err
	}
	// The state is derived. A folder without one is whole: recover makes it from the blocks. So an operator mends a
	// damaged state by removing it.
	state, err := openChecked(dir, stateName, stateOptions(l))
	if err != nil {
		_ = blocks.Close()
		return nil, err
	}
	s := &store{dir: dir, blocks: blocks, state: state}
	if s.height, err = lastHeight(blocks); err == nil && s.height == 0 {
		err = fmt.Errorf("%w: %s", ErrNotCreated, dir)
	}
	if err != nil {
		_ = s.close()
		return nil, err
	}
	return s, nil
}

// openChecked looks at the files before goleveldb does: see files.go. The files of a database in use change under
// the look, so the lock is asked for first.
func openChecked(dir, name string, o *opt.Options) (*leveldb.DB, error) {
	path := filepath.Join(dir, name)
	files, err := listFiles(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if len(files) > 0 {
		release, err := lockShared(path)
		if err != nil {
			return nil, err
		}
		err = checkOnOpen(dir, name)
		release()
		if err != nil {
			return nil, err
		}
	}
	return openDB(path, o)
}

func openDB(path string, o *opt.Options) (*leveldb.DB, error) {
	db, err := leveldb.OpenFile(path, o)
	if err == nil {
		return db, nil
	}
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("%w: %s", ErrInUse, path)
	}
	if o.ErrorIfMissing && errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotCreated, path)
	}
	if leveldbCorrupted(err) {
		return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, path, err)
	}
	return nil, err
}

func (s *store) close() error {
	return errors.Join(s.blocks.Close(), s.state.Close())
}

func blockKey(number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{blockPrefix}, number)
}

// sealBlock puts the checksum before the encoded block.
func sealBlock(encoded []byte) []byte {
	sum := sha256.Sum256(encoded)
	return append(sum[:], encoded...)
}

// unsealBlock checks and takes off the checksum.
func unsealBlock(stored []byte) ([]byte, error) {
	if len(stored) < checksumSize {
		return nil, fmt.Errorf("%d bytes are no block", len(stored))
	}
	if sum := sha256.Sum256(stored[checksumSize:]); !bytes.Equal(sum[:], stored[:checksumSize]) {
		return nil, errors.New("the stored checksum does not match the block")
	}
	return stored[checksumSize:], nil
}

// lastHeight is one more than the number of the last stored block.
func lastHeight(blocks *leveldb.DB) (uint64, error) {
	it := blocks.NewIterator(util.BytesPrefix([]byte{blockPrefix}), nil)
	defer it.Release()
	if !it.Last() {
		return 0, it.Error()
	}
	key := it.Key()
	if len(key) != 9 {
		return 0, fmt.Errorf("%w: blocks: key %x", ErrCorrupt, key)
	}
	return binary.BigEndian.Uint64(key[1:]) + 1, nil
}

// rawBlock is one encoded block, its checksum verified. A number past the end gives leveldb.ErrNotFound.
func (s *store) rawBlock(number uint64) ([]byte, error) {
	stored, err := s.blocks.Get(blockKey(number), nil)
	if err != nil {
		return nil, err
	}
	raw, err := unsealBlock(stored)
	if err != nil {
		return nil, fmt.Errorf("%w: block %d: %w", ErrCorrupt, number, err)
	}
	return raw, nil
}

// block is one block, decoded.
func (s *store) block(number uint64) (*common.Block, error) {
	raw, err := s.rawBlock(number)
	if err != nil {
		return nil, err
	}
	var b common.Block
	if err := proto.Unmarshal(raw, &b); err != nil {
		return nil, fmt.Errorf("%w: block %d: %w", ErrCorrupt, number, err)
	}
	return &b, nil
}

// append stores one block and applies its transactions to the state.
//
// Crash argument. The commit point is the synced write of the block: goleveldb writes it as one journal record, so
// after a crash it is there whole or not at all, and it is announced to nobody before the sync has returned. The
// state follows in one unsynced batch that carries the savepoint. A crash between the two, or one that loses the
// unsynced tail of the state's journal, leaves a savepoint that lies behind the blocks and a state that is exactly
// the one of the savepoint, because each batch is one journal record; recover then applies the missing blocks with
// the same code. The savepoint can never lie ahead of the blocks: a state batch is written only after its block is
// on the disk. If either write fails, what reached the disk is unknown to this process; the caller stops the ledger,
// and the next Open finds the block or does not.
func (s *store) append(b *sealedBlock, txs []*fabblock.Tx) error {
	if err := s.blocks.Put(blockKey(b.number), b.stored, &opt.WriteOptions{Sync: true}); err != nil {
		return fmt.Errorf("write block %d: %w", b.number, err)
	}
	s.height, s.hash = b.number+1, b.hash
	if err := s.apply(b.number, b.hash, txs); err != nil {
		return fmt.Errorf("apply block %d: %w", b.number, err)
	}
	return nil
}

// apply writes what one block does to the state: values, history, the transaction index and the savepoint.
func (s *store) apply(number uint64, hash []byte, txs []*fabblock.Tx) error {
	var batch leveldb.Batch
	var key, version []byte
	seen := map[string]bool{}
	for i, tx := range txs {
		version = appendVersion(version[:0], fabblock.Version{Block: number, Tx: uint64(i)})
		if id, err := hex.DecodeString(tx.ID); err == nil && len(id) == sha256.Size && !seen[tx.ID] && tx.Code != peer.TxValidationCode_DUPLICATE_TXID {
			seen[tx.ID] = true
			key = append(append(key[:0], txPrefix), id...)
			batch.Put(key, append(version, byte(tx.Code)))
		}
		if tx.Code != peer.TxValidationCode_VALID {
			continue
		}
		for _, w := range tx.Writes {
			key = appendDataKey(key[:0], w.Namespace, w.Key)
			if w.Delete {
				batch.Delete(key)
			} else {
				batch.Put(key, append(version[:len(version):len(version)], w.Value...))
			}
			batch.Put(appendHistoryKey(key[:0], w.Namespace, w.Key, number, i), nil)
		}
	}
	batch.Put([]byte(savepointKey), append(binary.BigEndian.AppendUint64(nil, number+1), hash...))
	return s.state.Write(&batch, nil)
}

// recover brings the state up to the blocks after a crash, with the code that also runs without one.
func (s *store) recover(chaincode string) error {
	last, err := s.block(s.height - 1)
	if err != nil {
		return err
	}
	s.hash = fabblock.HeaderHash(last.GetHeader())
	applied, hash, err := s.savepoint()
	if err != nil {
		return err
	}
	if applied > s.height {
		return fmt.Errorf("%w: the state knows %d blocks, but only %d are stored", ErrCorrupt, applied, s.height)
	}
	for n := applied; n < s.height; n++ {
		b, err := s.block(n)
		if err != nil {
			return err
		}
		if n > 0 && n == applied && !bytes.Equal(b.GetHeader().GetPreviousHash(), hash) {
			return fmt.Errorf("%w: block %d does not follow what the state was made from", ErrCorrupt, n)
		}
		txs, err := replayTxs(b, chaincode)
		if err != nil {
			return err
		}
		if err := s.apply(n, fabblock.HeaderHash(b.GetHeader()), txs); err != nil {
			return err
		}
	}
	if applied == s.height && !bytes.Equal(hash, s.hash) {
		return fmt.Errorf("%w: the state was made from another block %d", ErrCorrupt, s.height-1)
	}
	return nil
}

// replayTxs decodes a stored block's transactions with the validation codes that the block carries.
func replayTxs(b *common.Block, chaincode string) ([]*fabblock.Tx, error) {
	n := b.GetHeader().GetNumber()
	decoded, err := fabblock.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("%w: block %d: %w", ErrCorrupt, n, err)
	}
	txs := make([]*fabblock.Tx, len(decoded.Txs))
	for i := range decoded.Txs {
		txs[i] = &decoded.Txs[i]
		for _, w := range txs[i].Writes {
			if w.Namespace != chaincode {
				return nil, fmt.Errorf("%w: block %d writes to namespace %q, not %q", ErrMismatch, n, w.Namespace, chaincode)
			}
		}
	}
	return txs, nil
}

func (s *store) savepoint() (uint64, []byte, error) {
	v, err := s.state.Get([]byte(savepointKey), nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, err
	}
	if len(v) != 8+sha256.Size {
		return 0, nil, fmt.Errorf("%w: state: savepoint of %d bytes", ErrCorrupt, len(v))
	}
	return binary.BigEndian.Uint64(v), v[8:], nil
}

// transaction looks up where a transaction stands and what became of it; ok is false if no block holds it.
func (s *store) transaction(id string) (v fabblock.Version, code peer.TxValidationCode, ok bool, err error) {
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != sha256.Size {
		return v, 0, false, nil
	}
	entry, err := s.state.Get(append([]byte{txPrefix}, raw...), nil)
	if errors.Is(err, leveldb.ErrNotFound) {
		return v, 0, false, nil
	}
	if err != nil {
		return v, 0, false, err
	}
	v, rest, err := cutVersion(entry)
	if err != nil || len(rest) != 1 {
		return v, 0, false, fmt.Errorf("%w: state: index entry of transaction %s", ErrCorrupt, id)
	}
	return v, peer.TxValidationCode(rest[0]), true, nil
}

func appendDataKey(b []byte, namespace, key string) []byte {
	b = append(append(append(b, dataPrefix), namespace...), 0)
	return append(b, key...)
}

func appendHistoryPrefix(b []byte, namespace, key string) []byte {
	b = append(append(append(b, historyPrefix), namespace...), 0)
	// The length before the key keeps the entries of "a" apart from those of a key that starts with "a".
	return append(binary.AppendUvarint(b, uint64(len(key))), key...)
}

func appendHistoryKey(b []byte, namespace, key string, block uint64, tx int) []byte {
	b = binary.BigEndian.AppendUint64(appendHistoryPrefix(b, namespace, key), block)
	return binary.BigEndian.AppendUint32(b, uint32(tx))
}

func appendVersion(b []byte, v fabblock.Version) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, v.Block), v.Tx)
}

var errVersion = errors.New("no version")

func cutVersion(b []byte) (fabblock.Version, []byte, error) {
	block, n := binary.Uvarint(b)
	if n <= 0 {
		return fabblock.Version{}, nil, errVersion
	}
	tx, m := binary.Uvarint(b[n:])
	if m <= 0 {
		return fabblock.Version{}, nil, errVersion
	}
	return fabblock.Version{Block: block, Tx: tx}, b[n+m:], nil
}
