package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/importer"
	"github.com/zhenglian/zhenglian/sdk"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"zhenglian": main})
}

// TestOnDemo runs the commands as a user does, as processes, against a demo of its own.
func TestOnDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a demo: five processes")
	}
	// This test's own binary, under the name that testscript gives it.
	own, err := exec.LookPath("zhenglian")
	if err != nil {
		t.Fatal(err)
	}
	dir := startDemo(t, own)
	t.Run("scripts", func(t *testing.T) {
		testscript.Run(t, testscript.Params{
			Dir: "testdata/script",
			Setup: func(env *testscript.Env) error {
				env.Setenv("DEMO", dir)
				env.Setenv("LANG", "en_US.UTF-8")
				env.Setenv("TYPE", "11100000MB0143028R001")
				env.Setenv("PERMIT", "11100000MB0143028R002")
				env.Setenv("AGENCY", "11110000X000100145") // of a node that the script founds
				port := freePorts(t)
				env.Setenv("API", fmt.Sprint("127.0.0.1:", port))
				env.Setenv("ADMIN", fmt.Sprint("127.0.0.1:", port+1))
				env.Setenv("API2", fmt.Sprint("127.0.0.1:", port+2))
				env.Setenv("ADMIN2", fmt.Sprint("127.0.0.1:", port+3))
				env.Setenv("LEDGER", fmt.Sprint("127.0.0.1:", port+1000))
				return inventCodes(env)
			},
			Cmds: map[string]func(*testscript.TestScript, bool, []string){"take": take, "describe": describeNode, "await": await, "damage": damage, "workbook": workbook, "gbk": gbk, "upload": upload},
		})
	})
	t.Run("enterprises", func(t *testing.T) { importEnterprises(t, dir) })
	// The full count needs the program as it is released: with the race detector in every process it takes
	// five minutes instead of one.
	t.Run("killed", func(t *testing.T) {
		if released := os.Getenv("ZL_PROGRAM"); released != "" {
			killedImport(t, released, startDemo(t, released), 100_000)
			return
		}
		killedImport(t, own, dir, 10_000)
	})
}

// startDemo starts a demo and waits until its story is told.
func startDemo(t *testing.T, program string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "demo")
	cmd := exec.Command(program, "demo", "--dir", dir, "--base-port", strconv.Itoa(freePorts(t)), "--lang", "en")
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = in, in
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in.Close()
	told, said := make(chan bool, 1), new(bytes.Buffer)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := bufio.NewScanner(out)
		for s.Scan() {
			said.WriteString(s.Text() + "\n")
			if strings.Contains(s.Text(), "ZHENGLIAN_URL=") {
				told <- true
			}
		}
		told <- false
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-done
		if err := cmd.Wait(); err != nil {
			t.Errorf("the demo ended with %v", err)
		}
		if t.Failed() {
			t.Logf("the demo said:\n%s", said)
		}
	})
	select {
	case ok := <-told:
		if !ok {
			t.Fatal("the demo ended early")
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the demo is not up after 2 minutes")
	}
	return dir
}

// freePorts finds a base such that the demo's fixed ports are free.
func freePorts(t *testing.T) int {
	t.Helper()
next:
	for range 100 {
		base := 20000 + rand.IntN(30000)
		for i := range 4 {
			for _, port := range []int{base + i, base + 1000 + i} {
				l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
				if err != nil {
					continue next
				}
				l.Close()
			}
		}
		return base
	}
	t.Fatal("no free ports")
	return 0
}

// invented holds the codes that scripts have: those of one demo share its ledger.
var invented sync.Map

// inventCodes gives a script holders of its own, $CODE0 to $CODE9.
func inventCodes(env *testscript.Env) error {
	for given := 0; given < 10; {
		var b bytes.Buffer
		if err := importer.Generate(&b, 10, rand.Uint64()); err != nil {
			return err
		}
		for _, line := range strings.Split(strings.TrimSpace(b.String()), "\n")[1:] {
			code := strings.Split(line, ",")[1]
			if _, taken := invented.LoadOrStore(code, nil); !taken && given < 10 {
				env.Setenv(fmt.Sprintf("CODE%d", given), code)
				given++
			}
		}
	}
	return nil
}

// take sets a variable to a member of the last command's JSON: take record.id RECORD.
func take(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: take PATH VARIABLE")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for _, name := range strings.Split(args[0], ".") {
		m, ok := v.(map[string]any)
		if !ok {
			ts.Fatalf("no %s in the answer", args[0])
		}
		v = m[name]
	}
	ts.Setenv(args[1], fmt.Sprint(v))
}

// await is exec, repeated until it succeeds (with !: fails): another organisation's node applies a block a
// moment after the one that wrote it.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: await COMMAND ARGUMENTS")
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err := ts.Exec(args[0], args[1:]...); (err != nil) == neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s did not come to the awaited end", strings.Join(args, " "))
		}
	}
}

// damage changes one byte in the middle of a folder's largest file: damage FOLDER.
func damage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: damage FOLDER")
	}
	files, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "*"))
	ts.Check(err)
	var raw []byte
	var largest string
	for _, f := range files {
		b, err := os.ReadFile(f)
		ts.Check(err)
		if len(b) > len(raw) {
			raw, largest = b, f
		}
	}
	if largest == "" {
		ts.Fatalf("nothing in %s", args[0])
	}
	raw[len(raw)/2] ^= 1
	ts.Check(os.WriteFile(largest, raw, 0o600))
}

// describeNode sets $URL and writes a key file: describe NODE ROLE KEYFILE.
func describeNode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: describe NODE ROLE KEYFILE")
	}
	nodes, err := readDemo(ts.Getenv("DEMO"))
	ts.Check(err)
	for _, n := range nodes {
		if n.Name == args[0] {
			ts.Setenv("URL", n.URL)
			ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(n.Keys[args[1]]+"\n"), 0o600))
			return
		}
	}
	ts.Fatalf("no node %s", args[0])
}

// importEnterprises imports the business licences of real enterprises, with all that real rows have: regions
// that left the table, brackets and spaces in names, districts without a regulator of their own.
func importEnterprises(t *testing.T, demo string) {
	const rows = 600
	file := filepath.Join("..", "..", "..", "..", "shared", "data", "enterprises", "enterprises-bth.csv")
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("../shared/data/enterprises/enterprises-bth.csv is not beside this checkout")
	} else if err != nil {
		t.Fatal(err)
	}
	program, err := exec.LookPath("zhenglian")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command(program, "import", "licences", file, "--map", "enterprises-bth", "--demo", demo, "--json",
		"--state", filepath.Join(dir, "state.jsonl"), "--rejects", filepath.Join(dir, "rejects.csv"))
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s%s", err, &out, &said) // 200 rows a node, which nobody need approve
	}
	var s summary
	if err := json.Unmarshal(out.Bytes(), &s); err != nil || !s.Complete || *s.Result != (importer.Result{Rows: rows, Issued: rows}) {
		t.Fatalf("%v: %s", err, &out)
	}
	verifyEach(t, demo, string(raw), rows)
}

// killedImport kills an import over three nodes again and again, at moments that the state file's growth
// decides, and finds every row issued once at the end.
func killedImport(t *testing.T, program, demo string, rows int) {
	dir := t.TempDir()
	file := filepath.Join(dir, "g.csv")
	state := file + ".import-state.jsonl"
	var b bytes.Buffer
	if err := importer.Generate(&b, rows, rand.Uint64()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	size := func() int64 {
		info, err := os.Stat(state)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	kills := 0
	for run := 0; ; run++ {
		if run > 30 {
			t.Fatal("no end after 30 runs")
		}
		cmd := exec.Command(program, "import", "licences", file, "--map", "enterprises-bth", "--demo", demo, "--json")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, io.Discard
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		was, grow := size(), int64(500+rand.IntN(rows))
		var end error
		for waiting := true; waiting; {
			select {
			case end = <-ended:
				waiting = false
			case <-time.After(2 * time.Millisecond):
				if kills < 5 && size() > was+grow {
					_ = cmd.Process.Kill()
					end = <-ended
					waiting = false
				}
			}
		}
		var killed *exec.ExitError
		if errors.As(end, &killed) && !killed.Exited() {
			kills++
			continue
		}
		var s summary
		err := json.Unmarshal(out.Bytes(), &s)
		if err == nil && s.Draft != "" {
			approveBatches(t, demo)
			continue
		}
		if err != nil || end != nil || !s.Complete {
			t.Fatalf("%v, %v: %s", end, err, out.String())
		}
		if *s.Result != (importer.Result{Rows: rows, Issued: rows}) {
			t.Fatalf("%+v after %d kills", *s.Result, kills)
		}
		break
	}
	if kills == 0 {
		t.Error("the import was never killed")
	}
	verifyEach(t, demo, b.String(), rows)
}

// verifyEach asks another organisation's node for every row: valid, in one version, in a record of its own.
func verifyEach(t *testing.T, demo, file string, rows int) {
	nodes, err := readDemo(demo)
	if err != nil {
		t.Fatal(err)
	}
	customs := nodes[len(nodes)-1]
	c := &sdk.Client{BaseURL: customs.URL, Key: customs.Keys["verifier"]}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	var queries []model.Query
	for _, line := range strings.Split(strings.TrimSpace(file), "\n")[1:] {
		queries = append(queries, model.Query{Number: strings.Split(line, ",")[1], Type: "11100000MB0143028R001"})
	}
	records := map[model.RecordID]bool{}
	for len(queries) > 0 {
		n := min(500, len(queries))
		verdicts, err := c.VerifyAll(ctx, queries[:n])
		if err != nil {
			t.Fatal(err)
		}
		behind := false
		for i, v := range verdicts {
			if v.Record == nil && v.Verdict != model.Valid {
				behind = true // that node has not applied the newest block yet
				break
			}
			if v.Verdict != model.Valid || len(v.History) != 1 || v.Record.Duplicate {
				t.Fatalf("%s: %+v", queries[i].Number, v)
			}
			records[v.Record.ID] = true
		}
		if !behind {
			queries = queries[n:]
		} else if ctx.Err() != nil {
			t.Fatal("some rows never came")
		}
	}
	if len(records) != rows {
		t.Fatalf("%d records for %d rows", len(records), rows)
	}
}
