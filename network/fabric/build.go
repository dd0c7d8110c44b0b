package fabric

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// PinnedVersion is the Fabric that Build compiles: the newest release that is a Go module.
const (
	PinnedVersion = "2.5.0"
	pinnedCommit  = "bd8e24856939"
	module        = "github.com/hyperledger/fabric"
)

// Programs are what Build compiles.
var Programs = []string{"peer", "orderer", "configtxgen", "cryptogen", "osnadmin"}

// Checkout finds the source tree that holds network/tools: the working directory, the running program's folder, or
// one above either.
func Checkout() (string, error) {
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if exe, err := os.Executable(); err == nil {
		starts = append(starts, filepath.Dir(exe))
	}
	for _, at := range starts {
		for {
			if _, err := os.Stat(filepath.Join(at, "network", "tools", "go.mod")); err == nil {
				return at, nil
			}
			up := filepath.Dir(at)
			if up == at {
				break
			}
			at = up
		}
	}
	return "", errors.New("no source tree here: run this in a checkout of Zhenglian, or give --fabric-bin the folder of Fabric's own binaries")
}

// Cache is where Build puts the programs of a checkout.
func Cache(checkout string) string { return filepath.Join(checkout, "bin", "fabric", PinnedVersion) }

// Build compiles Fabric's programs from the pinned module into a folder. It does nothing when they are there already,
// made of the same modules by the same Go; of two builds at once the second waits for the first. progress is told each step; it may be nil. packages, if not nil, is called
// with the number of packages compiled so far.
func Build(ctx context.Context, checkout, to string, progress func(Step), packages func(int)) error {
	if progress == nil {
		progress = func(Step) {}
	}
	tools := filepath.Join(checkout, "network", "tools")
	key, err := buildKey(ctx, tools)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	unlock, err := waitLock(ctx, to)
	if err != nil {
		return err
	}
	defer unlock()
	mark := filepath.Join(to, "built.json")
	if had, err := os.ReadFile(mark); err == nil && bytes.Equal(had, key) && complete(to) {
		progress(Step{Name: "build", Note: "up to date in " + to})
		return nil
	}
	if err := os.Remove(mark); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	began := time.Now()
	_, err = goTool(ctx, tools, nil, "mod", "download")
	progress(Step{Name: "modules", Took: time.Since(began), Err: err})
	if err != nil {
		return err
	}
	ld := fmt.Sprintf("-X %s/common/metadata.Version=v%s -X %s/common/metadata.CommitSHA=%s", module, PinnedVersion, module, pinnedCommit)
	compiled := 0
	for _, name := range Programs {
		began := time.Now()
		_, err := goTool(ctx, tools, func(string) {
			if compiled++; packages != nil {
				packages(compiled)
			}
		}, "build", "-v", "-trimpath", "-ldflags", ld, "-o", filepath.Join(to, name), module+"/cmd/"+name)
		progress(Step{Name: name, Took: time.Since(began), Err: err})
		if err != nil {
			return err
		}
	}
	return writeFile(mark, key, 0o644)
}

func complete(dir string) bool {
	for _, name := range Programs {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}

// buildKey says of what the programs are made.
func buildKey(ctx context.Context, tools string) ([]byte, error) {
	sums, err := os.ReadFile(filepath.Join(tools, "go.sum"))
	if err != nil {
		return nil, err
	}
	mod, err := os.ReadFile(filepath.Join(tools, "go.mod"))
	if err != nil {
		return nil, err
	}
	version, err := goTool(ctx, tools, nil, "version")
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	h.Write(mod)
	h.Write(sums)
	return json.Marshal(map[string]string{"modules": hex.EncodeToString(h.Sum(nil)), "go": strings.TrimSpace(version), "fabric": PinnedVersion})
}

// goTool runs the go command in a folder; each line that it writes to standard error is told.
func goTool(ctx context.Context, dir string, line func(string), args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	// A workspace or -mod flag of the surrounding module must not reach into this one.
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	var out bytes.Buffer
	cmd.Stdout = &out
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("go: %w: Go 1.26 is needed to build Fabric; or give --fabric-bin the folder of Fabric's own binaries", err)
	}
	var complaint []string
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		if line != nil {
			line(lines.Text())
		}
		if complaint = append(complaint, lines.Text()); len(complaint) > 40 {
			complaint = complaint[1:]
		}
	}
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", args[0], err, strings.Join(complaint, "\n"))
	}
	return out.String(), nil
}
