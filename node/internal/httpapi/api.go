// Package httpapi is the node's REST API: routes under /v1, errors as RFC 9457 problems with the codes of
// package model, OpenAPI 3.1 at /openapi.json, server-sent events, the public page, and the handler of the
// admin listener.
//
// Reading order: seams.go (what it needs of the node), routes.go (the table of routes), exchange.go (the way
// of every request), then a file for each group of routes.
//
// Two kinds of handlers meet on one mux. Reading routes are huma's: it reads their parameters and writes
// their documents. Routes with a body are written here: every body meets one strict decoder, and the two hot
// ones (operations, verify) neither reflect nor copy more than they must.
package httpapi

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Config is everything that the API needs.
type Config struct {
	Gate     Gate
	Intake   Intake
	Records  Records
	Log      Log
	Verifier Verifier
	Health   Health
	Login    Login // nil: browsers do not sign in
	Inbox    Inbox
	Batches  Batches
	Agencies Agencies
	People   People  // nil: as one that has none
	Imports  Imports // nil: the node runs none
	Search   Search  // nil: as one that is never ready
	Joining  Joining // nil: nobody is invited
	Tracer   Tracer  // nil: no request is followed

	Access       Access       // nil: nothing is logged, which only tests want
	AccessReader AccessReader // nil: there is nothing to read

	Temporary  string                // folder for sheets that are being put together; default: the system's
	Version    string                // of the program, for the OpenAPI document
	Logger     *slog.Logger          // default: slog.Default()
	Registerer prometheus.Registerer // nil: metrics are counted and not registered
	Clock      func() time.Time      // default: time.Now
	MaxStreams int                   // clients of the stream of events at once; default 256
	Heartbeat  time.Duration         // between comments on a quiet stream; default 15 s
}

// API answers requests. Safe for concurrent use.
type API struct {
	gate     Gate
	intake   Intake
	records  Records
	entries  Log
	verifier Verifier
	health   Health
	login    Login
	inbox    Inbox
	batches  Batches
	search   Search
	agencies Agencies
	people   People
	imports  Imports
	joining  Joining
	tracer   Tracer

	temporary string
	exports   exports
	pages     turns

	access       Access
	accessReader AccessReader

	log        *slog.Logger
	now        func() time.Time
	metrics    *metrics
	mux        *http.ServeMux
	run        string // begins the ids of this run's requests
	requests   atomic.Uint64
	maxStreams int
	streams    atomic.Int64
	heartbeat  time.Duration
	closing    chan struct{}
	closeOnce  sync.Once
	document   []byte // openapi.json
}

// New builds the API. It fails only on a Config with a part missing.
func New(c Config) (*API, error) {
	if c.Gate == nil || c.Intake == nil || c.Records == nil || c.Log == nil || c.Verifier == nil || c.Health == nil || c.Inbox == nil || c.Batches == nil || c.Agencies == nil {
		return nil, errors.New("httpapi: a part of the node is missing")
	}
	a := &API{
		gate: c.Gate, intake: c.Intake, records: c.Records, entries: c.Log, verifier: c.Verifier, health: c.Health,
		inbox: c.Inbox, login: c.Login, joining: c.Joining, batches: c.Batches, access: c.Access, accessReader: c.AccessReader,
		log: c.Logger, now: c.Clock, metrics: newMetrics(c.Registerer), mux: http.NewServeMux(),
		run: rand.Text()[:8] + "-", maxStreams: c.MaxStreams, heartbeat: c.Heartbeat, closing: make(chan struct{}),
	}
	a.imports, a.tracer, a.agencies = c.Imports, c.Tracer, c.Agencies
	if a.search, a.temporary = c.Search, c.Temporary; a.search == nil {
		a.search = noSearch{}
	}
	if a.people = c.People; a.people == nil {
		a.people = noPeople{}
	}
	if a.access == nil {
		a.access = unlogged{}
	}
	if a.accessReader == nil {
		a.accessReader = unlogged{}
	}
	if a.log == nil {
		a.log = slog.Default()
	}
	if a.now == nil {
		a.now = time.Now
	}
	if a.maxStreams <= 0 {
		a.maxStreams = defaultStreams
	}
	if a.heartbeat <= 0 {
		a.heartbeat = defaultBeat
	}
	return a, a.register(c.Version)
}

// Handler answers the API's listener.
func (a *API) Handler() http.Handler { return a.mux }

// Close ends the streams of events, so that a server that shuts down need not wait for them.
func (a *API) Close() { a.closeOnce.Do(func() { close(a.closing) }) }

// NewServer is a server with the API's limits in time and size. A client has 10 s for the header and 60 s
// for the whole request; an answer may take a minute; streams extend their own deadline.
func (a *API) NewServer() *http.Server {
	s := &http.Server{
		Handler:           a.mux,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       60 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelWarn),
	}
	s.RegisterOnShutdown(a.Close)
	return s
}

// register puts every route on the mux. The open ones answer before sign-in because the table says so, and
// a route that the table does not hold has no way onto the mux.
func (a *API) register(version string) error {
	h := newDocument(version)
	h.api = humago.New(routeMux{a}, h.config)

	read(a, h, routeOutcome, a.getOutcome)
	read(a, h, routeRecord, a.getRecord)
	read(a, h, routeHistory, a.getHistory)
	read(a, h, routeLicence, a.getLicence)
	read(a, h, routeRegistryList, a.getRegistryList)
	read(a, h, routeRegistryEntry, a.getRegistryEntry)
	read(a, h, routeAccess, a.getAccess)
	read(a, h, routePeople, a.getPeople)
	read(a, h, routeUser, a.getUser)
	read(a, h, routeKeys, a.getKeys)

	for rt, handle := range map[*route]handler{
		routePage: a.getPage, routeHealthz: a.getHealthz, routeReadyz: a.getReadyz,
		routeOpenAPI: a.getOpenAPI, routePublicVerify: a.postPublicVerify, routeJoin: a.postJoin,
		routeSubmit: a.postOperations, routeVerify: a.postVerify, routeEvents: a.getEvents,
		routeIssue: a.postLicence, routeLicenceAct: a.postLicenceAct,
		routePropose: a.postProposal, routeApprove: a.postApproval, routeEnact: a.postEnactment, routeClose: a.postClose,
		routeDelegate:      a.postDelegation,
		routeEndDelegation: a.postRecordAct(model.EndDelegation, model.KindDelegation),
		routeHostParty:     a.postParty,
		routeReleaseParty:  a.postRecordAct(model.ReleaseParty, model.KindParty),
		routeRotateKey:     a.postKey, routeEndpoint: a.putEndpoint,
		routeWhoami: a.getWhoami,
		routeLogin:  a.getLogin, routeCallback: a.getCallback, routeLogout: a.postLogout,
		routeDrafts: a.getDrafts, routeDraft: a.getDraft, routeApproveDraft: a.postApproveDraft, routeRejectDraft: a.postRejectDraft,
		routeWithdrawDraft: a.postWithdrawDraft, routeResendDraft: a.postResendDraft,
		routeRegisterBatch: a.postBatch, routeBatch: a.getBatch,
		routeSearch: a.getSearch, routeSearchExport: a.getSearchExport,
		routeImports: a.getImports, routeNewImport: a.postImport, routeImport: a.getImport, routeImportEvents: a.getImportEvents,
		routeImportRejects: a.getImportRejects, routeCancelImport: a.postCancelImport, routeUndoImport: a.postUndoImport,
		routeAddUser: a.postUser, routeChangeUser: a.putUser, routeDisableUser: a.postUserSwitch(DisableUser), routeEnableUser: a.postUserSwitch(EnableUser),
		routeIssueKey: a.postAPIKey, routeRevokeKey: a.postRevokeKey, routeDrawKey: a.postDrawKey,
		routeElsewhere: func(*exchange) error { return model.E(model.CodeNotFound) },
	} {
		a.mux.Handle(rt.pattern(), a.wrap(rt, handle))
	}
	for rt, handle := range a.elsspRoutes() {
		a.mux.Handle(rt.pattern(), a.wrap(rt, handle))
	}
	h.writeRoutes()
	h.writeSearch()
	h.writeImports()
	h.peopleRoutes()
	h.writeElssp()
	var err error
	a.document, err = h.finish()
	return err
}

// routeMux is the mux as huma sees it: what huma registers goes the way of every request.
type routeMux struct{ a *API }

func (m routeMux) HandleFunc(pattern string, h func(http.ResponseWriter, *http.Request)) {
	for _, rt := range routes {
		if rt.pattern() == pattern {
			m.a.mux.Handle(pattern, m.a.wrap(rt, func(x *exchange) error {
				h(x, x.r.WithContext(context.WithValue(x.r.Context(), exchangeKey{}, x)))
				return nil
			}))
			return
		}
	}
	panic("httpapi: " + pattern + " is not in the table of routes")
}

func (m routeMux) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.a.mux.ServeHTTP(w, r) }

// read registers a reading route with huma.
func read[I, O any](a *API, d *document, rt *route, h func(context.Context, *I) (*O, error)) {
	huma.Register(d.api, d.operation(rt), func(ctx context.Context, in *I) (*O, error) {
		out, err := h(ctx, in)
		if err != nil {
			return nil, a.refuse(ctx, rt, err)
		}
		return out, nil
	})
}
