package httpapi

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
)

// The public page: it verifies what is printed on a licence, in Chinese and English. It loads nothing: its
// one style and one script stand in it, and the policy header names their digests.
//
//go:embed page.html
var page []byte

var pagePolicy = []string{"default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; " +
	"style-src " + inlineDigest("style") + "; script-src " + inlineDigest("script")}

var pageType = []string{"text/html; charset=utf-8"}

// inlineDigest is the policy's source expression for the page's one element of a name.
func inlineDigest(element string) string {
	_, rest, _ := strings.Cut(string(page), "<"+element+">")
	content, _, _ := strings.Cut(rest, "</"+element+">")
	sum := sha256.Sum256([]byte(content))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func (a *API) getPage(x *exchange) error {
	h := x.Header()
	h["Content-Security-Policy"] = pagePolicy
	h["Content-Type"] = pageType
	h["Content-Length"] = []string{strconv.Itoa(len(page))}
	x.WriteHeader(http.StatusOK)
	_, _ = x.Write(page) // the client may be gone
	return nil
}
