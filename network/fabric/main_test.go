package fabric

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// The test program is the external builder of the networks that it makes, and the program that the tests of processes
// start.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "ccaas":
			if err := Builder(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			os.Exit(0)
		case "sleeper":
			sleeper(os.Args[2:])
			os.Exit(0)
		}
	}
	code := m.Run()
	if workshop != "" {
		_ = os.RemoveAll(workshop)
	}
	os.Exit(code)
}

// sleeper runs until it is asked to end; "stubborn" does not end when asked; "parent" and a folder: starts a sleeper of
// its own there that ends with it; "founder" one that does not.
func sleeper(args []string) {
	fmt.Println("up", os.Getenv("CORE_PEER_ID"), os.Getenv("MARK"))
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	if len(args) == 2 {
		child, err := sleeperProcess(args[1], "child", args[0] == "parent")
		if err == nil {
			err = child.Start()
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	for range stop {
		if len(args) == 0 || args[0] != "stubborn" {
			return
		}
	}
}

func sleeperProcess(dir, name string, attached bool, args ...string) (*Process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := folders(dir); err != nil {
		return nil, err
	}
	n := &Network{attached: attached}
	p := n.process(dir, name, KindPeer, "beijing")
	p.program, p.args = exe, append([]string{"sleeper"}, args...)
	p.env = append(p.env, "MARK="+name)
	return p, nil
}

var workshop string

// contractProgram is the kv contract, built once.
var contractProgram = sync.OnceValues(func() (string, error) {
	var err error
	if workshop, err = os.MkdirTemp("", "zl-network-test-"); err != nil {
		return "", err
	}
	out := filepath.Join(workshop, "kv")
	raw, err := exec.Command("go", "build", "-o", out, "./testdata/kv").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, raw)
	}
	return out, nil
})

// fabricPrograms are Fabric's programs: those of ZL_FABRIC_BIN, or built once for the checkout.
func fabricPrograms(t *testing.T) string {
	t.Helper()
	if bin := os.Getenv("ZL_FABRIC_BIN"); bin != "" {
		return bin
	}
	checkout, err := Checkout()
	if err != nil {
		t.Fatal(err)
	}
	bin := Cache(checkout)
	if err := Build(context.Background(), checkout, bin, func(s Step) { t.Logf("%s %s %s", s.Name, s.Took, s.Note) }, nil); err != nil {
		t.Fatal(err)
	}
	return bin
}
