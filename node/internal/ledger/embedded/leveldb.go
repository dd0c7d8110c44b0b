package embedded

import (
	"errors"

	ldberrors "github.com/syndtr/goleveldb/leveldb/errors"
)

// leveldbCorrupted reports whether goleveldb refuses its own files.
func leveldbCorrupted(err error) bool {
	var missing *ldberrors.ErrMissingFiles
	return ldberrors.IsCorrupted(err) || errors.As(err, &missing)
}
