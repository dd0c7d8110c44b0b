package auth

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/node/internal/auth/authtest"
)

func newSessions(clock *offset) *sessions {
	return &sessions{now: clock.now, by: map[[32]byte]*session{}}
}

func TestSessionEnds(t *testing.T) {
	clock := &offset{stopped: time.Now()}
	s := newSessions(clock)
	who := Subject{"https://id.example.gov.cn", "wangfang"}
	alive := func(token string, used bool) bool { _, ok := s.find(token, used); return ok }

	token := s.begin(who)
	for range 16 { // in use every 29 minutes, it lasts 8 hours
		clock.by(29 * time.Minute)
		if !alive(token, true) {
			t.Fatal("a session in use has ended")
		}
	}
	clock.by(17 * time.Minute)
	if alive(token, true) {
		t.Error("a session lasts longer than 8 hours")
	}
	token = s.begin(who)
	clock.by(sessionIdle)
	if alive(token, true) {
		t.Error("a quiet session lasts longer than 30 minutes")
	}
	token = s.begin(who)
	clock.by(20 * time.Minute)
	if !alive(token, false) {
		t.Error("a stream has no session")
	}
	clock.by(20 * time.Minute)
	if alive(token, false) {
		t.Error("a stream keeps a session alive that nobody uses")
	}
	token = s.begin(who)
	s.end(token)
	if alive(token, true) || alive("", true) || alive("x", true) {
		t.Error("a session that is none")
	}
}

func TestSessionsAreBounded(t *testing.T) {
	clock := &offset{stopped: time.Now()}
	s := newSessions(clock)
	who := Subject{"https://id.example.gov.cn", "wangfang"}
	first := s.begin(who)
	for range maxOfSubject {
		clock.by(time.Second)
		s.begin(who)
	}
	if _, ok := s.find(first, true); ok || len(s.by) != maxOfSubject {
		t.Errorf("%d sessions of one user", len(s.by))
	}
	for n := range maxSessions + 10 {
		s.by[[32]byte{1, byte(n), byte(n >> 8), byte(n >> 16)}] = &session{who, clock.now(), clock.now()}
		if len(s.by) >= maxSessions {
			break
		}
	}
	s.begin(Subject{who.Issuer, "lisi"})
	if len(s.by) > maxSessions {
		t.Errorf("%d sessions", len(s.by))
	}
}

func TestLocalPath(t *testing.T) {
	for in, want := range map[string]string{
		"/": "/", "/search?q=甲&n=1#x": "/search?q=甲&n=1#x", "": "/", "search": "/", "//evil.example": "/", "https://evil.example/": "/",
		"/\\evil.example": "/", "\\\\evil.example": "/", "/a\r\nSet-Cookie: x=y": "/", "javascript:alert(1)": "/", "/" + strings.Repeat("a", 2000): "/", "/\tx": "/",
	} {
		if got := localPath(in); got != want {
			t.Errorf("%q leads to %q", in, got)
		}
	}
}

// What a page of another site has a browser send does not count, in any browser.
func TestSameOrigin(t *testing.T) {
	for _, tt := range []struct {
		method, site, origin string
		secure, plain        bool // whether it counts at a node behind https, and at one on this machine
	}{
		{"GET", "", "", true, true}, {"GET", "same-origin", "", true, true}, {"GET", "none", "", true, true},
		{"GET", "cross-site", "", false, false}, {"GET", "same-site", "", false, false}, {"HEAD", "", "https://evil.example", false, false},
		{"POST", "", "", false, false}, {"POST", "none", "", false, false}, {"POST", "same-origin", "", true, true},
		{"POST", "cross-site", "https://node.example.gov.cn", false, false}, {"POST", "same-site", "https://node.example.gov.cn", false, false},
		{"POST", "", "https://node.example.gov.cn", true, true}, {"POST", "", "http://node.example.gov.cn", false, true},
		{"POST", "", "https://evil.example", false, false}, {"POST", "", "https://node.example.gov.cn.evil.example", false, false},
		{"POST", "", "https://node.example.gov.cn:8443", false, false}, {"POST", "", "null", false, false},
		{"PUT", "", "", false, false}, {"DELETE", "", "", false, false}, {"PATCH", "cross-site", "", false, false},
	} {
		r := httptest.NewRequest(tt.method, "/v1/operations", nil)
		for name, v := range map[string]string{"Sec-Fetch-Site": tt.site, "Origin": tt.origin} {
			if v != "" {
				r.Header.Set(name, v)
			}
		}
		for _, secure := range []bool{true, false} {
			l := &Login{secure: secure, hosts: []string{"node.example.gov.cn"}}
			want := tt.plain
			if secure {
				want = tt.secure
			}
			if l.sameOrigin(r) != want {
				t.Errorf("%+v, https %v: counts %v", tt, secure, !want)
			}
		}
	}
}

// At a node behind https the cookies belong to this host alone and are kept from scripts, other sites and plain lines.
func TestCookies(t *testing.T) {
	at := authtest.New(t)
	s, _ := trusting(t, at, "https://node.example.gov.cn/auth/callback")
	at.User("wangfang")
	begin := httptest.NewRecorder()
	if err := s.Login.Begin(begin, httptest.NewRequest("GET", "/auth/login?next=/search", nil)); err != nil {
		t.Fatal(err)
	}
	kept := begin.Result().Cookies()
	if len(kept) != 1 || kept[0].Name != "__Host-zhenglian-login" || !kept[0].Secure || !kept[0].HttpOnly || kept[0].SameSite != http.SameSiteLaxMode || kept[0].Path != "/" || kept[0].Domain != "" {
		t.Errorf("%+v", kept)
	}
	to, err := url.Parse(begin.Header().Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	q := to.Query()
	if q.Get("code_challenge_method") != "S256" || len(q.Get("code_challenge")) != 43 || len(q.Get("state")) < 22 || len(q.Get("nonce")) < 22 ||
		q.Get("redirect_uri") != "https://node.example.gov.cn/auth/callback" || strings.Contains(kept[0].Value, q.Get("state")) {
		t.Errorf("%s", to)
	}
	finish := func(state string, cookies ...*http.Cookie) (*httptest.ResponseRecorder, string, error) {
		client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		res, err := client.Get(to.String())
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		back, err := res.Location()
		if err != nil {
			t.Fatal(err)
		}
		code := back.Query().Get("code")
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", CallbackPath+"?"+url.Values{"code": {code}, "state": {state}}.Encode(), nil)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		next, err := s.Login.Finish(w, r)
		return w, next, err
	}
	refused := func(name string, err error) {
		t.Helper()
		if err != error(errUnauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, _, err = finish("guess", kept[0])
	refused("another state", err)
	_, _, err = finish(q.Get("state"))
	refused("another browser", err)
	forged := *kept[0]
	forged.Value = "A" + forged.Value[1:]
	_, _, err = finish(q.Get("state"), &forged)
	refused("a forged cookie", err)
	at.Nonce("another")
	_, _, err = finish(q.Get("state"), kept[0])
	refused("another nonce", err)
	at.Nonce("")
	at.User("lisi")
	_, _, err = finish(q.Get("state"), kept[0])
	refused("nobody here", err)
	at.User("wangfang")

	w, next, err := finish(q.Get("state"), kept[0])
	if err != nil || next != "/search" {
		t.Fatalf("%q, %v", next, err)
	}
	var cookie *http.Cookie
	for _, c := range w.Result().Cookies() {
		if c.Name == "__Host-zhenglian" {
			cookie = c
		}
	}
	if cookie == nil || !cookie.Secure || !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Domain != "" || len(cookie.Value) != 43 {
		t.Errorf("%+v", cookie)
	}
	s.Login.sessions.now = func() time.Time { return time.Now().Add(loginLife + time.Minute) }
	_, _, err = finish(q.Get("state"), kept[0])
	refused("a login that took too long", err)
	for n := range 3 {
		r := httptest.NewRequest("GET", CallbackPath+"?error=access_denied&n="+strconv.Itoa(n), nil)
		_, err := s.Login.Finish(httptest.NewRecorder(), r)
		refused("the issuer says no", err)
	}
}
