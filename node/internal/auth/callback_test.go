package auth

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/zhenglian/zhenglian/node/internal/auth/authtest"
)

// A browser that comes back with another issuer's answer is not signed in, nor is one without the issuer's name where the
// issuer says that it names itself (RFC 9207).
func TestCallbackNamesItsIssuer(t *testing.T) {
	for _, tt := range []struct {
		name  string
		names bool     // the issuer says so
		iss   []string // nil: as the issuer has it
		want  bool
	}{
		{"an issuer that does not name itself", false, nil, true},
		{"an issuer that names itself", true, nil, true},
		{"no name", true, []string{}, false},
		{"another's name", true, []string{"https://other.example"}, false},
		{"another's name, of one that need not", false, []string{"https://other.example"}, false},
		{"two names", true, []string{"", "https://other.example"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			at := authtest.New(t)
			if tt.names {
				at.Names()
			}
			at.User("wangfang")
			s, _ := trusting(t, at, "https://node.example.gov.cn/auth/callback")
			begin := httptest.NewRecorder()
			if err := s.Login.Begin(begin, httptest.NewRequest("GET", "/auth/login?next=/search", nil)); err != nil {
				t.Fatal(err)
			}
			client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			res, err := client.Get(begin.Header().Get("Location"))
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			back, err := res.Location()
			if err != nil {
				t.Fatal(err)
			}
			q := back.Query()
			if tt.iss != nil {
				delete(q, "iss")
				for _, iss := range tt.iss {
					if iss == "" {
						iss = at.URL
					}
					q.Add("iss", iss)
				}
			}
			r := httptest.NewRequest("GET", CallbackPath+"?"+q.Encode(), nil)
			r.AddCookie(begin.Result().Cookies()[0])
			next, err := s.Login.Finish(httptest.NewRecorder(), r)
			if tt.want && (err != nil || next != "/search") || !tt.want && err != error(errUnauthenticated) {
				t.Errorf("%q, %v", next, err)
			}
		})
	}
}
