package sdk_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/sdk"
)

// realNode is a node with a ledger of its own: the program as $ZL_PROGRAM names it, or built. The examples share one.
type realNode struct {
	url  string
	keys map[string]string
}

func (n *realNode) as(role string) *sdk.Client { return &sdk.Client{BaseURL: n.url, Key: n.keys[role]} }

var (
	started sync.Once
	shared  *realNode
	ended   = func() error { return nil }
)

// exampleNode starts the node at the first use; TestMain ends it. Examples have no *testing.T, so it panics.
func exampleNode() *realNode {
	started.Do(func() {
		var err error
		if shared, ended, err = startNode(); err != nil {
			panic(err)
		}
	})
	return shared
}

func TestMain(m *testing.M) {
	code := m.Run()
	if err := ended(); err != nil {
		fmt.Fprintln(os.Stderr, "the examples' node:", err)
		code = 1
	}
	os.Exit(code)
}

func startNode() (n *realNode, end func() error, err error) {
	dir, err := os.MkdirTemp("", "zl-sdk-")
	if err != nil {
		return nil, nil, err
	}
	end = func() error { return os.RemoveAll(dir) }
	defer func() {
		if err != nil {
			err = errors.Join(err, end())
			end = func() error { return nil }
		}
	}()
	program := os.Getenv("ZL_PROGRAM")
	if program == "" {
		program = filepath.Join(dir, "zhenglian")
		if out, err := exec.Command("go", "build", "-o", program, "../node/cmd/zhenglian").CombinedOutput(); err != nil {
			return nil, end, fmt.Errorf("%w\n%s", err, out)
		}
	}
	api, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, end, err
	}
	admin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, end, errors.Join(err, api.Close())
	}
	if err := errors.Join(api.Close(), admin.Close()); err != nil {
		return nil, end, err
	}
	out, err := exec.Command(program, "init", "--dir", filepath.Join(dir, "pilot"), "--msp", "BeijingMSP", "--node", "beijing", "--agency", "bj-scjg",
		"--name-zh", "北京市市场监督管理局", "--name-en", "Beijing AMR", "--region", "110000", "--uscc", "11110000X000100145",
		"--listen", api.Addr().String(), "--admin", admin.Addr().String(), "--json").Output()
	if err != nil {
		return nil, end, fmt.Errorf("init: %w", err)
	}
	var made struct {
		Dir, URL string
		Keys     map[string]string
	}
	if err := json.Unmarshal(out, &made); err != nil {
		return nil, end, err
	}
	return serveNode(dir, program, made.Dir, made.URL, made.Keys)
}

func serveNode(dir, program, nodeDir, url string, keys map[string]string) (*realNode, func() error, error) {
	end := func() error { return os.RemoveAll(dir) }
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, end, err
	}
	defer log.Close()
	c := exec.Command(program, "serve", "--dir", nodeDir)
	c.Stderr = log
	if err := c.Start(); err != nil {
		return nil, end, err
	}
	end = func() error {
		err := c.Process.Signal(syscall.SIGTERM)
		return errors.Join(err, c.Wait(), os.RemoveAll(dir))
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if res, err := http.Get(url + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return &realNode{url, keys}, end, nil
			}
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(log.Name())
			return nil, end, fmt.Errorf("the node is not ready\n%s", said)
		}
	}
}
