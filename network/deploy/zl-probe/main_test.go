package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestProbe(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/readyz":
			w.WriteHeader(http.StatusServiceUnavailable)
		case "/moved":
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
			return
		}
		_, _ = w.Write([]byte("body of " + r.URL.Path))
	})
	plain, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer plain.Close()
	defer secure.Close()
	gone := httptest.NewServer(handler)
	gone.Close()
	tests := []struct {
		args      []string
		code      int
		out, told string
	}{
		{[]string{plain.URL + "/healthz"}, 0, "body of /healthz", ""},
		{[]string{secure.URL + "/healthz"}, 0, "body of /healthz", ""},
		{[]string{plain.URL + "/readyz"}, 1, "body of /readyz", "503"},
		{[]string{plain.URL + "/moved"}, 1, "", "302"},
		{[]string{gone.URL}, 1, "", "refused"},
		{[]string{"http://192.0.2.1/"}, 2, "", "loopback"},
		{[]string{"http://localhost/"}, 2, "", "loopback"},
		{[]string{"file:///etc/passwd"}, 2, "", "http"},
		{[]string{"http://127.0.0.1:bad/"}, 2, "", "port"},
		{nil, 2, "", "one URL"},
	}
	for _, tt := range tests {
		var out, errOut bytes.Buffer
		if code := run(tt.args, &out, &errOut); code != tt.code || !strings.Contains(out.String(), tt.out) || !strings.Contains(errOut.String(), tt.told) {
			t.Errorf("%v: %d %q %q", tt.args, code, out.String(), errOut.String())
		}
	}
}
