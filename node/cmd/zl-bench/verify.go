package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/bench/report"
)

const bareCommand = "bare"

// serveBare is the other side of verify.http: a handler that reads the request and returns the same bytes
// that the node returned for such a request. It runs in a process of its own, like the node.
func serveBare(args []string) error {
	f := flag.NewFlagSet(bareCommand, flag.ContinueOnError)
	listen := f.String("listen", "", "host:port")
	answer := f.String("answer", "", "file of the bytes to return")
	if err := f.Parse(args); err != nil {
		return err
	}
	body, err := os.ReadFile(*answer)
	if err != nil {
		return err
	}
	length := strconv.Itoa(len(body))
	s := http.Server{Addr: *listen, ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadAll(r.Body); err != nil {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", length)
		_, _ = w.Write(body)
	})}
	return s.ListenAndServe()
}

// verifyHTTP: one query by identifier a request, 64 callers, over licences picked at random.
func verifyHTTP(ctx context.Context, env *environment) (report.Measurement, error) {
	var m report.Measurement
	n, err := startNode(ctx, env)
	if err != nil {
		return m, err
	}
	defer n.stop()
	count := env.scale(10_000, 500)
	var queries [][]byte
	for first := 0; first < count; first += 100 {
		status, out, err := n.post(ctx, "/v1/operations", drafts(first, 100))
		if err != nil || status != 200 {
			return m, fmt.Errorf("status %d: %.300s %w", status, out, err)
		}
		ids, err := report.Committed(out, 100)
		if err != nil {
			return m, err
		}
		q := make([]model.Query, len(ids))
		for i, id := range ids {
			q[i].Record = id
		}
		body, err := json.Marshal(q)
		if err != nil {
			return m, err
		}
		if _, out, err = n.post(ctx, "/v1/verify", body); err != nil {
			return m, err
		}
		var verdicts []struct {
			Record struct {
				Public struct {
					Identifier model.LicenceID `json:"identifier"`
				} `json:"public"`
			} `json:"record"`
		}
		if err := json.Unmarshal(out, &verdicts); err != nil {
			return m, err
		}
		for _, v := range verdicts {
			queries = append(queries, []byte(`{"identifier":"`+string(v.Record.Public.Identifier)+`"}`))
		}
	}
	status, sample, err := n.post(ctx, "/v1/verify", queries[0])
	if err != nil || status != 200 {
		return m, fmt.Errorf("status %d: %.300s %w", status, sample, err)
	}
	answer, err := os.CreateTemp("", "zl-bench-answer-")
	if err != nil {
		return m, err
	}
	defer os.Remove(answer.Name())
	if _, err := answer.Write(sample); err != nil {
		return m, err
	}
	if err := answer.Close(); err != nil {
		return m, err
	}
	listen, err := free()
	if err != nil {
		return m, err
	}
	self, err := os.Executable()
	if err != nil {
		return m, err
	}
	bare := exec.CommandContext(ctx, self, bareCommand, "--listen", listen, "--answer", answer.Name())
	if err := bare.Start(); err != nil {
		return m, err
	}
	defer func() { _ = bare.Process.Kill(); _ = bare.Wait() }()
	bareURL := "http://" + listen + "/v1/verify"
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if status, _, err := post(ctx, n.client, bareURL, n.key, queries[0]); err == nil && status == 200 {
			break
		} else if time.Now().After(deadline) {
			return m, fmt.Errorf("the bare handler does not answer: %w", err)
		}
	}
	length := time.Duration(env.scale(5000, 500)) * time.Millisecond
	check := func(out []byte) error {
		var v struct {
			Verdict model.Word `json:"verdict"`
		}
		if err := json.Unmarshal(out, &v); err != nil || v.Verdict != model.Valid {
			return fmt.Errorf("verdict %q: %.300s %w", v.Verdict, out, err)
		}
		return nil
	}
	sides := []struct {
		url   string
		check func([]byte) error
		rates []float64
	}{{url: n.url + "/v1/verify", check: check}, {url: bareURL}}
	for i := range sides { // connections, caches and the collector's pace are warm on both sides
		if _, err := load(ctx, n.client, sides[i].url, n.key, queries, length/2, nil); err != nil {
			return m, err
		}
	}
	for run := range env.runs() + env.scale(3, 0) {
		for i := range sides {
			s := &sides[(i+run)%2] // each side goes first in every other run
			rate, err := load(ctx, n.client, s.url, n.key, queries, length, s.check)
			if err != nil {
				return m, err
			}
			s.rates = append(s.rates, rate)
		}
	}
	m.Runs, m.Baselines = sides[0].rates, sides[1].rates
	m.Note = fmt.Sprintf("median of the runs' ratios; %.0f verdicts/s, bare handler %.0f requests/s; %d licences, answer of %d bytes, 64 callers, signature of each licence checked once",
		report.Median(m.Runs), report.Median(m.Baselines), len(queries), len(sample))
	return m, nil
}

// load sends random queries from 64 callers for a while and returns answers/s. Every 64th answer of a
// caller is checked.
func load(ctx context.Context, client *http.Client, url, key string, queries [][]byte, length time.Duration, check func([]byte) error) (float64, error) {
	const callers = 64
	var done atomic.Int64
	var wg sync.WaitGroup
	failed := make(chan error, callers)
	start := time.Now()
	for range callers {
		wg.Go(func() {
			for i := 0; time.Since(start) < length && ctx.Err() == nil; i++ {
				status, out, err := post(ctx, client, url, key, queries[rand.IntN(len(queries))])
				if err == nil && status != 200 {
					err = fmt.Errorf("status %d: %.300s", status, out)
				}
				if err == nil && check != nil && i%64 == 0 {
					err = check(out)
				}
				if err != nil {
					failed <- err
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	select {
	case err := <-failed:
		return 0, err
	default:
	}
	return float64(done.Load()) / took.Seconds(), nil
}
