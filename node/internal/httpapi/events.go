package httpapi

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

const (
	eventBatch     = 256              // entries read and written at once
	eventWrite     = 20 * time.Second // a client that takes longer to take a batch is let go
	defaultStreams = 256
	defaultBeat    = 15 * time.Second
)

// getEvents streams the log as server-sent events. A client has no queue here: its place in the log is all
// that is kept, so a slow one costs nothing and misses nothing. It begins after Last-Event-ID, or after
// ?from= (−1: from the first), or with what comes next.
func (a *API) getEvents(x *exchange) error {
	after, kind, err := a.eventStart(x.r)
	if err != nil {
		return err
	}
	if a.streams.Add(1) > int64(a.maxStreams) {
		a.streams.Add(-1)
		return limited{time.Second}
	}
	a.metrics.streams.Inc()
	defer func() { a.streams.Add(-1); a.metrics.streams.Dec() }()

	control := http.NewResponseController(x)
	h := x.Header()
	h["Content-Type"] = []string{"text/event-stream"}
	h["X-Accel-Buffering"] = []string{"no"}
	x.WriteHeader(http.StatusOK)
	// The first event has no data: it tells the client its place, should the connection break before the next.
	out := append(make([]byte, 0, 4096), "retry: 1000\nid: "...)
	out = append(strconv.AppendInt(out, after, 10), "\n\n"...)
	beat := time.NewTimer(a.heartbeat)
	defer beat.Stop()
	told := after // the position that the client knows of
	for {
		_, grown := a.entries.Head() // before reading, so that nothing falls between the two
		events, err := a.entries.Entries(x.r.Context(), after, eventBatch)
		if err != nil {
			a.log.Warn("an event stream ended", "request", x.id, "error", err)
			return nil // the client comes back with Last-Event-ID
		}
		for i := range events {
			e := &events[i]
			after = int64(e.Position)
			if kind == "" || e.Kind == kind {
				out, told = appendEvent(out, e), after
			}
		}
		if after-told >= eventBatch { // a filter passed over much: let the client's place follow
			out = append(strconv.AppendInt(append(out, "id: "...), after, 10), "\n\n"...)
			told = after
		}
		// A key may have been revoked since, a role taken away: a stream ends with the right to read it.
		if c, err := a.gate.SignIn(x.r); err != nil || !c.May(x.rt.action) {
			return nil
		}
		if len(out) > 0 {
			// A connection that has no deadlines has none to miss.
			_ = control.SetWriteDeadline(time.Now().Add(eventWrite))
			if _, err := x.Write(out); err != nil {
				return nil
			}
			if err := control.Flush(); err != nil {
				return nil
			}
			out = out[:0]
		}
		if len(events) > 0 {
			continue
		}
		beat.Reset(a.heartbeat)
		select {
		case <-grown:
		case <-beat.C:
			out = append(out, ": still here\n\n"...)
		case <-x.r.Context().Done():
			return nil
		case <-a.closing:
			return nil
		}
	}
}

// eventStart reads where a stream begins and which kind it is about.
func (a *API) eventStart(r *http.Request) (after int64, kind model.Kind, err error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return 0, "", model.E(model.CodeBadValue, "query")
	}
	for name := range q {
		if name != "from" && name != "kind" {
			return 0, "", model.E(model.CodeUnknownField, "query")
		}
	}
	kind = model.Kind(q.Get("kind"))
	if kind != "" && model.Machines[kind] == nil {
		return 0, "", model.E(model.CodeBadValue, "kind")
	}
	from, field := r.Header.Get("Last-Event-ID"), "Last-Event-ID"
	if from == "" {
		from, field = q.Get("from"), "from"
	}
	if from == "" {
		after, _ = a.entries.Head()
		return after, kind, nil
	}
	after, err = strconv.ParseInt(from, 10, 64)
	if err != nil || after < -1 {
		return 0, "", model.E(model.CodeBadValue, field)
	}
	return after, kind, nil
}

func appendEvent(b []byte, e *sdk.Event) []byte {
	b = strconv.AppendUint(append(b, "id: "...), e.Position, 10)
	b = member(b, "\ndata: {\"kind\":", string(e.Kind))
	b = member(b, `,"record":`, string(e.Record))
	b = memberHex(b, `,"leaf":`, e.Leaf[:])
	return append(appendHistory(append(b, ','), &e.HistoryEntry), "}\n\n"...)
}
