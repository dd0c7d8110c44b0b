package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The load on the node is sent by as little as it takes: on one machine, what the sender of a request computes is
// taken from who answers it. wire speaks the part of HTTP/1.1 that a node's API uses, over connections that are kept.
type wire struct {
	address string
	head    string // after the path: headers of every request but the length

	mu   sync.Mutex
	idle []*wireConn // guarded by mu
}

type wireConn struct {
	net.Conn
	in   *bufio.Reader
	out  []byte
	kept time.Time // when it was last given back
}

// patience is how long one request may take.
const patience = time.Minute

// keep is how long a connection may lie idle: a node closes its own end after two minutes.
const keep = time.Minute

func newWire(url, key string) (*wire, error) {
	address, ok := strings.CutPrefix(url, "http://")
	if !ok {
		return nil, fmt.Errorf("%s: the load goes to a node on this machine, by plain HTTP", url)
	}
	return &wire{address: address, head: " HTTP/1.1\r\nHost: " + address + "\r\nAuthorization: Bearer " + key + "\r\nContent-Type: application/json\r\nContent-Length: "}, nil
}

func (w *wire) take() (*wireConn, error) {
	if c := w.spare(); c != nil {
		return c, nil
	}
	c, err := net.Dial("tcp", w.address)
	if err != nil {
		return nil, err
	}
	return &wireConn{Conn: c, in: bufio.NewReaderSize(c, 16<<10)}, nil
}

// spare is the connection that was given back last, nil where that is too long ago.
func (w *wire) spare() *wireConn {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.idle)
	if n == 0 {
		return nil
	}
	c := w.idle[n-1]
	w.idle = w.idle[:n-1]
	if time.Since(c.kept) > keep {
		_ = c.Close()
		w.close() // the others lie there longer
		return nil
	}
	return c
}

func (w *wire) give(c *wireConn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	c.kept = time.Now()
	w.idle = append(w.idle, c)
}

// forget closes the idle connections: the node they lead to has ended.
func (w *wire) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.close()
}

// close closes the idle connections; mu is held.
func (w *wire) close() {
	for _, c := range w.idle {
		_ = c.Close()
	}
	w.idle = nil
}

// post sends a body and reads the answer into the buffer. It gives up after patience or when ctx ends, whichever is
// first.
func (w *wire) post(ctx context.Context, path string, body []byte, answer *bytes.Buffer) (status int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	c, err := w.take()
	if err != nil {
		return 0, err
	}
	status, again, err := c.post(w.head, path, body, answer)
	if err != nil || !again {
		_ = c.Close()
		return status, err
	}
	w.give(c)
	return status, nil
}

func (c *wireConn) post(head, path string, body []byte, answer *bytes.Buffer) (status int, again bool, err error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return 0, false, err
	}
	c.out = append(append(append(c.out[:0], "POST "...), path...), head...)
	c.out = append(strconv.AppendInt(c.out, int64(len(body)), 10), "\r\n\r\n"...)
	c.out = append(c.out, body...)
	if _, err := c.Write(c.out); err != nil {
		return 0, false, err
	}
	return readAnswer(c.in, answer)
}

// Bounds of what is read.
const (
	maxHeaders = 64
	maxAnswer  = 64 << 20 // bytes
)

// readAnswer reads a response that says its length, or comes in chunks. again is false when the connection ends with
// it.
func readAnswer(in *bufio.Reader, answer *bytes.Buffer) (status int, again bool, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, false, err
	}
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, false, fmt.Errorf("an answer that begins %.40q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil || status < 200 {
		return 0, false, fmt.Errorf("status %q", line[9:12])
	}
	again = true
	length, chunked := -1, false
	for n := 0; ; n++ {
		if line, err = in.ReadSlice('\n'); err != nil {
			return status, false, err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		if n == maxHeaders {
			return status, false, errors.New("too many headers")
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 || length > maxAnswer {
				return status, false, fmt.Errorf("length %q", value)
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Connection")):
			again = !bytes.EqualFold(value, []byte("close"))
		}
	}
	switch {
	case chunked:
		return status, again, readChunks(in, answer)
	case length < 0:
		return status, false, errors.New("an answer without length")
	}
	_, err = io.CopyN(answer, in, int64(length))
	return status, again, err
}

func readChunks(in *bufio.Reader, answer *bytes.Buffer) error {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(string(bytes.TrimRight(line, "\r\n")), 16, 31)
		if err != nil || answer.Len()+int(n) > maxAnswer {
			return fmt.Errorf("chunk of %q", line)
		}
		if _, err := io.CopyN(answer, in, int64(n)); err != nil {
			return err
		}
		if line, err = in.ReadSlice('\n'); err != nil || len(bytes.TrimRight(line, "\r\n")) != 0 {
			return fmt.Errorf("a chunk ends with %q: %w", line, err)
		}
		if n == 0 {
			return nil
		}
	}
}
