package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// environment is what a benchmark runs in.
type environment struct {
	program, profile, name string
	quick                  bool
	large                  **grown // the node with a million licences, made once for all benchmarks that want it
}

// scale is full normally and a small part of it in a smoke run.
func (e *environment) scale(full, quick int) int {
	if e.quick {
		return quick
	}
	return full
}

func (e *environment) runs() int { return e.scale(3, 1) }

// node is a fresh node of one organisation with its ledger in its own process.
type node struct {
	url, admin string
	key        string
	dir        string
	serve      string // its own folder, in dir
	program    string
	cmd        *exec.Cmd
	log        bytes.Buffer
	client     *http.Client
	profile    string
}

const agency = "bj-scjg"

func startNode(ctx context.Context, env *environment) (*node, error) {
	dir, err := os.MkdirTemp("", "zl-bench-")
	if err != nil {
		return nil, err
	}
	n := &node{dir: dir, client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 256}}}
	listen, err := free()
	if err != nil {
		return nil, err
	}
	admin, err := free()
	if err != nil {
		return nil, err
	}
	n.url, n.admin = "http://"+listen, "http://"+admin
	init := exec.CommandContext(ctx, env.program, "init", "--dir", dir, "--json", "--msp", "BeijingMSP", "--node", "beijing", "--agency", agency,
		"--name-zh", "北京市市场监督管理局", "--name-en", "Beijing AMR", "--region", "110000", "--uscc", "11110000X000100145",
		"--listen", listen, "--admin", admin)
	out, err := init.Output()
	if err != nil {
		if x, ok := err.(*exec.ExitError); ok {
			err = fmt.Errorf("%w: %s", err, x.Stderr)
		}
		return nil, fmt.Errorf("init: %w", err)
	}
	var made struct {
		Dir  string            `json:"dir"`
		Keys map[string]string `json:"keys"`
	}
	if err := json.Unmarshal(out, &made); err != nil {
		return nil, fmt.Errorf("init printed %q: %w", out, err)
	}
	n.key = made.Keys["approver"]
	n.serve, n.program = made.Dir, env.program
	if err := fast(made.Dir); err != nil {
		return nil, err
	}
	var args []string
	if env.profile != "" {
		if err := os.MkdirAll(env.profile, 0o755); err != nil {
			return nil, err
		}
		n.profile = filepath.Join(env.profile, env.name+".pprof")
		args = append(args, "--cpu-profile", n.profile)
	}
	if err := n.start(args...); err != nil {
		n.stop()
		return nil, err
	}
	return n, nil
}

// fast lets one key ask as often as it does here; the limit stays on.
func fast(dir string) error {
	const was, is = "\nrate_per_second: 0\n", "\nrate_per_second: 50000\n"
	path := filepath.Join(dir, "zhenglian.yaml")
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(raw), was) {
		return fmt.Errorf("%s has no rate_per_second to change", path)
	}
	return os.WriteFile(path, []byte(strings.Replace(string(raw), was, is, 1)), 0o600)
}

// start starts the node's process and waits until it says that it is ready.
func (n *node) start(args ...string) error {
	n.cmd = exec.Command(n.program, append([]string{"serve", "--dir", n.serve}, args...)...)
	n.cmd.Stdout, n.cmd.Stderr = &n.log, &n.log
	if err := n.cmd.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		r, err := n.client.Get(n.url + "/readyz")
		if err == nil {
			r.Body.Close()
			if r.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the node is not ready: %s", n.log.String())
		}
	}
}

// stop ends the node and removes its folder.
func (n *node) stop() {
	n.end()
	_ = os.RemoveAll(n.dir)
}

func (n *node) end() {
	_ = n.cmd.Process.Signal(os.Interrupt)
	done := make(chan struct{})
	go func() { _ = n.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		_ = n.cmd.Process.Kill()
		<-done
	}
}

func free() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// post sends a body and reads the whole answer.
func (n *node) post(ctx context.Context, path string, body []byte) (int, []byte, error) {
	return post(ctx, n.client, n.url+path, n.key, body)
}

func post(ctx context.Context, client *http.Client, url, key string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+key)
	r, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer r.Body.Close()
	out, err := io.ReadAll(r.Body)
	return r.StatusCode, out, err
}

// draft is one licence issue of about a kilobyte, numbered.
func draft(b *strings.Builder, n int) {
	uscc, err := model.InventUSCC("91110105X", n%10_000_000)
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(b, `{"agency":%q,"type":"licence.issue","body":{"value":{"type":"11100000MB0143028R001","number":"BJ%010d",`+
		`"holder_kind":"001","holder_code":%q,"holder_name":"北京样例科技发展有限公司第%d分公司","issued_on":"2026-01-05",`+
		`"valid_from":"2026-01-05","valid_until":"2046-01-04","face":{"entity_type":"有限责任公司（自然人投资或控股）",`+
		`"address":"北京市朝阳区样例街道%d号院1号楼","capital":"1000万元人民币","founded":"2026-01-05",`+
		`"scope":"技术开发、技术推广、技术转让、技术咨询、技术服务；计算机系统服务；软件开发；销售计算机、软件及辅助设备"}}}}`,
		agency, n, uscc, n, n%1000)
}

// drafts is an array of consecutive issues.
func drafts(first, count int) []byte {
	var b strings.Builder
	b.WriteByte('[')
	for i := range count {
		if i > 0 {
			b.WriteByte(',')
		}
		draft(&b, first+i)
	}
	b.WriteByte(']')
	return []byte(b.String())
}
