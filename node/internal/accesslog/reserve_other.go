//go:build !linux

package accesslog

import (
	"errors"
	"os"
)

// reserve cannot be had here; a nearly full disk stops requests at once.
func reserve(*os.File, int64, int64) error { return errors.ErrUnsupported }
