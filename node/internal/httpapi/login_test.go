package httpapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/auth/authtest"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/sdk"
)

// lateLogin stands in the configuration until the site's address is known.
type lateLogin struct{ httpapi.Login }

// openTo is a site that trusts an issuer, and its user Wang Fang.
func openTo(t *testing.T, at *authtest.Issuer) (*site, *auth.User) {
	t.Helper()
	late := &lateLogin{}
	s := open(t, func(c *httpapi.Config, _ *auth.Rates) { c.Login = late })
	issuers, err := auth.NewIssuers([]auth.IssuerConfig{{
		Issuer: at.URL, ClientID: authtest.ClientID, ClientSecret: authtest.Secret, RedirectURL: s.url + auth.CallbackPath,
	}})
	if err != nil {
		t.Fatal(err)
	}
	s.signIn.Issuers, s.signIn.Login = issuers, auth.NewLogin(s.people, issuers)
	late.Login = s.signIn.Login
	made, err := s.people.Apply(auth.Change{Action: auth.AddUser, User: &auth.UserSpec{
		Name: "王芳", Agency: "bj-scjg", Roles: []auth.Role{auth.Drafter}, Subjects: []auth.Subject{{Issuer: at.URL, Subject: "wangfang"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	at.User("wangfang")
	return s, made.User
}

// browser keeps cookies and follows redirects, and says where its requests come from.
type browser struct {
	http.Client
	t *testing.T
}

func newBrowser(t *testing.T) *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{http.Client{Jar: jar}, t}
}

func (b *browser) ask(method, url, body string, headers ...string) (int, string) {
	b.t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := b.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, string(raw)
}

func codeOf(raw string) model.Code {
	var p model.Problem
	_ = json.Unmarshal([]byte(raw), &p)
	return p.Code
}

// A person signs in with a browser, reads and writes from this site's pages, and from no other's.
func TestBrowser(t *testing.T) {
	at := authtest.New(t)
	s, user := openTo(t, at)
	b := newBrowser(t)
	if status, _ := b.ask("GET", s.url+"/v1/whoami", ""); status != 401 {
		t.Errorf("before: %d", status)
	}
	status, page := b.ask("GET", s.url+`/auth/login?next=/x%3Fa%3D1%26b%3D%22%3E`, "")
	if status != 200 || !strings.Contains(page, `content="0;url=/x?a=1&amp;b=&#34;&gt;"`) {
		t.Fatalf("%d %s", status, page)
	}
	status, raw := b.ask("GET", s.url+"/v1/whoami", "")
	var who sdk.Whoami
	if err := json.Unmarshal([]byte(raw), &who); err != nil || status != 200 || who.ID != user.ID || who.Name != "王芳" || who.Agency != "bj-scjg" ||
		len(who.Roles) != 1 || who.Roles[0] != "drafter" || who.Person == "" || !strings.Contains(strings.Join(who.May, " "), "licence.issue") {
		t.Fatalf("%d %s", status, raw)
	}

	before := s.accepted()
	for _, headers := range [][]string{
		{},
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
		{"Sec-Fetch-Site", "cross-site", "Origin", s.url},
		{"Sec-Fetch-Site", "same-site"},
		{"Sec-Fetch-Site", "none"},
	} {
		if status, raw := b.ask("POST", s.url+"/v1/operations", draft, headers...); status != 403 || codeOf(raw) != model.CodeCrossOrigin {
			t.Errorf("%v: %d %s", headers, status, raw)
		}
	}
	if status, raw := b.ask("GET", s.url+"/v1/registry/agency", "", "Sec-Fetch-Site", "cross-site"); status != 403 {
		t.Errorf("reading for another site: %d %s", status, raw)
	}
	if s.accepted() != before {
		t.Error("another site has written")
	}
	for _, headers := range [][]string{{"Origin", s.url}, {"Sec-Fetch-Site", "same-origin"}} {
		if status, raw := b.ask("POST", s.url+"/v1/operations", draft, headers...); status != 200 {
			t.Errorf("%v: %d %s", headers, status, raw)
		}
	}
	// A key that a page brings along needs no cookie, so no site can lend itself one.
	if status, _, _ := s.ask(t, auth.Drafter, "POST", "/v1/operations", draft, "Origin", "https://elsewhere.example"); status != 200 {
		t.Errorf("with a key: %d", status)
	}

	// Another role, then disabled, then enabled: each holds for the session that is under way.
	spec := user.Spec()
	spec.Roles = []auth.Role{auth.Verifier}
	change := func(c auth.Change) {
		t.Helper()
		if _, err := s.people.Apply(c); err != nil {
			t.Fatal(err)
		}
	}
	change(auth.Change{Action: auth.ChangeUser, ID: user.ID, User: &spec})
	if status, raw := b.ask("POST", s.url+"/v1/operations", draft, "Origin", s.url); status != 403 || codeOf(raw) != model.CodeForbidden {
		t.Errorf("after the change of roles: %d %s", status, raw)
	}
	change(auth.Change{Action: auth.DisableUser, ID: user.ID})
	if status, _ := b.ask("GET", s.url+"/v1/whoami", ""); status != 401 {
		t.Errorf("a disabled user's session: %d", status)
	}
	change(auth.Change{Action: auth.EnableUser, ID: user.ID})
	if status, _ := b.ask("GET", s.url+"/v1/whoami", ""); status != 200 {
		t.Errorf("enabled again: %d", status)
	}

	// Out, and from no other site.
	if status, raw := b.ask("POST", s.url+"/auth/logout", "", "Origin", "https://evil.example"); status != 403 {
		t.Errorf("%d %s", status, raw)
	}
	at1, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	stolen := b.Jar.Cookies(at1)
	if status, raw := b.ask("POST", s.url+"/auth/logout", "", "Origin", s.url); status != 204 {
		t.Errorf("%d %s", status, raw)
	}
	if status, _ := b.ask("GET", s.url+"/v1/whoami", ""); status != 401 {
		t.Errorf("after signing out: %d", status)
	}
	other := newBrowser(t)
	other.Jar.SetCookies(at1, stolen)
	if status, _ := other.ask("GET", s.url+"/v1/whoami", ""); status != 401 {
		t.Errorf("a cookie from before signing out: %d", status)
	}
}

// What goes wrong is said in words to a person and in a problem to a program.
func TestLoginRefused(t *testing.T) {
	at := authtest.New(t)
	s, _ := openTo(t, at)
	at.User("lisi") // nobody here
	b := newBrowser(t)
	if status, page := b.ask("GET", s.url+"/auth/login", "", "Accept", "text/html"); status != 401 || !strings.Contains(page, "未登录或密钥无效") {
		t.Errorf("%d %s", status, page)
	}
	if status, raw := newBrowser(t).ask("GET", s.url+"/auth/login", ""); status != 401 || codeOf(raw) != model.CodeUnauthenticated {
		t.Errorf("%d %s", status, raw)
	}
	if status, raw := b.ask("GET", s.url+"/auth/callback?code=x&state=y", ""); status != 401 || codeOf(raw) != model.CodeUnauthenticated {
		t.Errorf("a callback out of nothing: %d %s", status, raw)
	}
	if status, raw := b.ask("GET", s.url+"/auth/login?issuer=https://elsewhere.example", ""); status != 404 {
		t.Errorf("another issuer: %d %s", status, raw)
	}
	if status, _, raw := open(t).ask(t, "", "GET", "/auth/login", ""); status != 404 {
		t.Errorf("where no issuer is trusted: %d %s", status, raw)
	}
}

// While the issuer is down its users hear which one; keys go on.
func TestIssuerDown(t *testing.T) {
	at := authtest.New(t)
	s, _ := openTo(t, at)
	at.Down(true)
	p := s.refused(t, "", "GET", "/v1/whoami", "", model.CodeIssuerUnreachable, "Authorization", "Bearer "+at.Token("wangfang", nil))
	if p.Detail != at.URL {
		t.Errorf("%+v", p)
	}
	if status, page := newBrowser(t).ask("GET", s.url+"/auth/login", "", "Accept", "text/html"); status != 503 || !strings.Contains(page, at.URL) {
		t.Errorf("%d %s", status, page)
	}
	if status, _, _ := s.ask(t, auth.Drafter, "GET", "/v1/whoami", ""); status != 200 {
		t.Errorf("a key: %d", status)
	}
}
