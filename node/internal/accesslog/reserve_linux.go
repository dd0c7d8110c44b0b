package accesslog

import (
	"os"
	"syscall"
)

// reserve has the disk set aside room behind a file's end, which others then cannot fill; the file's size stays.
func reserve(f *os.File, from, bytes int64) error {
	const keepSize = 1
	return syscall.Fallocate(int(f.Fd()), keepSize, from, bytes)
}
