package auth

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

const maxFile = 16 << 20

// createFile makes a file that must not exist, readable by its owner alone.
func createFile(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// readFile reads a file that must be its owner's alone, and what it was when it was read.
func readFile(path string) ([]byte, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, nil, fmt.Errorf("auth: others can read %s; set its mode to 0600", path)
	}
	if info.Size() > maxFile {
		return nil, nil, model.E(model.CodeTooLarge, filepath.Base(path))
	}
	raw := make([]byte, info.Size())
	if n, err := f.ReadAt(raw, 0); n < len(raw) {
		return nil, nil, errors.Join(fmt.Errorf("auth: %s is being written", path), err)
	}
	return raw, info, nil
}

// same reports whether a file is still the one that was read: it is replaced, never written in place.
func same(path string, was fs.FileInfo) (bool, error) {
	now, err := os.Stat(path)
	if err != nil || was == nil {
		return false, err
	}
	return os.SameFile(now, was) && now.ModTime().Equal(was.ModTime()) && now.Size() == was.Size() && now.Mode() == was.Mode(), nil
}

// lockFile takes an exclusive lock that the kernel drops with the process.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() { _ = f.Close() }, nil // closing drops the lock
}

// replaceFile puts content in the place of the file, whole or not at all.
func replaceFile(path string, content []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*.new") // made with mode 0600
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
