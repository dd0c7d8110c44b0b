package fabric

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	stateFile   = "network.json"
	lockFile    = "lock"
	stateFormat = 1
	maxState    = 1 << 20 // bytes
)

// state is what a network's folder remembers: its description, the ports chosen once, the contracts deployed.
type state struct {
	Format    int            `json:"format"`
	Spec      Spec           `json:"spec"`
	Fabric    string         `json:"fabric"` // version of the Fabric binaries in Spec.Bin
	Ports     map[string]int `json:"ports"`
	Contracts []Deployment   `json:"contracts"`
}

// Deployment is a contract that was put on the peers.
type Deployment struct {
	Name     string            `json:"name"`
	Version  string            `json:"version"`
	Plain    bool              `json:"plain"`
	Policy   int               `json:"policy"`
	Binary   string            `json:"binary"`   // the network's own copy of the program
	Digest   string            `json:"digest"`   // of that program, SHA-256
	Packages map[string]string `json:"packages"` // package id by organisation
	Settings map[string]string `json:"settings"` // further keys of the service's configuration
	Ended    bool              `json:"ended"`    // its processes were stopped for good by a later version
}

// ErrNoNetwork says that a folder holds no network.
var ErrNoNetwork = errors.New("no network here: run `zl-network up`")

func loadState(dir string) (*state, error) {
	f, err := os.Open(filepath.Join(dir, stateFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", dir, ErrNoNetwork)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return nil, err
	}
	s, err := parseState(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; `zl-network down --purge` removes this network", f.Name(), err)
	}
	s.Spec.Dir = dir
	return s, nil
}

func parseState(raw []byte) (*state, error) {
	if len(raw) > maxState {
		return nil, fmt.Errorf("larger than %d bytes", maxState)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	s := &state{}
	if err := d.Decode(s); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	if s.Format != stateFormat {
		return nil, fmt.Errorf("format %d, this program reads %d", s.Format, stateFormat)
	}
	if err := s.Spec.check(); err != nil {
		return nil, err
	}
	for name, port := range s.Ports {
		if port < 1 || port > 65535 {
			return nil, fmt.Errorf("port %d of %s", port, name)
		}
	}
	for _, c := range s.Contracts {
		if !versionPattern.MatchString(c.Name) || !versionPattern.MatchString(c.Version) {
			return nil, fmt.Errorf("contract %q version %q", c.Name, c.Version)
		}
	}
	return s, nil
}

// save replaces the file in one step, so that a crash leaves the old or the new one.
func (s *state) save() error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(s.Spec.Dir, stateFile), raw, 0o600)
}

func writeFile(path string, raw []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// errLocked says that another program holds a folder's lock.
var errLocked = errors.New("another command is at work there: wait for it to end")

// waitLock takes a folder's lock as soon as nobody else has it.
func waitLock(ctx context.Context, dir string) (unlock func(), err error) {
	for {
		unlock, err := lock(dir)
		if !errors.Is(err, errLocked) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// lock keeps a second command from changing the same folder.
func lock(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errLocked
		}
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return func() { _ = f.Close() }, nil
}

// port returns the port kept under a name, choosing it on first use.
func (s *state) port(name string) (int, error) {
	if p, ok := s.Ports[name]; ok {
		return p, nil
	}
	taken := map[int]bool{}
	for _, p := range s.Ports {
		taken[p] = true
	}
	p, err := choosePort(s.Spec.Bind, s.Spec.BasePort, taken)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	s.Ports[name] = p
	return p, nil
}

// Ports are chosen below the range that the kernel gives to outgoing connections, or a stopped process's port
// could be taken by somebody's connection before it is started again.
const lowestPort, highestPort = 15000, 32000

// choosePort finds a port that nobody listens on: the next after base, or any.
func choosePort(bind string, base int, taken map[int]bool) (int, error) {
	first, last, step := base, min(base+500, 65535), 1
	if base == 0 {
		first, last = lowestPort, highestPort
	}
	at := first
	if base == 0 {
		at, step = first+rand.IntN(last-first), 7
	}
	for range last - first {
		if !taken[at] {
			l, err := net.Listen("tcp", net.JoinHostPort(bind, strconv.Itoa(at)))
			if err == nil {
				return at, l.Close()
			}
		}
		if at += step; at >= last {
			at = first + (at-first)%(last-first)
		}
	}
	return 0, fmt.Errorf("no free port from %d to %d: end what listens there, or give another --base-port", first, last)
}

func (s *state) address(name string) string {
	return net.JoinHostPort(s.Spec.Bind, strconv.Itoa(s.Ports[name]))
}
