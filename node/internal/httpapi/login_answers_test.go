package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
)

// fakeLogin lets the code "good" in.
type fakeLogin struct{ home string }

func (f fakeLogin) Begin(w http.ResponseWriter, r *http.Request) error {
	http.Redirect(w, r, f.home+"/healthz", http.StatusFound)
	return nil
}

func (fakeLogin) Finish(_ http.ResponseWriter, r *http.Request) (string, error) {
	if r.URL.Query().Get("code") != "good" {
		return "", model.E(model.CodeUnauthenticated)
	}
	return `/?"><script>`, nil
}

func (fakeLogin) End(http.ResponseWriter, *http.Request) {}

func TestLoginAnswers(t *testing.T) {
	login := &fakeLogin{}
	s := open(t, func(c *httpapi.Config, _ *auth.Rates) { c.Login = login })
	login.home = s.url
	if status, _, raw := s.ask(t, "", "GET", "/auth/login", ""); status != 200 || !strings.Contains(string(raw), "ok") { // the redirect is followed
		t.Errorf("%d %s", status, raw)
	}
	status, h, raw := s.ask(t, "", "GET", "/auth/callback?code=good&state=1", "")
	if status != 200 || !strings.HasPrefix(h.Get("Content-Type"), "text/html") || strings.Contains(string(raw), "<script>") {
		t.Errorf("%d %v %s", status, h, raw)
	}
	s.refused(t, "", "GET", "/auth/callback?code=bad", "", model.CodeUnauthenticated)
	status, h, raw = s.ask(t, "", "GET", "/auth/callback?code=bad", "", "Accept", "text/html")
	if status != http.StatusUnauthorized || !strings.HasPrefix(h.Get("Content-Type"), "text/html") || !strings.Contains(string(raw), "登录") {
		t.Errorf("%d %v %s", status, h, raw)
	}
}
