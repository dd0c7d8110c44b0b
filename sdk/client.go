// Package sdk is the Go client of a Zhenglian node's REST API.
//
// A Client needs the node's address and an API key:
//
//	c := &sdk.Client{BaseURL: "http://127.0.0.1:8801", Key: os.Getenv("ZL_KEY")}
//	v, err := c.Verify(ctx, model.Query{Identifier: id})
//
// Errors are *model.Error with the node's stable codes: errors.Is(err, model.E(model.CodeNotOwner)), or
// model.AsError(err).Kind(). An error about one element of an array is an *ElementError around it.
//
// What is safe to send again is sent again, with growing pauses, within the context's deadline: reads
// always, writes because each carries an idempotency key, so that a write that was accepted although its
// answer was lost is found and never done twice.
package sdk

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Client calls one node. The fields are set before the first call and not changed after; then it is safe
// for concurrent use.
type Client struct {
	BaseURL  string        // "https://node.example" without /v1
	Key      string        // API key, "zlk_…"; "" for the open routes
	HTTP     *http.Client  // default: one shared by all clients, up to 256 connections to a node
	Timeout  time.Duration // of one attempt; default 30 s
	Attempts int           // at most, of one call; default 6
}

// ElementError is an error about one element of what was sent.
type ElementError struct {
	Index int
	Err   *model.Error
}

func (e *ElementError) Error() string {
	return "element " + strconv.Itoa(e.Index) + ": " + e.Err.Error()
}

// Unwrap is the error itself.
func (e *ElementError) Unwrap() error { return e.Err }

const (
	defaultTimeout  = 30 * time.Second
	defaultAttempts = 6
	firstPause      = 100 * time.Millisecond
	longestPause    = 5 * time.Second
	maxAnswer       = 64 << 20
)

var sharedHTTP = &http.Client{
	Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConns:        1024, MaxIdleConnsPerHost: 256, IdleConnTimeout: 90 * time.Second,
		DisableCompression: true,
	},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a key goes to no other place
}

func (c *Client) http() *http.Client {
	if c.HTTP != nil {
		return c.HTTP
	}
	return sharedHTTP
}

// call is one request that may take several attempts.
type call struct {
	method, path string
	body         []byte
	key          string // Idempotency-Key of a write, "" for a read
	batch        string // Zhenglian-Batch, "" for none
}

// answer is a complete response.
type answer struct {
	status int
	body   []byte
}

// do sends a call until it is answered, at most Attempts times. Only what may pass is tried again: a
// connection that failed, 429, 502, 503, 504.
//
// A write that stays without answer is outcome_unknown, unless no connection was ever made.
func (c *Client) do(ctx context.Context, r call) (answer, error) {
	attempts := c.Attempts
	if attempts <= 0 {
		attempts = defaultAttempts
	}
	sent := false
	pause := firstPause
	for n := 1; ; n++ {
		a, after, err := c.attempt(ctx, r)
		if err == nil {
			return a, nil
		}
		var failed *transportError
		transport := errors.As(err, &failed)
		if transport {
			sent = sent || failed.sent
		} else {
			switch e := model.AsError(err); e.Kind() {
			case model.Unknown:
				sent = true
			case model.Limited, model.Unavailable:
			default:
				return answer{}, err
			}
		}
		wait := max(after, pause/2+time.Duration(rand.Int64N(int64(pause))))
		pause = min(2*pause, longestPause)
		if n == attempts || ctx.Err() != nil || !sleep(ctx, wait) {
			return answer{}, giveUp(r, err, sent)
		}
	}
}

// giveUp says what is known after the last attempt.
func giveUp(r call, err error, sent bool) error {
	var failed *transportError
	if !errors.As(err, &failed) && !(sent && r.key != "") {
		return err
	}
	if r.key != "" && sent {
		return model.E(model.CodeOutcomeUnknown).With("repeat under Idempotency-Key %s to learn it", r.key).Because(err)
	}
	return model.E(model.CodeNodeUnreachable).Because(err)
}

// transportError is a request without a complete answer.
type transportError struct {
	cause error
	sent  bool // a connection stood, so the node may have the request
}

func (e *transportError) Error() string { return e.cause.Error() }
func (e *transportError) Unwrap() error { return e.cause }

func asTransport(err error) *transportError {
	var op *net.OpError
	return &transportError{err, !(errors.As(err, &op) && op.Op == "dial")}
}

// attempt sends a request once. after is the pause that the node asked for.
func (c *Client) attempt(ctx context.Context, r call) (a answer, after time.Duration, err error) {
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := c.request(ctx, r)
	if err != nil {
		return a, 0, err
	}
	res, err := c.http().Do(req)
	if err != nil {
		return a, 0, asTransport(err)
	}
	defer res.Body.Close()
	a.status = res.StatusCode
	if a.body, err = readAnswer(res); err != nil {
		return a, 0, err
	}
	if res.StatusCode/100 == 2 {
		return a, 0, nil
	}
	return a, retryAfter(res.Header), problemError(res.StatusCode, a.body)
}

func (c *Client) request(ctx context.Context, r call) (*http.Request, error) {
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, strings.TrimSuffix(c.BaseURL, "/")+r.path, body)
	if err != nil {
		return nil, model.E(model.CodeBadValue, "base_url").Because(err)
	}
	if c.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.Key)
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.key != "" {
		req.Header.Set("Idempotency-Key", r.key)
	}
	if r.batch != "" {
		req.Header.Set("Zhenglian-Batch", r.batch)
	}
	return req, nil
}

func readAnswer(res *http.Response) ([]byte, error) {
	size := max(res.ContentLength, 0)
	if size > maxAnswer {
		return nil, model.E(model.CodeTooLarge).With("an answer of %d bytes", size)
	}
	buf := bytes.NewBuffer(make([]byte, 0, size+bytes.MinRead))
	if _, err := buf.ReadFrom(io.LimitReader(res.Body, maxAnswer+1)); err != nil {
		return nil, &transportError{err, true}
	}
	if buf.Len() > maxAnswer {
		return nil, model.E(model.CodeTooLarge).With("an answer of more than %d bytes", maxAnswer)
	}
	return buf.Bytes(), nil
}

// problemError turns an answer that is no success into an error. What does not come from a node (a proxy's
// page) gets the code that its status stands for.
func problemError(status int, body []byte) error {
	var p model.Problem
	if json.Unmarshal(body, &p) == nil && p.Code != "" {
		e := p.Error()
		if !p.Code.Known() {
			e = statusError(status).With("%s: %s", p.Code, p.Title) // a newer node's code keeps its kind
		}
		if p.Index != nil {
			return &ElementError{*p.Index, e}
		}
		return e
	}
	return statusError(status).With("status %d", status)
}

func statusError(status int) *model.Error {
	switch status {
	case http.StatusBadRequest:
		return model.E(model.CodeBadValue)
	case http.StatusUnauthorized:
		return model.E(model.CodeUnauthenticated)
	case http.StatusForbidden:
		return model.E(model.CodeForbidden)
	case http.StatusNotFound:
		return model.E(model.CodeNotFound)
	case http.StatusConflict:
		return model.E(model.CodeVersionConflict)
	case http.StatusRequestEntityTooLarge:
		return model.E(model.CodeTooLarge)
	case http.StatusUnprocessableEntity:
		return model.E(model.CodeTransition)
	case http.StatusTooManyRequests:
		return model.E(model.CodeRateLimited)
	case http.StatusServiceUnavailable:
		return model.E(model.CodeLedgerUnavailable)
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return model.E(model.CodeOutcomeUnknown)
	}
	return model.E(model.CodeInternal)
}

// retryAfter reads a pause in seconds, bounded: a node cannot put a client to sleep for a day.
func retryAfter(h http.Header) time.Duration {
	s, err := strconv.Atoi(h.Get("Retry-After"))
	if err != nil || s < 0 {
		return 0
	}
	return min(time.Duration(min(s, 3600))*time.Second, 30*time.Second)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// get reads a value.
func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	return exchange[T](ctx, c, call{method: http.MethodGet, path: path})
}

// exchange does a call and decodes its answer. Members that this build does not know are passed over: a
// newer node may say more.
func exchange[T any](ctx context.Context, c *Client, r call) (T, error) {
	var v T
	a, err := c.do(ctx, r)
	if err != nil {
		return v, err
	}
	return v, decodeAnswer(a.body, &v)
}

func decodeAnswer(body []byte, v any) error {
	if err := json.Unmarshal(body, v); err != nil {
		return model.E(model.CodeInvalidJSON).With("the node's answer").Because(err)
	}
	return nil
}

func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, model.E(model.CodeBadValue).Because(err)
	}
	return b.Bytes(), nil
}

func newKey() string { return "sdk-" + strings.ToLower(crand.Text()) }
