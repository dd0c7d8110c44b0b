package main

import (
	"errors"
	"io"
	"sync"

	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

// A conversation is one peer's stream. It stands between gRPC and the shim and gives the shim what it
// lacks: a transaction that waits for an answer when the peer is gone would wait for ever, with all that
// it holds, and a stream cannot be asked to end once its transactions are finished.
//
// The shim calls Recv from one goroutine at a time and Send under its own lock.
type conversation struct {
	peer.Chaincode_ConnectServer
	in     chan *peer.ChaincodeMessage // from the reader; closed when the stream has ended
	cause  error                       // why it ended; the reader's until it closes in
	ending <-chan struct{}             // closed when the server is stopping and nothing runs any more
	count  func(running int)           // told of +1 and −1

	mu      sync.Mutex
	err     error                             // what Recv is to end with; guarded by mu
	running map[string]bool                   // transactions that were begun and not answered; guarded by mu
	asking  map[string]*peer.ChaincodeMessage // requests to the peer by transaction; guarded by mu
	changed chan struct{}                     // has room for one: running or asking has changed
}

var (
	errUnasked = errors.New("the peer answered what nobody had asked")
	errTwice   = errors.New("the peer began a transaction twice")
)

func converse(s peer.Chaincode_ConnectServer, ending <-chan struct{}, count func(int)) *conversation {
	c := &conversation{
		Chaincode_ConnectServer: s, in: make(chan *peer.ChaincodeMessage), ending: ending, count: count,
		running: map[string]bool{}, asking: map[string]*peer.ChaincodeMessage{}, changed: make(chan struct{}, 1),
	}
	go c.read()
	return c
}

// read ends with the stream, which gRPC ends at the latest when Connect returns.
func (c *conversation) read() {
	defer close(c.in)
	for {
		m, err := c.Chaincode_ConnectServer.Recv()
		if err != nil {
			c.cause = err
			return
		}
		select {
		case c.in <- m:
		case <-c.Context().Done():
			c.cause = c.Context().Err()
			return
		}
	}
}

func transaction(m *peer.ChaincodeMessage) string { return m.GetChannelId() + "\x00" + m.GetTxid() }

// begin notes a message that the shim is about to get.
func (c *conversation) begin(m *peer.ChaincodeMessage) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := transaction(m)
	switch m.GetType() {
	case peer.ChaincodeMessage_TRANSACTION, peer.ChaincodeMessage_INIT:
		if c.running[key] {
			c.err = errTwice
			return c.err
		}
		c.running[key] = true
		c.count(1)
	case peer.ChaincodeMessage_RESPONSE, peer.ChaincodeMessage_ERROR:
		if c.asking[key] == nil { // the shim would wait for ever to hand it over
			c.err = errUnasked
			return c.err
		}
		delete(c.asking, key)
	}
	return nil
}

// Recv hands the shim the next message. After the stream has ended it answers each open request with an
// error and returns the end only when every transaction has unwound.
func (c *conversation) Recv() (*peer.ChaincodeMessage, error) {
	if !c.ended() {
		select {
		case m, ok := <-c.in:
			if !ok {
				c.mu.Lock()
				c.err = c.cause
				c.mu.Unlock()
			} else if c.begin(m) == nil {
				return m, nil
			}
		case <-c.ending:
			return nil, io.EOF
		}
	}
	for {
		asked, err := c.unwind()
		if asked != nil || err != nil {
			return asked, err
		}
		<-c.changed
	}
}

func (c *conversation) ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

// unwind takes one open request and makes the answer to it, or says why the stream ended when nothing runs
// any more.
func (c *conversation) unwind() (*peer.ChaincodeMessage, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, asked := range c.asking {
		delete(c.asking, key)
		return &peer.ChaincodeMessage{
			Type: peer.ChaincodeMessage_ERROR, Txid: asked.GetTxid(), ChannelId: asked.GetChannelId(), Payload: []byte("the peer is gone"),
		}, nil
	}
	if len(c.running) == 0 {
		return nil, c.err
	}
	return nil, nil
}

// Send passes the shim's messages on. It reports an error of requests only: one of an answer would make the
// shim leave at once and its other transactions waiting, and Recv is about to say that the stream has ended.
func (c *conversation) Send(m *peer.ChaincodeMessage) error {
	switch m.GetType() {
	case peer.ChaincodeMessage_REGISTER:
		return c.Chaincode_ConnectServer.Send(m)
	case peer.ChaincodeMessage_KEEPALIVE:
		_ = c.Chaincode_ConnectServer.Send(m)
		return nil
	case peer.ChaincodeMessage_COMPLETED, peer.ChaincodeMessage_ERROR:
		_ = c.Chaincode_ConnectServer.Send(m)
		c.finish(transaction(m))
		return nil
	}
	return c.ask(m)
}

func (c *conversation) finish(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running[key] {
		delete(c.running, key)
		c.count(-1)
	}
	c.tell()
}

func (c *conversation) ask(m *peer.ChaincodeMessage) error {
	key := transaction(m)
	c.mu.Lock()
	c.asking[key] = m
	c.mu.Unlock()
	err := c.Chaincode_ConnectServer.Send(m)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.asking[key] != m {
		return nil // Recv has made an answer, which the shim must take
	}
	if err != nil {
		delete(c.asking, key)
	}
	c.tell()
	return err
}

// tell wakes Recv. The caller holds mu.
func (c *conversation) tell() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}
