package httpapi_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
)

func nested(n int) string { return strings.Repeat(`{"a":`, n) + "1" + strings.Repeat("}", n) }

// Whatever is sent, the answer is a stable code, and nothing was accepted.
func TestBadOperations(t *testing.T) {
	s := open(t)
	body := func(b string) string { return `{"agency":"bj-scjg","type":"licence.issue","body":` + b + `}` }
	tests := []struct {
		name, body string
		want       model.Code
		field      string
		index      int // −1: none
	}{
		{"nothing", ``, model.CodeInvalidJSON, "", -1},
		{"space", `  `, model.CodeInvalidJSON, "", -1},
		{"no JSON", `licence`, model.CodeInvalidJSON, "", -1},
		{"cut short", draft[:len(draft)-2], model.CodeInvalidJSON, "", -1},
		{"array cut short", "[" + draft, model.CodeInvalidJSON, "", -1},
		{"two values", draft + draft, model.CodeInvalidJSON, "", -1},
		{"comma at the end", "[" + draft + ",]", model.CodeInvalidJSON, "", -1},
		{"brackets crossed", `[{"type":"licence.issue"]}`, model.CodeInvalidJSON, "", 0},
		{"a text", `"x"`, model.CodeWrongType, "", -1},
		{"a number", `1`, model.CodeWrongType, "", -1},
		{"null", `null`, model.CodeWrongType, "", -1},
		{"an empty array", `[]`, model.CodeMissingField, "", -1},
		{"an array of texts", `["x"]`, model.CodeWrongType, "", 0},
		{"an array in an array", `[` + draft + `,[]]`, model.CodeWrongType, "", 1},
		{"an empty object", `{}`, model.CodeMissingField, "type", -1},
		{"second element empty", `[` + draft + `,{}]`, model.CodeMissingField, "type", 1},
		{"unknown member", `{"agency":"bj-scjg","type":"licence.issue","body":{},"person":"me"}`, model.CodeUnknownField, "person", -1},
		{"member in another case", `{"Type":"licence.issue","body":{}}`, model.CodeUnknownField, "Type", -1},
		{"duplicate member", `{"type":"licence.issue","type":"licence.issue","body":{}}`, model.CodeDuplicateKey, "", -1},
		{"duplicate member in body", body(`{"a":1,"a":1}`), model.CodeDuplicateKey, "body", -1},
		{"duplicate by escape", body(`{"a":1,"\u0061":1}`), model.CodeDuplicateKey, "body", -1},
		{"agency a number", `{"agency":1,"type":"licence.issue","body":{}}`, model.CodeWrongType, "agency", -1},
		{"version a text", `{"type":"licence.issue","version":"1","body":{}}`, model.CodeWrongType, "version", -1},
		{"version a fraction", `{"type":"licence.issue","version":1.5,"body":{}}`, model.CodeNumberNotInteger, "", -1},
		{"version negative", `{"type":"licence.issue","version":-1,"body":{}}`, model.CodeWrongType, "version", -1},
		{"version beyond 2^53", `{"type":"licence.issue","version":9007199254740993,"body":{}}`, model.CodeNumberNotInteger, "", -1},
		{"body a text", body(`"x"`), model.CodeWrongType, "body", -1},
		{"body an array", body(`[]`), model.CodeWrongType, "body", -1},
		{"confidential an array", `{"type":"licence.issue","body":{},"confidential":[]}`, model.CodeWrongType, "confidential", -1},
		{"unknown confidential member", `{"type":"licence.issue","body":{},"confidential":{"x":1}}`, model.CodeUnknownField, "x", -1},
		{"unknown type", `{"type":"licence.destroy","body":{}}`, model.CodeUnknownOperation, "type", -1},
		{"type too long", `{"type":"` + strings.Repeat("x", 65) + `","body":{}}`, model.CodeTooLong, "type", -1},
		{"unknown kind", `{"type":"licence.issue","kind":"passport","body":{}}`, model.CodeUnknownOperation, "kind", -1},
		{"bad agency", `{"agency":"BJ","type":"licence.issue","body":{}}`, model.CodeBadID, "agency", -1},
		{"agency overlong", `{"agency":"` + strings.Repeat("a", 10_000) + `","type":"licence.issue","body":{}}`, model.CodeBadID, "agency", -1},
		{"bad record", `{"type":"licence.issue","record":"bj-scjg.01","body":{}}`, model.CodeBadID, "record", -1},
		{"path in a record", `{"type":"licence.issue","record":"../etc","body":{}}`, model.CodeBadID, "record", -1},
		{"fraction in body", body(`{"a":1.5}`), model.CodeNumberNotInteger, "body", -1},
		{"exponent in body", body(`{"a":1e3}`), model.CodeNumberNotInteger, "body", -1},
		{"control character", body("{\"a\":\"x\x01\"}"), model.CodeControlCharacter, "body", -1},
		{"escaped control character", body(`{"a":"x\u0007"}`), model.CodeControlCharacter, "body", -1},
		{"line break in a text", body(`{"a":"x\ny"}`), model.CodeControlCharacter, "body", -1},
		{"direction mark", body("{\"a\":\"x\u202ey\"}"), model.CodeControlCharacter, "body", -1},
		{"byte order mark", "\ufeff" + draft, model.CodeInvalidJSON, "", -1},
		{"not UTF-8", body("{\"a\":\"\xff\xfe\"}"), model.CodeBadUTF8, "body", -1},
		{"GB18030 bytes", body("{\"a\":\"\xbe\xa9\"}"), model.CodeBadUTF8, "body", -1},
		{"lone surrogate", body(`{"a":"\ud800"}`), model.CodeBadUTF8, "body", -1},
		{"nested too deeply", body(nested(40)), model.CodeTooDeep, "body", -1},
		{"nested without end", strings.Repeat("[", 100_000), model.CodeTooDeep, "", -1},
		{"body over 64 KiB", body(`{"a":"` + strings.Repeat("x", 64<<10) + `"}`), model.CodeTooLarge, "body", -1},
		{"1,001 operations", "[" + strings.Repeat(draft+",", 1000) + draft + "]", model.CodeTooMany, "", -1},
		{"10 MB", body(`{"a":"` + strings.Repeat("x", 10_000_000) + `"}`), model.CodeTooLarge, "", -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := s.refused(t, auth.Drafter, "POST", "/v1/operations", tt.body, tt.want)
			if p.Field != tt.field || (p.Index == nil) != (tt.index < 0) || (p.Index != nil && *p.Index != tt.index) || p.Written != "nothing" {
				t.Errorf("%+v", p)
			}
			if len(p.Detail) > 200 {
				t.Errorf("detail of %d bytes", len(p.Detail))
			}
		})
	}
	if n := s.accepted(); n != 0 {
		t.Errorf("%d operations accepted", n)
	}
}

func TestBadQueries(t *testing.T) {
	s := open(t)
	const q = `{"record":"bj-scjg.1"}`
	for _, tt := range []struct {
		name, body string
		want       model.Code
		field      string
	}{
		{"nothing named", `{}`, model.CodeMissingField, "identifier"},
		{"two named", `{"record":"bj-scjg.1","file":"` + strings.Repeat("a", 64) + `"}`, model.CodeBadValue, ""},
		{"number without type", `{"number":"京A1"}`, model.CodeMissingField, "type"},
		{"type without number", `{"record":"bj-scjg.1","type":"` + string(newLicence("").Type) + `"}`, model.CodeMissingField, "number"},
		{"bad type", `{"number":"京A1","type":"x"}`, model.CodeBadValue, "type"},
		{"bad identifier", `{"identifier":"1.2.156.3005.2.x"}`, model.CodeBadIdentifier, "identifier"},
		{"bad check character", `{"identifier":"` + flipLast(identifierOf(t)) + `"}`, model.CodeBadIdentifier, "identifier"},
		{"no such day", `{"record":"bj-scjg.1","at":"2026-02-30"}`, model.CodeBadDate, "at"},
		{"no leap day", `{"record":"bj-scjg.1","knownAt":"2100-02-29"}`, model.CodeBadDate, "knownAt"},
		{"known on a day to come", `[{"record":"bj-scjg.1","at":"2999-01-01"},{"record":"bj-scjg.1","knownAt":"2999-01-01"}]`, model.CodeBadDate, "knownAt"},
		{"a time for a day", `{"record":"bj-scjg.1","at":"2026-02-03T00:00:00Z"}`, model.CodeBadDate, "at"},
		{"bad file digest", `{"file":"XYZ"}`, model.CodeBadValue, "file"},
		{"number overlong", `{"number":"` + strings.Repeat("x", 300) + `","type":"` + string(newLicence("").Type) + `"}`, model.CodeTooLong, "number"},
		{"unknown member", `{"record":"bj-scjg.1","history":true}`, model.CodeUnknownField, "history"},
		{"1,001 queries", "[" + strings.Repeat(q+",", 1000) + q + "]", model.CodeTooMany, ""},
		{"3 MB", `[` + strings.Repeat(q+",", 1) + strings.Repeat(" ", 3_000_000) + q + `]`, model.CodeTooLarge, ""},
		{"no JSON", `{record:1}`, model.CodeInvalidJSON, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if p := s.refused(t, auth.Verifier, "POST", "/v1/verify", tt.body, tt.want); p.Field != tt.field {
				t.Errorf("%+v", p)
			}
		})
	}
	s.refused(t, auth.Verifier, "POST", "/v1/verify", q, model.CodeBadValue, "Content-Encoding", "gzip")
	// Anybody may ask by what is printed on a licence, and not by record.
	s.refused(t, "", "POST", "/public/verify", q, model.CodeUnknownField)
	s.refused(t, "", "POST", "/public/verify", strings.Repeat(" ", 5000)+"{}", model.CodeTooLarge)
}

func flipLast(s string) string {
	c := "A"
	if strings.HasSuffix(s, c) {
		c = "B"
	}
	return s[:len(s)-1] + c
}

func identifierOf(t testing.TB) string {
	_, id, _ := strings.Cut(identifierQuery(t), `:"`)
	return strings.TrimSuffix(id, `"}`)
}

func TestBadLicences(t *testing.T) {
	s := open(t)
	l := newLicence("")
	ok := func(more string) string {
		return fmt.Sprintf(`{"type":%q,"number":"京A1","holder":{"code":%q,"name":"某店"}%s}`, l.Type, l.Holder.Code, more)
	}
	for _, tt := range []struct {
		path, body string
		want       model.Code
		field      string
	}{
		{"/v1/licences", `{}`, model.CodeMissingField, "type"},
		{"/v1/licences", ok(`,"issued_on":"2026-02-30"`), model.CodeBadDate, "issued_on"},
		{"/v1/licences", ok(`,"region":"000000"`), model.CodeBadRegion, "region"},
		{"/v1/licences", ok(`,"identifier":"x"`), model.CodeUnknownField, "identifier"},
		{"/v1/licences", strings.Replace(ok(""), l.Holder.Code, flipLast(l.Holder.Code), 1), model.CodeBadUSCC, "holder.code"},
		{"/v1/licences", ok(`,"face":{"a":1.5}`), model.CodeNumberNotInteger, ""},
		{"/v1/licences", `[]`, model.CodeWrongType, ""},
		{"/v1/licences/bj-scjg.1/destroy", `{}`, model.CodeNotFound, "act"},
		{"/v1/licences/bj_scjg.1/suspend", `{}`, model.CodeBadID, "id"},
		{"/v1/licences/bj-scjg.1/suspend", `{"effective":"2026-13-01"}`, model.CodeBadDate, "effective"},
		{"/v1/licences/bj-scjg.1/suspend", `{"decision":[]}`, model.CodeWrongType, "decision"},
		{"/v1/registry/proposals", `{"action":"licence.issue","kind":"policy","record":"policy"}`, model.CodeBadValue, "action"},
		{"/v1/registry/proposals", `{"action":"registry.change","kind":"licence","record":"policy"}`, model.CodeBadValue, "kind"},
		{"/v1/registry/proposals", `{"action":"registry.admit","kind":"agency","record":"bj-cy"}`, model.CodeMissingField, "value"},
		{"/v1/registry/proposals", `{"action":"registry.remove","kind":"agency","record":"nobody"}`, model.CodeNotFound, "id"},
		{"/v1/registry/proposals/bj-scjg.9/enact", `{}`, model.CodeNotFound, "id"},
		{"/v1/registry/proposals/bj-scjg.9/approve", `{"content":"00"}`, model.CodeBadValue, "content"},
		{"/v1/registry/parties", `{"value":{"uscc":"91"}}`, model.CodeBadUSCC, "value.uscc"},
	} {
		if p := s.refused(t, auth.Approver, "POST", tt.path, tt.body, tt.want); p.Field != tt.field {
			t.Errorf("%s %s: field %q, want %q", tt.path, tt.body, p.Field, tt.field)
		}
	}
	if n := s.accepted(); n != 0 {
		t.Errorf("%d operations accepted", n)
	}
}

// A connection cut in the middle of a body writes nothing, and the node goes on.
func TestCutBody(t *testing.T) {
	s := open(t)
	for _, sent := range []string{"", draft[:20], "[" + draft + ","} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /v1/operations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", s.keys[auth.Drafter], len(draft)+20, sent)
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil && res.StatusCode != 400 {
			t.Errorf("cut after %d bytes: %d", len(sent), res.StatusCode)
		}
		conn.Close()
	}
	if n := s.accepted(); n != 0 {
		t.Errorf("%d operations accepted", n)
	}
	if status, _, _ := s.ask(t, auth.Drafter, "POST", "/v1/operations", draft); status != 200 {
		t.Errorf("afterwards: %d", status)
	}
}

// A client that sends its body drop by drop is let go at the server's deadline.
func TestSlowBody(t *testing.T) {
	s := open(t)
	server := s.api.NewServer()
	server.ReadTimeout = 200 * time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/operations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{", s.keys[auth.Drafter])
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != 400 {
		t.Errorf("%v, %v", res, err)
	}
	if s.accepted() != 0 {
		t.Error("accepted")
	}
}

// A body without a length is bounded as well.
func TestChunkedBodyIsBounded(t *testing.T) {
	s := open(t)
	req, err := http.NewRequest("POST", s.url+"/v1/verify", io.LimitReader(spaces{}, 3_000_000))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.keys[auth.Verifier])
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%d", res.StatusCode)
	}
}

type spaces struct{}

func (spaces) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

// A handler that panics answers 500 and takes nobody with it.
func TestPanic(t *testing.T) {
	s := open(t, func(c *httpapi.Config, _ *auth.Rates) { c.Verifier = broken{} })
	s.refused(t, auth.Verifier, "POST", "/v1/verify", `{"record":"bj-scjg.1"}`, model.CodeInternal)
	if status, _, _ := s.ask(t, "", "GET", "/healthz", ""); status != 200 {
		t.Errorf("healthz: %d", status)
	}
}

type broken struct{ httpapi.Verifier }
