package e2e

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// raw opens a connection to the API and says something. The caller reads on.
func (n *node) raw(said ...[]byte) net.Conn {
	n.t.Helper()
	c, err := net.DialTimeout("tcp", strings.TrimPrefix(n.url, "http://"), 5*time.Second)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		n.t.Fatal(err)
	}
	for _, b := range said {
		if _, err := c.Write(b); err != nil { // the node may hang up on garbage
			break
		}
	}
	return c
}

// answered reads one answer.
func answered(t testing.TB, c net.Conn) (int, []byte) {
	t.Helper()
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, body
}

// hostileClients: cut, slow, huge, old and meaningless requests. The node answers what can be answered,
// lets go of the rest, writes nothing, and goes on serving.
func hostileClients(t *testing.T, c *consortium) {
	c.start("beijing")
	n := c.nodes["beijing"]
	before := n.at().Position
	head := func(method, path, version string, length int) []byte {
		return fmt.Appendf(nil, "%s %s %s\r\nHost: node\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
			method, path, version, n.keys["approver"], length)
	}
	body := encodeDrafts(t, issueDraft(t, n.agency, "hostile-1", 1))

	// The slow ones wait for the node's patience while the others go on.
	var slow sync.WaitGroup
	patience := 20 * time.Second
	sayings := map[string][]byte{
		"half a header": []byte("GET /healthz HTTP/1.1\r\nHost: no"),
		"silence":       nil,
	}
	if soak() { // the node waits a minute for a body
		sayings["half a body"] = append(head("POST", "/v1/operations", "HTTP/1.1", len(body)), body[:100]...)
		patience = 80 * time.Second
	}
	for name, said := range sayings {
		c := n.raw(said)
		if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		slow.Go(func() {
			if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: the connection is still open after %v", name, patience)
			}
		})
	}

	t.Run("cut mid-body", func(t *testing.T) {
		for cut := 1; cut < len(body); cut += len(body)/7 + 1 {
			c := n.raw(head("POST", "/v1/operations", "HTTP/1.1", len(body)), body[:cut])
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		// A half-closed one can still hear the answer.
		c := n.raw(head("POST", "/v1/operations", "HTTP/1.1", len(body)), body[:len(body)/2])
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if status, answer := answered(t, c); status != http.StatusBadRequest || !bytes.Contains(answer, []byte(model.CodeInvalidJSON)) {
			t.Errorf("%d %s", status, answer)
		}
	})
	t.Run("10 MB", func(t *testing.T) {
		big := bytes.Repeat([]byte(" "), 10<<20)
		for _, path := range []string{"/v1/operations", "/v1/verify", "/v1/licences", "/public/verify"} {
			c := n.raw(head("POST", path, "HTTP/1.1", len(big)))
			if status, answer := answered(t, c); status != http.StatusRequestEntityTooLarge || !bytes.Contains(answer, []byte(model.CodeTooLarge)) {
				t.Errorf("%s announced: %d %s", path, status, answer)
			}
			c = n.raw(fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: node\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", path, n.keys["approver"], len(big)))
			go func() { _, _ = c.Write(big) }() // the node hangs up before it has taken all
			if status, answer := answered(t, c); status != http.StatusRequestEntityTooLarge {
				t.Errorf("%s in chunks: %d %s", path, status, answer)
			}
			_ = c.Close()
		}
		a, err := n.get(n.url + "/healthz?" + strings.Repeat("x", 1<<20))
		if err == nil && a.status/100 != 4 {
			t.Errorf("a URL of a megabyte: %d", a.status)
		}
	})
	t.Run("HTTP/1.0", func(t *testing.T) {
		c := n.raw([]byte("GET /healthz HTTP/1.0\r\n\r\n"))
		if status, answer := answered(t, c); status != http.StatusOK {
			t.Errorf("%d %s", status, answer)
		}
		c = n.raw(head("POST", "/v1/verify", "HTTP/1.0", 24), []byte(`{"record":"bj-scjg.9999"`))
		if status, answer := answered(t, c); status != http.StatusBadRequest {
			t.Errorf("%d %s", status, answer)
		}
	})
	t.Run("garbage", func(t *testing.T) {
		noise := make([]byte, 1<<16)
		_, _ = rand.Read(noise)
		for _, said := range [][]byte{
			noise, []byte("\r\n\r\n\r\n"), []byte("GET\r\n\r\n"), []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
			[]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), []byte("GET / HTTP/9.9\r\n\r\n"),
			[]byte("POST /v1/operations HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
			[]byte("POST /v1/operations HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef"),
			[]byte("POST /v1/operations HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
			[]byte("GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n"), []byte("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n"),
			append([]byte("GET / HTTP/1.1\r\nHost: a\r\nX: "), bytes.Repeat([]byte("y"), 1<<20)...),
		} {
			c := n.raw(said)
			_ = c.(*net.TCPConn).CloseWrite() // the node may have hung up already
			r, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err == nil {
				if r.StatusCode/100 == 2 && !bytes.HasPrefix(said, []byte("GET /")) || r.StatusCode/100 == 5 && r.StatusCode != http.StatusHTTPVersionNotSupported {
					t.Errorf("%.60q: status %d", said, r.StatusCode)
				}
				_ = r.Body.Close()
			}
			_ = c.Close()
		}
	})
	slow.Wait()

	if n.p.ended() {
		t.Fatalf("the node ended:\n%s", n.p.out.tail(4000))
	}
	if out := n.p.out.bytes(); bytes.Contains(out, []byte("panic")) {
		t.Errorf("a handler panicked:\n%s", out)
	}
	if after := n.at().Position; after != before {
		t.Errorf("hostile requests moved the log from %d to %d", before, after)
	}
	var outcomes []model.Outcome
	n.mustPost("/v1/operations", body, &outcomes)
	if outcomes[0].Status != model.Committed {
		t.Errorf("afterwards: %+v", outcomes[0])
	}
}
