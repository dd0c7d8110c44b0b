//go:build unix

package doctor

import "syscall"

// room asks a path's file system for its size, what is free in it, and which it is.
func room(path string) (d Disk, device uint64, err error) {
	var fs syscall.Statfs_t
	var st syscall.Stat_t
	if err := syscall.Statfs(path, &fs); err != nil {
		return d, 0, err
	}
	if err := syscall.Stat(path, &st); err != nil {
		return d, 0, err
	}
	return Disk{path, uint64(fs.Bavail) * uint64(fs.Bsize), uint64(fs.Blocks) * uint64(fs.Bsize)}, uint64(st.Dev), nil
}
