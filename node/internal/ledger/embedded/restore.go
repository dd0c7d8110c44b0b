package embedded

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"google.golang.org/protobuf/proto"
)

// Restore makes a ledger's folder from its blocks, as any member's archive has them, in order from block 0. Opening it
// makes the state. Blocks are taken as they are: run Fsck afterwards on what came from somewhere else. The folder must
// not hold a ledger. A call that fails or is killed leaves a folder that Restore makes anew: the name of the blocks'
// database is given last.
func Restore(dir string, blocks iter.Seq2[[]byte, error]) (height uint64, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, err
	}
	path, fresh := filepath.Join(dir, blocksName), filepath.Join(dir, blocksName+".new")
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return 0, errors.Join(ErrExists, err)
	}
	if err := os.RemoveAll(fresh); err != nil {
		return 0, err
	}
	db, err := openDB(fresh, blocksOptions())
	if err != nil {
		return 0, err
	}
	defer func() {
		if db != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	var batch leveldb.Batch
	size := 0
	for raw, err := range blocks {
		if err != nil {
			return 0, err
		}
		var b common.Block
		if err := proto.Unmarshal(raw, &b); err != nil || b.GetHeader().GetNumber() != height {
			return 0, fmt.Errorf("%w: block %d", ErrCorrupt, height)
		}
		batch.Put(blockKey(height), sealBlock(raw))
		height++
		if size += len(raw); size > 8<<20 {
			if err := db.Write(&batch, nil); err != nil {
				return 0, err
			}
			batch.Reset()
			size = 0
		}
	}
	if height == 0 {
		return 0, ErrNotCreated
	}
	if err := db.Write(&batch, &opt.WriteOptions{Sync: true}); err != nil {
		return 0, err
	}
	err, db = db.Close(), nil
	if err != nil {
		return 0, err
	}
	return height, os.Rename(fresh, path)
}
