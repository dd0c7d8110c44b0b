package httpapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
)

// openAPI is what of OpenAPI 3.1's own schema the document can break: the shapes of its parts.
const openAPI = `{
 "$schema": "https://json-schema.org/draft/2020-12/schema",
 "type": "object", "required": ["openapi", "info", "paths", "components"],
 "properties": {
  "openapi": {"pattern": "^3\\.1\\.\\d+$"},
  "info": {"type": "object", "required": ["title", "version"]},
  "tags": {"type": "array", "items": {"type": "object", "required": ["name"]}},
  "paths": {"type": "object", "patternProperties": {"^/": {"type": "object", "minProperties": 1,
   "patternProperties": {"^(get|put|post|delete|patch|head|options|trace)$": {"$ref": "#/$defs/operation"}}, "additionalProperties": false}}, "additionalProperties": false},
  "components": {"type": "object", "required": ["schemas", "securitySchemes"], "properties": {
   "schemas": {"type": "object", "propertyNames": {"pattern": "^[a-zA-Z0-9._-]+$"}},
   "securitySchemes": {"type": "object", "additionalProperties": {"type": "object", "required": ["type"]}}}}
 },
 "$defs": {
  "operation": {"type": "object", "required": ["operationId", "summary", "tags", "responses"], "properties": {
   "operationId": {"type": "string", "minLength": 1},
   "parameters": {"type": "array", "items": {"type": "object", "required": ["name", "in", "schema"],
     "properties": {"in": {"enum": ["path", "query", "header", "cookie"]}},
     "if": {"properties": {"in": {"const": "path"}}}, "then": {"required": ["required"], "properties": {"required": {"const": true}}}}},
   "requestBody": {"type": "object", "required": ["content"], "properties": {"content": {"$ref": "#/$defs/content"}}},
   "responses": {"type": "object", "required": ["default"], "patternProperties": {"^([1-5]\\d\\d|default)$": {"type": "object", "required": ["description"], "properties": {"content": {"$ref": "#/$defs/content"}}}}, "additionalProperties": false}}},
  "content": {"type": "object", "minProperties": 1, "additionalProperties": {"type": "object", "required": ["schema"]}}
 }
}`

type apiDocument struct {
	Paths map[string]map[string]struct {
		OperationID string `json:"operationId"`
		Security    []map[string][]string
		Parameters  []struct{ Name, In string }
		Description string
	}
	Components struct {
		Schemas map[string]json.RawMessage
	}
}

func TestOpenAPI(t *testing.T) {
	s := open(t)
	status, h, raw := s.ask(t, "", "GET", "/openapi.json", "")
	if status != 200 || h.Get("Content-Type") != "application/openapi+json" {
		t.Fatalf("%d %v", status, h)
	}
	compiler := jsonschema.NewCompiler()
	rules, err := jsonschema.UnmarshalJSON(strings.NewReader(openAPI))
	if err != nil {
		t.Fatal(err)
	}
	if err := compiler.AddResource("openapi", rules); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("openapi")
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Errorf("the document breaks OpenAPI 3.1: %v", err)
	}

	doc := decode[apiDocument](t, raw)
	ids := map[string]bool{}
	for _, r := range httpapi.Routes() {
		op, ok := doc.Paths[r.Path][strings.ToLower(r.Method)]
		if r.Path == "/{$}" || r.Path == "/openapi.json" || r.Path == "/join" { // between nodes: docs/design/0025
			continue
		}
		if !ok {
			t.Errorf("%s %s is not documented", r.Method, r.Path)
			continue
		}
		if ids[op.OperationID] {
			t.Errorf("two operations are %q", op.OperationID)
		}
		ids[op.OperationID] = true
		if (len(op.Security) == 0) != r.Open {
			t.Errorf("%s %s: security %v, open %v", r.Method, r.Path, op.Security, r.Open)
		}
		if r.Action != "" && !strings.Contains(op.Description, "`"+r.Action+"`") {
			t.Errorf("%s %s does not say that it needs %s", r.Method, r.Path, r.Action)
		}
		for _, m := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(r.Path, -1) {
			if !slices.ContainsFunc(op.Parameters, func(p struct{ Name, In string }) bool { return p.Name == m[1] && p.In == "path" }) {
				t.Errorf("%s %s: no parameter %s", r.Method, r.Path, m[1])
			}
		}
	}
	n := 0
	for _, item := range doc.Paths {
		n += len(item)
	}
	if n != len(ids) {
		t.Errorf("%d operations documented, %d routes", n, len(ids))
	}

	for _, m := range regexp.MustCompile(`"\$ref":"#/components/schemas/([^"]+)"`).FindAllSubmatch(raw, -1) {
		if doc.Components.Schemas[string(m[1])] == nil {
			t.Errorf("a reference to %s leads nowhere", m[1])
		}
	}
	var problem struct {
		Properties struct {
			Code struct{ Enum []model.Code }
		}
	}
	if err := json.Unmarshal(doc.Components.Schemas["Problem"], &problem); err != nil || !slices.Equal(problem.Properties.Code.Enum, model.Codes()) {
		t.Errorf("%v: codes %v", err, problem.Properties.Code.Enum)
	}
}

// What the node answers is what the document says.
func TestAnswersFitTheDocument(t *testing.T) {
	s := open(t)
	_, _, raw := s.ask(t, "", "GET", "/openapi.json", "")
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("mem://api", value); err != nil {
		t.Fatal(err)
	}
	fits := func(what, schema string, answer []byte) {
		t.Helper()
		c, err := compiler.Compile("mem://api#/components/schemas/" + schema)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(answer))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Validate(v); err != nil {
			t.Errorf("%s is no %s: %v\n%s", what, schema, err, answer)
		}
	}
	ask := func(as auth.Role, method, path, body string) []byte {
		_, _, raw := s.ask(t, as, method, path, body)
		return raw
	}
	fits("an outcome", "Outcome", ask(auth.Drafter, "POST", "/v1/operations", draft))
	fits("a verdict", "Verdict", ask(auth.Verifier, "POST", "/v1/verify", `{"record":"bj-scjg.1"}`))
	fits("a verdict on nothing", "Verdict", ask(auth.Verifier, "POST", "/v1/verify", `{"record":"bj-scjg.9"}`))
	fits("a record", "Record", ask(auth.Auditor, "GET", "/v1/records/licence/bj-scjg.1", ""))
	fits("a history", "HistoryPage", ask(auth.Auditor, "GET", "/v1/records/licence/bj-scjg.1/history", ""))
	fits("a list", "RecordPage", ask(auth.Auditor, "GET", "/v1/registry/agencies", ""))
	fits("a public verdict", "PublicVerdict", ask("", "POST", "/public/verify", fmt.Sprintf(`{"number":"x","type":%q}`, newLicence("").Type)))
	fits("a problem", "Problem", ask(auth.Auditor, "GET", "/v1/nothing", ""))
	fits("an element's problem", "Problem", ask(auth.Drafter, "POST", "/v1/operations", `[{}]`))
	fits("a parameter's problem", "Problem", ask(auth.Auditor, "GET", "/v1/registry/agencies?limit=x", ""))
}
