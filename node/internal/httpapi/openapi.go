package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// document is the OpenAPI document in the making. Reading routes are documented by huma as it registers
// them, routes with a body and open ones here.
type document struct {
	config huma.Config
	api    huma.API
}

func newDocument(version string) *document {
	if version == "" {
		version = "unversioned"
	}
	return &document{config: huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Zhenglian 证链", Version: version,
				Description: "The API of a Zhenglian node. Errors are RFC 9457 problems with a stable code; `written` says " +
					"whether a failed request may have written. Requests that write take an `Idempotency-Key`: the same " +
					"key and request give the same answer, however often they are sent.",
				License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"apiKey": {Type: "http", Scheme: "bearer", Description: "An API key of this node, zlk_…, or a token (JWT) of an OpenID Connect issuer that it trusts. Systems may present a client certificate instead."},
				},
			},
			Tags: []*huma.Tag{
				{Name: "operations", Description: "Everything that changes the ledger 操作"},
				{Name: "licences", Description: "Operations on licences in a friendlier shape 证照"},
				{Name: "verify", Description: "Verdicts 核验"},
				{Name: "elssp", Description: "The calls of licence sharing services 电子证照共享服务"},
				{Name: "records", Description: "What the ledger holds, and its history 记录"},
				{Name: "search", Description: "Finding licences 检索"},
				{Name: "registry", Description: "Organisations, agencies, types, proposals 登记簿"},
				{Name: "people", Description: "Who is signed in 人员"},
				{Name: "inbox", Description: "What waits for another person's approval 待办"},
				{Name: "access", Description: "Who looked at what, at this node 访问日志"},
				{Name: "open", Description: "Without sign-in 公开"},
			},
		},
		Formats:                      map[string]huma.Format{"application/json": huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
	}}
}

func (d *document) schema(v any) *huma.Schema {
	t := reflect.TypeOf(v)
	return d.config.Components.Schemas.Schema(t, true, t.Name())
}

func content(mediaType string, s *huma.Schema) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{mediaType: {Schema: s}}
}

// oneOrMany is a value or an array of at most most.
func oneOrMany(s *huma.Schema, most int) *huma.Schema {
	least := 1
	return &huma.Schema{OneOf: []*huma.Schema{s, {Type: huma.TypeArray, Items: s, MinItems: &least, MaxItems: &most}}}
}

// named makes a schema a component, so that generated clients have a type for it with a name.
func (d *document) named(name string, s *huma.Schema) *huma.Schema {
	d.config.Components.Schemas.Map()[name] = s
	return &huma.Schema{Ref: "#/components/schemas/" + name}
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

// operation is what the table of routes says of a route.
func (d *document) operation(rt *route) huma.Operation {
	op := huma.Operation{
		Method: rt.method, Path: rt.path, OperationID: rt.id, Tags: []string{rt.tag}, Hidden: rt.hidden,
		Summary: rt.summary + " " + rt.zh, Responses: map[string]*huma.Response{},
	}
	if !rt.open {
		op.Security = []map[string][]string{{"apiKey": {}}}
	}
	if rt.action != "" {
		op.Description = "Needs the right `" + rt.action + "`."
	}
	return op
}

// written is what a route with a body takes and answers.
type written struct {
	rt   *route
	in   *huma.Schema
	out  *huma.Schema
	note string
}

// writeRoutes documents the routes that huma does not register.
func (d *document) writeRoutes() {
	outcome := d.schema(model.Outcome{})
	for _, w := range []written{
		{routeSubmit, d.named("Drafts", oneOrMany(d.schema(model.Draft{}), model.MaxOperations)), d.named("Outcomes", oneOrMany(outcome, model.MaxOperations)),
			"An array is accepted whole or not at all: a problem names the first bad element by `index` and nothing was " +
				"written. Accepted operations then have their outcomes one by one. 200: none is pending; 202: ask " +
				"`/v1/operations/{id}` later. One refused operation is answered with its problem. Needs the right named as each operation's type."},
		{routeIssue, d.schema(sdk.NewLicence{}), outcome, ""},
		{routeLicenceAct, d.schema(sdk.LicenceAct{}), outcome, "Needs the right `licence.<act>`."},
		{routePropose, d.schema(sdk.NewProposal{}), outcome, ""},
		{routeApprove, d.schema(sdk.ProposalAct{}), outcome, "`content` and `registry` are required: what the approver saw."},
		{routeEnact, d.schema(sdk.ProposalAct{}), outcome, "Needs also the right named as the proposal's action."},
		{routeClose, d.schema(sdk.ProposalAct{}), outcome, ""},
		{routeDelegate, d.schema(sdk.NewDelegation{}), outcome, ""},
		{routeEndDelegation, d.schema(sdk.RecordAct{}), outcome, ""},
		{routeHostParty, d.schema(sdk.NewParty{}), outcome, ""},
		{routeReleaseParty, d.schema(sdk.RecordAct{}), outcome, ""},
		{routeRotateKey, d.schema(sdk.NewKey{}), outcome, ""},
		{routeEndpoint, d.schema(sdk.NewEndpoint{}), outcome, ""},
	} {
		op := d.body(w)
		op.Responses["202"] = &huma.Response{Description: "Accepted, not all committed yet; or stored until another person has approved: then with `draft`",
			Content: content("application/json", &huma.Schema{OneOf: []*huma.Schema{w.out, d.schema(sdk.DecidedDraft{})}})}
		op.Parameters = append(op.Parameters,
			&huma.Param{Name: "Idempotency-Key", In: "header", Schema: &huma.Schema{Type: huma.TypeString},
				Description: "1 to 128 visible ASCII characters. The same key and request give the same answer; another request under it is refused."},
			&huma.Param{Name: headerBatch, In: "header", Schema: &huma.Schema{Type: huma.TypeString},
				Description: "The id of the open batch that the request belongs to."},
			&huma.Param{Name: "wait", In: "query", Schema: &huma.Schema{Type: huma.TypeString, Enum: []any{"committed", "accepted"}, Default: "committed"},
				Description: "committed waits up to 10 seconds; accepted answers once the operations are durable."})
		d.config.AddOperation(op)
	}
	d.inboxRoutes()
	d.config.AddOperation(d.body(written{routeVerify, d.named("Queries", oneOrMany(d.schema(model.Query{}), model.MaxQueries)), d.named("Verdicts", oneOrMany(d.schema(model.Verdict{}), model.MaxQueries)),
		"Each query names one licence: by `record`, `identifier`, `number` with `type`, or `file`."}))
	d.config.AddOperation(d.body(written{routePublicVerify, d.schema(sdk.PublicQuery{}), d.schema(sdk.PublicVerdict{}), "Rate-limited by address; tells nothing of the holder."}))

	for _, rt := range []*route{routeHealthz, routeReadyz} {
		op := d.operation(rt)
		op.Responses["200"] = &huma.Response{Description: "ok, or degraded", Content: content("application/json", d.schema(statusWord{}))}
		if rt == routeReadyz {
			op.Responses["503"] = &huma.Response{Description: "failed", Content: content("application/json", d.schema(statusWord{}))}
		}
		d.config.AddOperation(&op)
	}
	whoami := d.operation(routeWhoami)
	whoami.Responses["200"] = &huma.Response{Description: "OK", Content: content("application/json", d.schema(sdk.Whoami{}))}
	d.config.AddOperation(&whoami)
	for rt, answer := range map[*route][2]string{
		routeLogin: {"302", "To the identity provider"}, routeCallback: {"200", "Signed in; the page goes on by itself"}, routeLogout: {"204", "Signed out"},
	} {
		op := d.operation(rt)
		op.Responses[answer[0]] = &huma.Response{Description: answer[1]}
		page := content(pageType[0], &huma.Schema{Type: huma.TypeString})
		switch rt {
		case routeLogin:
			op.Responses[answer[0]].Content = page
			op.Parameters = []*huma.Param{
				{Name: "issuer", In: "query", Schema: &huma.Schema{Type: huma.TypeString}, Description: "Which identity provider, where the node knows several."},
				{Name: "next", In: "query", Schema: &huma.Schema{Type: huma.TypeString}, Description: "Path on this node to go on to."},
			}
		case routeCallback:
			op.Responses[answer[0]].Content = page
			for _, name := range []string{"code", "state", "iss", "session_state", "error", "error_description"} {
				op.Parameters = append(op.Parameters, &huma.Param{Name: name, In: "query", Schema: &huma.Schema{Type: huma.TypeString}, Description: "As the identity provider gave it."})
			}
		}
		d.config.AddOperation(&op)
	}
	events := d.operation(routeEvents)
	events.Description += " Each event's data is an Event and its id the position; a client that comes back with Last-Event-ID misses nothing."
	events.Responses["200"] = &huma.Response{Description: "The stream", Content: content("text/event-stream", d.schema(sdk.Event{}))}
	events.Parameters = []*huma.Param{
		{Name: "Last-Event-ID", In: "header", Schema: &huma.Schema{Type: huma.TypeInteger}, Description: "Begin after this position."},
		{Name: "from", In: "query", Schema: &huma.Schema{Type: huma.TypeInteger}, Description: "Begin after this position; -1: from the first. By default with what comes next."},
		{Name: "kind", In: "query", Schema: &huma.Schema{Type: huma.TypeString}, Description: "Only this kind of record."},
	}
	d.config.AddOperation(&events)
}

func (d *document) body(w written) *huma.Operation {
	op := d.operation(w.rt)
	op.Description = w.note + func() string {
		if op.Description != "" && w.note != "" {
			return " "
		}
		return ""
	}() + op.Description
	for _, name := range pathParameter.FindAllStringSubmatch(w.rt.path, -1) {
		p := &huma.Param{Name: name[1], In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString}}
		if name[1] == "act" {
			for act := range licenceActs {
				p.Schema.Enum = append(p.Schema.Enum, act)
			}
			slices.SortFunc(p.Schema.Enum, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		}
		op.Parameters = append(op.Parameters, p)
	}
	op.RequestBody = &huma.RequestBody{Required: true, Content: content("application/json", w.in),
		Description: "At most " + strconv.Itoa(w.rt.limit) + " bytes."}
	op.Responses["200"] = &huma.Response{Description: "OK", Content: content("application/json", w.out)}
	return &op
}

// finish gives every operation its problems, lists the codes, and encodes the document.
func (d *document) finish() ([]byte, error) {
	problem := d.schema(model.Problem{})
	p := d.config.Components.Schemas.Map()["Problem"].Properties
	p["code"].Description = "Stable: programs branch on it."
	for _, c := range model.Codes() {
		p["code"].Enum = append(p["code"].Enum, string(c))
	}
	p["written"].Enum = []any{"nothing", "perhaps"}
	draft := d.config.Components.Schemas.Map()["Draft"]
	draft.Required = []string{"type"}
	draft.Properties["agency"].Description = "The caller's by default."
	for _, rt := range routes {
		op := d.documented(rt)
		if op == nil {
			continue
		}
		for _, status := range problemStatuses(rt) {
			if name := strconv.Itoa(status); op.Responses[name] == nil {
				op.Responses[name] = &huma.Response{Description: problemMeaning[status], Content: content("application/problem+json", problem)}
			}
		}
		if rt == routeLogin || rt == routeCallback { // a browser is told in words
			for status, r := range op.Responses {
				if status >= "400" {
					r.Content[pageType[0]] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
				}
			}
		}
		op.Responses["default"] = &huma.Response{Description: "A problem", Content: content("application/problem+json", problem)}
		if rt.envelope {
			for status, r := range op.Responses {
				if status >= "400" { // "default", too; a problem only where the access log could not take the entry
					r.Content["application/json"] = &huma.MediaType{Schema: d.schema(sdk.ElsspAnswer{})}
				}
			}
		}
	}
	d.openAnswers()
	return json.Marshal(d.config.OpenAPI)
}

// documented is what the document says of a route, nil for a hidden one.
func (d *document) documented(rt *route) *huma.Operation {
	item := d.config.Paths[rt.path]
	if item == nil || rt.hidden {
		return nil
	}
	switch rt.method {
	case http.MethodGet:
		return item.Get
	case http.MethodPost:
		return item.Post
	case http.MethodPut:
		return item.Put
	case http.MethodPatch:
		return item.Patch
	case http.MethodDelete:
		return item.Delete
	}
	return nil
}

var problemMeaning = map[int]string{
	http.StatusBadRequest: "The request is malformed", http.StatusUnauthorized: "Not signed in", http.StatusForbidden: "Without the right",
	http.StatusNotFound: "There is no such thing", http.StatusConflict: "What the request relies on has changed",
	http.StatusRequestEntityTooLarge: "The body is too large", http.StatusUnprocessableEntity: "A rule refuses it",
	http.StatusTooManyRequests: "Too many requests; see Retry-After", http.StatusInternalServerError: "A fault of the node",
	http.StatusServiceUnavailable: "Nothing was written, safe to send again; see Retry-After", http.StatusGatewayTimeout: "Perhaps written: ask by the operation or send again under the same key",
}

// problemStatuses are the statuses of the problems that a route may answer with. It follows from the row in the table
// of routes, so that a new row is documented by being there.
func problemStatuses(rt *route) []int {
	all := []int{http.StatusBadRequest, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable}
	if !rt.open {
		all = append(all, http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound)
	}
	if rt == routeLogin || rt == routeCallback { // open to who is about to sign in
		all = append(all, http.StatusUnauthorized, http.StatusNotFound)
	}
	if rt.limit > 0 {
		all = append(all, http.StatusRequestEntityTooLarge)
	}
	if rt.method != http.MethodGet && !rt.open && rt != routeVerify {
		all = append(all, http.StatusConflict, http.StatusUnprocessableEntity, http.StatusGatewayTimeout)
	}
	return all
}

// openAnswers lets the schemas that only answers use have further members: a newer node may say more, and a client
// that was made from this document goes on reading it. What a request uses stays closed, as the decoder is.
func (d *document) openAnswers() {
	schemas := d.config.Components.Schemas.Map()
	asked := map[string]bool{}
	var walk func(s *huma.Schema)
	walk = func(s *huma.Schema) {
		if s == nil {
			return
		}
		if name, ok := strings.CutPrefix(s.Ref, "#/components/schemas/"); ok && !asked[name] {
			asked[name] = true
			walk(schemas[name])
		}
		walk(s.Items)
		for _, p := range s.Properties {
			walk(p)
		}
		for _, p := range s.OneOf {
			walk(p)
		}
		if of, ok := s.AdditionalProperties.(*huma.Schema); ok {
			walk(of)
		}
	}
	for _, rt := range routes {
		if op := d.documented(rt); op != nil && op.RequestBody != nil {
			for _, c := range op.RequestBody.Content {
				walk(c.Schema)
			}
		}
	}
	for name, s := range schemas {
		if !asked[name] && s.AdditionalProperties == false {
			s.AdditionalProperties = nil
		}
	}
}

func (a *API) getOpenAPI(x *exchange) error {
	h := x.Header()
	h["Content-Type"] = []string{"application/openapi+json"}
	x.WriteHeader(http.StatusOK)
	_, _ = x.Write(a.document) // the client may be gone
	return nil
}

// Document is /openapi.json.
func (a *API) Document() []byte { return bytes.Clone(a.document) }
