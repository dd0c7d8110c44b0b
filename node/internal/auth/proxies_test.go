package auth

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// from is a request of a remote address, with X-Forwarded-For in as many lines as are given.
func from(remote string, forwarded ...string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = remote
	for _, f := range forwarded {
		r.Header.Add("X-Forwarded-For", f)
	}
	return r
}

// Of what a request says of its way only what a proxy has written is believed.
func TestWhereARequestComesFrom(t *testing.T) {
	proxies, err := ParseProxies([]string{"10.0.0.1", "10.0.1.0/24", "fd00::/64"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, remote string
		forwarded    []string
		want         string
	}{
		{"no proxy", "192.0.2.7:5", nil, "192.0.2.7"},
		{"who is no proxy says nothing of others", "192.0.2.7:5", []string{"198.51.100.1"}, "192.0.2.7"},
		{"behind a proxy", "10.0.0.1:5", []string{"198.51.100.1"}, "198.51.100.1"},
		{"what the caller wrote himself stands left", "10.0.0.1:5", []string{"203.0.113.9, 198.51.100.1"}, "198.51.100.1"},
		{"and in lines before", "10.0.0.1:5", []string{"203.0.113.9", "198.51.100.1"}, "198.51.100.1"},
		{"behind two", "10.0.0.1:5", []string{"203.0.113.9, 198.51.100.1, 10.0.1.77"}, "198.51.100.1"},
		{"two lines of two", "10.0.0.1:5", []string{"203.0.113.9,198.51.100.1", "10.0.1.77"}, "198.51.100.1"},
		{"with a port", "10.0.0.1:5", []string{"198.51.100.1:40000"}, "198.51.100.1"},
		{"IPv6", "[fd00::5]:5", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv6 with a port", "[fd00::5]:5", []string{"[2001:db8::1]:9"}, "2001:db8::1"},
		{"IPv4 in IPv6", "[::ffff:10.0.0.1]:5", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"the proxy itself", "10.0.0.1:5", nil, "10.0.0.1"},
		{"a proxy behind a proxy", "10.0.0.1:5", []string{"10.0.1.77"}, "10.0.1.77"},
		{"nonsense is as far as it is known", "10.0.0.1:5", []string{"198.51.100.1, unknown"}, "10.0.0.1"},
		{"nothing between commas", "10.0.0.1:5", []string{"198.51.100.1,"}, "10.0.0.1"},
		{"no TCP", "@", []string{"198.51.100.1"}, "invalid IP"},
	} {
		if got := proxies.Address(from(tt.remote, tt.forwarded...)).String(); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
	for _, bad := range []string{"", "proxy.example", "10.0.0.1:80", "0.0.0.0/0", "::/0", "10.0.0.0/33", "::ffff:10.0.0.0/104"} {
		if _, err := ParseProxies([]string{bad}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, err := ParseProxies(strings.Fields(strings.Repeat("10.0.0.1 ", maxProxies+1))); err == nil {
		t.Error("more than there may be")
	}
}
