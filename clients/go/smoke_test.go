package zhenglian_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	zhenglian "github.com/zhenglian/zhenglian/clients/go"
)

const agencyUSCC = "11110000X000100145"

// node is a real node of its own ledger, founded and served for a test.
type node struct {
	URL  string            `json:"url"`
	Dir  string            `json:"dir"`
	Keys map[string]string `json:"keys"`
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// program is zhenglian as $ZL_PROGRAM names it, or built.
func program(t *testing.T) string {
	t.Helper()
	if p := os.Getenv("ZL_PROGRAM"); p != "" {
		return p
	}
	at := filepath.Join(t.TempDir(), "zhenglian")
	build := exec.Command("go", "build", "-o", at, "./node/cmd/zhenglian")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return at
}

func serve(t *testing.T) (n node) {
	t.Helper()
	at := program(t)
	found := exec.Command(at, "init", "--dir", filepath.Join(t.TempDir(), "pilot"), "--msp", "BeijingMSP", "--node", "beijing", "--agency", "bj-scjg",
		"--name-zh", "北京市市场监督管理局", "--name-en", "Beijing AMR", "--region", "110000", "--uscc", agencyUSCC,
		"--listen", freeAddress(t), "--admin", freeAddress(t), "--json")
	out, err := found.Output()
	if err != nil {
		t.Fatalf("init: %v\n%s", err, out)
	}
	if err := json.Unmarshal(out, &n); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	run := exec.Command(at, "serve", "--dir", n.Dir)
	run.Stderr = &log
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = run.Process.Signal(syscall.SIGTERM)
		_ = run.Wait()
		if t.Failed() {
			t.Logf("the node says\n%s", &log)
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		res, err := http.Get(n.URL + "/readyz")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return n
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the node is not ready: %v", err)
		}
	}
}

func TestAgainstANode(t *testing.T) {
	n := serve(t)
	ctx := context.Background()
	as := func(role string) *zhenglian.ClientWithResponses {
		c, err := zhenglian.New(n.URL, n.Keys[role])
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	key := "first"
	licence := zhenglian.NewLicence{Type: "11100000MB0143028R001", Number: "BJ0000001", Holder: zhenglian.Holder{Code: "91110105X000000192", Name: "北京样例科技有限公司"}}
	issued, err := as("drafter").IssueWithResponse(ctx, &zhenglian.IssueParams{IdempotencyKey: &key}, licence)
	if err == nil {
		err = zhenglian.Check(issued)
	}
	if err != nil || issued.JSON200 == nil || issued.JSON200.Status != "committed" {
		t.Fatalf("%v, %+v", err, issued)
	}

	var q zhenglian.VerifyJSONRequestBody
	if err := q.FromQuery(zhenglian.Query{Number: &licence.Number, Type: &licence.Type}); err != nil {
		t.Fatal(err)
	}
	verified, err := as("verifier").VerifyWithResponse(ctx, q)
	if err == nil {
		err = zhenglian.Check(verified)
	}
	if err != nil {
		t.Fatal(err)
	}
	v, err := verified.JSON200.AsVerdict()
	if err != nil || v.Verdict != "valid" || v.Record == nil || v.Record.Id != issued.JSON200.Record {
		t.Errorf("%v, %+v", err, v)
	}

	// An error keeps its code, its Chinese text and what is known.
	for _, tt := range []struct {
		name, role string
		licence    zhenglian.NewLicence
		code       zhenglian.ProblemCode
		status     int64
	}{
		{"no right", "verifier", licence, zhenglian.ProblemCodeForbidden, 403},
		{"no key", "", licence, zhenglian.ProblemCodeUnauthenticated, 401},
		{"a bad code", "drafter", zhenglian.NewLicence{Type: licence.Type, Number: "BJ2", Holder: zhenglian.Holder{Code: "91110105X000000193", Name: "甲"}}, zhenglian.ProblemCodeBadUscc, 400},
	} {
		res, err := as(tt.role).IssueWithResponse(ctx, nil, tt.licence)
		if err != nil {
			t.Fatal(err)
		}
		err = zhenglian.Check(res)
		var p *zhenglian.Problem
		if !errors.As(err, &p) || !errors.Is(err, &zhenglian.Problem{Code: tt.code}) || p.Status != tt.status || p.Zh == "" || p.Written != zhenglian.ProblemWrittenNothing {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	res, err := as("auditor").RecordWithResponse(ctx, "licence", "bj-scjg.9")
	if err != nil || !errors.Is(zhenglian.Check(res), &zhenglian.Problem{Code: zhenglian.ProblemCodeNotFound}) {
		t.Errorf("%v, %+v", err, res)
	}
}

// What does not come from a node is an error all the same.
func TestCheckOfAProxy(t *testing.T) {
	err := zhenglian.Check(&zhenglian.IssueResponse{Body: []byte("<html>"), HTTPResponse: &http.Response{StatusCode: 502}})
	var p *zhenglian.Problem
	if !errors.As(err, &p) || p.Status != 502 || p.Code != "" || p.Written != zhenglian.ProblemWrittenPerhaps {
		t.Errorf("%v", err)
	}
}
