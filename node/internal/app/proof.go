package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/backup"
	"github.com/zhenglian/zhenglian/node/internal/records"
)

// A restored node is equal to the one that was saved where its records, made again from the blocks of the backup, have at
// the height of the backup the digest that the saved node's records had. The blocks are verified in either case. Where
// the two differ, what the saved node answered was not what its blocks say: either its records were changed where they
// lay, or its archive was.

// What the proof of a restore says.
const (
	ProofEqual   = "equal"   // the records are those of the saved node
	ProofDiffers = "differs" // they are not, and the restore was told to go on
	ProofNone    = "none"    // the backup has nothing to compare with
)

// DiffersError says that the records made from a backup are not those of the node that was saved.
type DiffersError struct {
	Blocks  uint64 // the height at which they were compared
	Was, Is model.Digest
}

func (e *DiffersError) Error() string {
	return fmt.Sprintf("the backup's blocks are whole, but the records made from them are not those that the saved node had after %d blocks "+
		"(digest %s, the node's was %s): its records or its archive had been changed. Restore an older backup, or ask another member for the digest that "+
		"`zhenglian reindex` prints at this height; --accept-difference goes on with what the blocks say", e.Blocks, e.Is, e.Was)
}

// known is the digest of a running node's records, nil where they cannot be read.
func (n *Node) known() *backup.Known {
	d, height, err := n.records.Digest()
	if err != nil || height == 0 {
		n.log.Warn("the backup has no digest of the records to compare a restore with", "error", err)
		return nil
	}
	return &backup.Known{Blocks: height, Digest: d}
}

// known is the digest of a stopped node's records, nil where they cannot be read or are beyond its archive.
func (c *Config) known(archived uint64) *backup.Known {
	if _, err := os.Stat(filepath.Join(c.path("records"), "CURRENT")); err != nil {
		return nil // opening would make an empty store
	}
	s, err := records.Open(c.path("records"), records.Options{})
	if err != nil {
		return nil
	}
	d, height, err := s.Digest()
	if err = errors.Join(err, s.Close()); err != nil || height == 0 || height > archived {
		return nil
	}
	return &backup.Known{Blocks: height, Digest: d}
}

// compare holds the records made from a backup against those of the saved node. format is that of the saved node's
// records: another one's digest says nothing.
func (o *RestoreOptions) compare(k *backup.Known, format int, is model.Digest) (proof string, err error) {
	switch {
	case k == nil || format != formats()["records"]:
		return ProofNone, nil
	case k.Digest == is:
		return ProofEqual, nil
	case o.AcceptDifference:
		return ProofDiffers, nil
	}
	return "", &DiffersError{Blocks: k.Blocks, Was: k.Digest, Is: is}
}

// halfMark stands in the folder that a restore works in until all is in it. A folder with it is nobody's node.
const halfMark = "restoring"

// ErrHalfRestored says that a folder is what a restore left that was cut off.
var ErrHalfRestored = errors.New("the folder is what a restore left that was cut off, and no node: run `zhenglian restore` again, which begins it anew")

// wholeFolder refuses a folder in which a restore is under way or was cut off.
func wholeFolder(dir string) error {
	_, err := os.Stat(filepath.Join(dir, halfMark))
	if err == nil {
		return fmt.Errorf("%s: %w", dir, ErrHalfRestored)
	}
	return nil
}
