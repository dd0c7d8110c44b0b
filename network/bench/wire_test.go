package bench

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestWire(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Header.Get("Authorization") != "Bearer k" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%v %v", r.Header, err)
		}
		switch r.URL.Path {
		case "/chunked":
			_, _ = w.Write(body[:len(body)/2])
			w.(http.Flusher).Flush()
			_, _ = w.Write(body[len(body)/2:])
		case "/close":
			w.Header().Set("Connection", "close")
			_, _ = w.Write(body)
		case "/refused":
			w.WriteHeader(http.StatusConflict)
		default:
			_, _ = w.Write(body)
		}
	}))
	defer s.Close()
	w, err := newWire(s.URL, "k")
	if err != nil {
		t.Fatal(err)
	}
	defer w.forget()
	long := []byte(strings.Repeat("证照", 30_000))
	for _, path := range []string{"/", "/chunked", "/", "/close", "/chunked"} {
		var out bytes.Buffer
		status, err := w.post(t.Context(), path, long, &out)
		if err != nil || status != 200 || !bytes.Equal(out.Bytes(), long) {
			t.Errorf("%s: %d %v, %d bytes", path, status, err, out.Len())
		}
	}
	var out bytes.Buffer
	if status, err := w.post(t.Context(), "/refused", long, &out); err != nil || status != http.StatusConflict {
		t.Errorf("%d %v", status, err)
	}
	if len(w.idle) != 1 {
		t.Errorf("%d connections are kept, want the last", len(w.idle))
	}
	s.CloseClientConnections() // as a node does with those that lay idle for long
	w.idle[0].kept = w.idle[0].kept.Add(-2 * keep)
	if status, err := w.post(t.Context(), "/", long, new(bytes.Buffer)); err != nil || status != http.StatusOK {
		t.Errorf("after a rest: %d %v", status, err)
	}
	if _, err := newWire("https://127.0.0.1", "k"); err == nil {
		t.Error("TLS is not spoken")
	}
}

// FuzzAnswer: whatever a server sends ends in an answer within bounds or an error.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab"))
	f.Add([]byte("HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nab\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var out bytes.Buffer
		status, _, err := readAnswer(bufio.NewReaderSize(bytes.NewReader(raw), 4096), &out)
		if err == nil && (status < 200 || out.Len() > len(raw)) {
			t.Errorf("status %d, %d bytes of %d", status, out.Len(), len(raw))
		}
	})
}
