package sdk

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Where a stream of events begins, beside after a position.
const (
	FromFirst int64 = -1 // with the log's first entry
	FromNow   int64 = -2 // with what comes next
)

const (
	maxEventLine = 1 << 20          // an operation has 64 KiB, and JSON in JSON can double that
	silence      = 60 * time.Second // nodes write at least every 15 s
)

// Events walks the log's entries after a position (or FromFirst, FromNow) as they come, of one kind ("" for
// all). It reconnects by itself and neither misses nor repeats an entry; it ends when ctx does, without an
// error, or with an error that trying again cannot help.
func (c *Client) Events(ctx context.Context, after int64, kind model.Kind) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		s := eventStream{c: c, after: after, kind: kind}
		pause := firstPause
		for {
			before := s.after
			err := s.follow(ctx, yield)
			switch {
			case errors.Is(err, errStopped), ctx.Err() != nil:
				return
			case err != nil:
				var failed *transportError
				if !errors.As(err, &failed) {
					switch model.AsError(err).Kind() {
					case model.Limited, model.Unavailable, model.Unknown:
					default:
						yield(Event{}, err)
						return
					}
				}
			}
			if s.after != before {
				pause = firstPause
			}
			if !sleep(ctx, max(s.retry, pause/2+time.Duration(rand.Int64N(int64(pause))))) {
				return
			}
			pause = min(2*pause, longestPause)
		}
	}
}

var errStopped = errors.New("sdk: the caller stopped")

// eventStream is one walk over several connections.
type eventStream struct {
	c     *Client
	after int64 // the last position that the caller has seen
	kind  model.Kind
	retry time.Duration // the pause that the node asked for
}

// follow reads one connection to its end.
func (s *eventStream) follow(ctx context.Context, yield func(Event, error) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch := time.AfterFunc(silence, cancel) // a connection that went silent is dead
	defer watch.Stop()

	path := "/v1/events"
	if s.kind != "" {
		path += "?kind=" + url.QueryEscape(string(s.kind))
	}
	req, err := s.c.request(ctx, call{method: http.MethodGet, path: path})
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	if s.after != FromNow {
		req.Header.Set("Last-Event-ID", strconv.FormatInt(s.after, 10))
	}
	res, err := s.c.streaming().Do(req)
	if err != nil {
		return asTransport(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		body, err := readAnswer(res)
		if err != nil {
			return err
		}
		s.retry = retryAfter(res.Header)
		return problemError(res.StatusCode, body)
	}
	s.retry = 0
	return readEvents(res.Body, func() { watch.Reset(silence) }, func(id int64, data []byte) error {
		if id <= s.after {
			return nil // seen before the connection broke
		}
		if data != nil {
			var e Event
			if err := decodeEvent(data, &e); err != nil {
				return err
			}
			if int64(e.Position) != id {
				return model.E(model.CodeBadValue, "id").With("an event's id differs from its position")
			}
			if !yield(e, nil) {
				return errStopped
			}
		}
		s.after = id
		return nil
	})
}

func decodeEvent(data []byte, e *Event) error {
	if err := json.Unmarshal(data, e); err != nil {
		return model.E(model.CodeInvalidJSON).With("an event of the node").Because(err)
	}
	return nil
}

// streaming is the HTTP client without the limit on a whole exchange, which a stream has to outlive.
func (c *Client) streaming() *http.Client {
	h := *c.http()
	h.Timeout = 0
	return &h
}

// readEvents reads a stream of server-sent events: for each, its id and its data, nil where it has only an
// id. alive is called with every line, comments included.
func readEvents(r io.Reader, alive func(), event func(id int64, data []byte) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 16<<10), maxEventLine)
	var data []byte
	id, has := int64(0), false
	for lines.Scan() {
		alive()
		line := lines.Bytes()
		if len(line) == 0 {
			if has {
				if err := event(id, data); err != nil {
					return err
				}
			}
			data, has = nil, false
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			n, err := strconv.ParseInt(string(value), 10, 64)
			if err != nil || n < FromFirst {
				return model.E(model.CodeBadValue, "id").With("an event of the node")
			}
			id, has = n, true
		case "data":
			if len(data)+len(value) > maxEventLine {
				return model.E(model.CodeTooLarge).With("an event of the node")
			}
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, value...)
			if data == nil {
				data = []byte{}
			}
		}
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return model.E(model.CodeTooLarge).With("an event of the node")
		}
		return &transportError{err, true}
	}
	return &transportError{io.ErrUnexpectedEOF, true}
}
