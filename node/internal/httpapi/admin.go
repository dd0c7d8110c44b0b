package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Operator is what the admin listener does for whoever holds the node's admin token: who may read the node's
// folder may do what its operators may.
type Operator struct {
	Token  string                  // sent as "Authorization: Bearer TOKEN"; "" lets nobody in
	Level  *slog.LevelVar          // of the log, changed at run time
	Routes map[string]http.Handler // further ones, by their pattern on the mux
}

// Admin is the handler of the admin listener, which only the node's own machine reaches: /metrics, and /readyz
// that names each component and the cause, for everybody there; for the operator also /loglevel, /debug/pprof and
// the operator's routes. o may be nil.
func (a *API) Admin(g prometheus.Gatherer, o *Operator) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{MaxRequestsInFlight: 4}))
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		r := a.readiness()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(readyStatus(r.Status))
		_ = json.NewEncoder(w).Encode(r) // the prober may be gone
	})
	if o == nil {
		return mux
	}
	for pattern, h := range o.Routes {
		mux.Handle(pattern, o.guard(h))
	}
	mux.Handle("GET /loglevel", o.guard(http.HandlerFunc(o.getLevel)))
	mux.Handle("PUT /loglevel", o.guard(http.HandlerFunc(o.putLevel)))
	mux.Handle("/debug/pprof/", o.guard(http.HandlerFunc(pprof.Index)))
	mux.Handle("/debug/pprof/cmdline", o.guard(http.HandlerFunc(pprof.Cmdline)))
	mux.Handle("/debug/pprof/profile", o.guard(http.HandlerFunc(pprof.Profile)))
	mux.Handle("/debug/pprof/symbol", o.guard(http.HandlerFunc(pprof.Symbol)))
	mux.Handle("/debug/pprof/trace", o.guard(http.HandlerFunc(pprof.Trace)))
	return mux
}

// guard lets the operator through. Digests are compared, in constant time: they have one length whatever is sent.
func (o *Operator) guard(h http.Handler) http.Handler {
	want := sha256.Sum256([]byte(o.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(token))
		w.Header().Set("Cache-Control", "no-store")
		if subtle.ConstantTimeCompare(got[:], want[:]) != 1 || !bearer || o.Token == "" {
			AdminFail(w, model.E(model.CodeUnauthenticated))
			return
		}
		h.ServeHTTP(w, r)
	})
}

// AdminFail answers with a problem.
func AdminFail(w http.ResponseWriter, err error) {
	p := problemOf(err)
	setErrorHeaders(w.Header(), err, p.Status)
	w.Header()["Content-Type"] = problems
	w.WriteHeader(p.Status)
	_, _ = w.Write(appendProblem(nil, p)) // the client may be gone
}

type levelDocument struct {
	Level string `json:"level"` // DEBUG, INFO, WARN, ERROR
}

func (o *Operator) getLevel(w http.ResponseWriter, _ *http.Request) {
	w.Header()["Content-Type"] = jsonType
	_ = json.NewEncoder(w).Encode(levelDocument{o.Level.Level().String()})
}

func (o *Operator) putLevel(w http.ResponseWriter, r *http.Request) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 256))
	if err != nil {
		AdminFail(w, model.E(model.CodeTooLarge))
		return
	}
	var d levelDocument
	var level slog.Level
	if _, err := model.DecodeStrict(raw, &d); err != nil {
		AdminFail(w, err)
		return
	}
	if level.UnmarshalText([]byte(d.Level)) != nil {
		AdminFail(w, model.E(model.CodeBadValue, "level").OneOf("debug", "info", "warn", "error"))
		return
	}
	o.Level.Set(level)
	o.getLevel(w, r)
}
