package httpapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/zhenglian/zhenglian/node/internal/httpapi"
)

// contract holds every exchange of every test here to the document that the node serves: the route, the status, the
// media type, the body of the answer, and of a request that was accepted its parameters and body. So a route or an
// answer that the document does not tell of fails the test in which it happens, whoever wrote that.
type contract struct {
	mu       sync.Mutex
	paths    map[string]map[string]contractOperation
	patterns *http.ServeMux
	compiler *jsonschema.Compiler
	compiled map[string]*jsonschema.Schema
	answered map[string]bool // operations that answered with success
}

type contractOperation struct {
	OperationID string
	Parameters  []struct{ Name, In string }
	RequestBody *struct {
		Content map[string]json.RawMessage
	}
	Responses map[string]struct {
		Content map[string]json.RawMessage
	}
}

// theContract is of the first site that a test opened; the document is the same for all.
var (
	theContract  *contract
	contractErr  error
	contractOnce sync.Once
)

func contractOf(api *httpapi.API) (*contract, error) {
	contractOnce.Do(func() { theContract, contractErr = newContract(api.Document()) })
	return theContract, contractErr
}

func newContract(raw []byte) (*contract, error) {
	c := &contract{patterns: http.NewServeMux(), compiler: jsonschema.NewCompiler(), compiled: map[string]*jsonschema.Schema{}, answered: map[string]bool{}}
	var doc struct {
		Paths map[string]map[string]contractOperation
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, err
	}
	c.paths = doc.Paths
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	if err := c.compiler.AddResource("mem://api", value); err != nil {
		return nil, err
	}
	for _, r := range httpapi.Routes() {
		c.patterns.HandleFunc(r.Method+" "+r.Path, func(http.ResponseWriter, *http.Request) {})
	}
	return c, nil
}

// watch lets a handler answer and reports, to faults, what the document does not tell of.
func (c *contract) watch(h http.Handler, faults func(error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, pattern := c.patterns.Handler(r)
		var asked bytes.Buffer
		r = r.WithContext(r.Context()) // a copy: the server goes by the body of its own request
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.TeeReader(r.Body, &asked), r.Body}
		seen := &witness{ResponseWriter: w}
		h.ServeHTTP(seen, r)
		if err := c.check(pattern, r, asked.Bytes(), seen); err != nil {
			faults(fmt.Errorf("%s %s: %w", r.Method, r.URL, err))
		}
	})
}

// witness keeps what a handler answers.
type witness struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (w *witness) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *witness) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *witness) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	if w.body.Len() < 4<<20 {
		w.body.Write(b)
	}
	return w.ResponseWriter.Write(b)
}

func (c *contract) check(pattern string, r *http.Request, asked []byte, seen *witness) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	media := seen.Header().Get("Content-Type")
	method, path, ok := strings.Cut(pattern, " ")
	item := c.paths[path]
	switch {
	case !ok: // nothing is there, and only a problem can say so
		return c.fits("/components/schemas/Problem", seen.body.Bytes())
	case item == nil: // the page, the document
		if path != "/{$}" && path != "/openapi.json" && path != "/join" {
			return errors.New("the route is not in the document")
		}
		return nil
	}
	op := item[strings.ToLower(method)]
	at := "/paths/" + pointer(path) + "/" + strings.ToLower(method)
	answer, ok := op.Responses[strconv.Itoa(seen.status)]
	if !ok {
		return fmt.Errorf("the document does not tell of status %d", seen.status)
	}
	if len(answer.Content) > 0 || seen.body.Len() > 0 {
		if answer.Content[media] == nil {
			return fmt.Errorf("the document does not tell of %q with status %d", media, seen.status)
		}
		if strings.HasSuffix(media, "json") {
			if err := c.fits(at+"/responses/"+strconv.Itoa(seen.status)+"/content/"+pointer(media)+"/schema", seen.body.Bytes()); err != nil {
				return err
			}
		}
	}
	if seen.status >= 400 {
		return nil
	}
	c.answered[op.OperationID] = true
	for name := range r.URL.Query() {
		if !slices.ContainsFunc(op.Parameters, func(p struct{ Name, In string }) bool { return p.Name == name && p.In == "query" }) {
			return fmt.Errorf("the document does not tell of the parameter %q", name)
		}
	}
	if op.RequestBody != nil && op.RequestBody.Content["application/json"] != nil {
		if err := c.fits(at+"/requestBody/content/application~1json/schema", asked); err != nil {
			return fmt.Errorf("accepted, and the document refuses it: %w", err)
		}
	}
	return nil
}

// fits is called with mu held.
func (c *contract) fits(at string, body []byte) error {
	s := c.compiled[at]
	if s == nil {
		var err error
		if s, err = c.compiler.Compile("mem://api#" + at); err != nil {
			return err
		}
		c.compiled[at] = s
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("%w: %.200s", err, body)
	}
	if err := s.Validate(v); err != nil {
		return fmt.Errorf("%w\n%.400s", err, body)
	}
	return nil
}

// pointer writes a member's name as a part of a JSON pointer in a URL's fragment.
func pointer(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(s)
}

// neverSucceed are the operations without a success yet, with the reason.
var neverSucceed = map[string]string{
	"elssp-file-by-id":     "nodes hold digests of files and no files",
	"elssp-file-by-holder": "nodes hold digests of files and no files",
}

// After all tests every documented operation has been answered at least once: one that no test asks for is not held
// to anything.
func TestMain(m *testing.M) {
	code := m.Run()
	all := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" && flag.Lookup("test.list").Value.String() == ""
	if code == 0 && all && theContract != nil {
		for path, item := range theContract.paths {
			for method, op := range item {
				if !theContract.answered[op.OperationID] && neverSucceed[op.OperationID] == "" {
					fmt.Printf("no test asks for %s %s with success: add one, so that its answer is held to /openapi.json\n", strings.ToUpper(method), path)
					code = 1
				}
			}
		}
	}
	os.Exit(code)
}
