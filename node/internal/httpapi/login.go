package httpapi

import (
	"fmt"
	"html"
	"net/http"
	"strconv"
	"strings"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// getLogin sends a browser to the identity provider.
func (a *API) getLogin(x *exchange) error {
	if a.login == nil {
		return model.E(model.CodeNotFound)
	}
	if err := a.login.Begin(x, x.r); err != nil {
		return x.explain(err)
	}
	return nil
}

// getCallback takes the browser back. It answers with a page that goes on, not with a redirect: the browser would count
// one as coming from the provider's site and keep the session's cookie, which is for this site alone, from it.
func (a *API) getCallback(x *exchange) error {
	if a.login == nil {
		return model.E(model.CodeNotFound)
	}
	next, err := a.login.Finish(x, x.r)
	if err != nil {
		return x.explain(err)
	}
	next = html.EscapeString(next)
	x.page(http.StatusOK, fmt.Sprintf(`<meta http-equiv="refresh" content="0;url=%s"><title>证链</title><p><a href="%s">已登录 · signed in</a>`, next, next))
	return nil
}

// postLogout ends the session. A key, token or certificate that signs in by itself goes on.
func (a *API) postLogout(x *exchange) error {
	if a.login != nil {
		a.login.End(x, x.r)
	}
	x.WriteHeader(http.StatusNoContent)
	return nil
}

// explain tells a person in words what a program is told in a problem.
func (x *exchange) explain(err error) error {
	if !strings.Contains(x.r.Header.Get("Accept"), "text/html") {
		return err
	}
	e := model.AsError(err)
	x.api.metrics.refused(e.Code)
	p := problemOf(err)
	setErrorHeaders(x.Header(), err, p.Status)
	x.page(p.Status, fmt.Sprintf(`<title>证链</title><p>%s<p lang="en">%s<p>%s<p><a href="/auth/login">重新登录 · sign in again</a>`,
		html.EscapeString(e.Zh()), html.EscapeString(p.Title), html.EscapeString(p.Detail)))
	return nil
}

func (x *exchange) page(status int, body string) {
	body = "<!doctype html><meta charset=utf-8>" + body + "\n"
	h := x.Header()
	h["Content-Type"] = pageType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	x.WriteHeader(status)
	_, _ = x.Write([]byte(body)) // the client may be gone
}
