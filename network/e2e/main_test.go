package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/zhenglian/zhenglian/network/fabric"
)

// program is the node's program, built by TestMain.
var program string

// workshop is a folder of this run's, removed at its end.
var workshop string

func TestMain(m *testing.M) {
	// Peers ask this very program to build their chaincode packages.
	if len(os.Args) > 1 && os.Args[1] == "ccaas" {
		if err := fabric.Builder(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "ccaas:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if workshop, err = os.MkdirTemp("", "zl-e2e-"); err == nil {
		program, err = build(workshop)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	code := m.Run()
	if err := errors.Join(nothingLeft(), os.RemoveAll(workshop)); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return max(code, 1)
	}
	return code
}

func build(dir string) (string, error) {
	if p := os.Getenv("ZL_PROGRAM"); p != "" {
		return filepath.Abs(p)
	}
	out := filepath.Join(dir, "zhenglian")
	if err := compile(out, "github.com/zhenglian/zhenglian/node/cmd/zhenglian"); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return out, nil
}

func compile(out, from string) error {
	if msg, err := exec.Command("go", "build", "-o", out, from).CombinedOutput(); err != nil {
		return fmt.Errorf("%s cannot be built: %w\n%s", from, err, msg)
	}
	return nil
}

// soak tells whether the faults are run at full counts.
func soak() bool { return os.Getenv("ZL_SOAK") != "" }

// leaveOut skips a test that this machine does not allow, or fails it where nothing may be left out.
func leaveOut(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("ZL_STRICT") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}
