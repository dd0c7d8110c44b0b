package httpapi

import (
	"errors"
	"math"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// problemError is a problem as huma wants an error: with a status and a media type.
type problemError model.Problem

func (p *problemError) Error() string             { return string(p.Code) }
func (p *problemError) GetStatus() int            { return p.Status }
func (p *problemError) ContentType(string) string { return "application/problem+json" }

// Schema makes it the model's problem in the document.
func (p *problemError) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[model.Problem](), true, "Problem")
}

// limited is rate_limited with the time to wait.
type limited struct{ wait time.Duration }

func (l limited) Error() string { return string(model.CodeRateLimited) }
func (l limited) Unwrap() error { return model.E(model.CodeRateLimited) }

// problemOf is an error's wire form. Who is not signed in or has no right hears the code and nothing more.
func problemOf(err error) *model.Problem {
	e := model.AsError(err)
	switch e.Kind() {
	case model.Unauthenticated, model.Denied:
		if e.Code != model.CodeNotActingFor {
			e = model.E(e.Code)
		}
	}
	p := e.Problem()
	var at *elementError
	if errors.As(err, &at) {
		i := at.index
		p.Index = &i
	}
	return p
}

// setErrorHeaders adds what a status asks for: how to sign in, when to come back.
func setErrorHeaders(h http.Header, err error, status int) {
	switch status {
	case http.StatusUnauthorized:
		h["Www-Authenticate"] = []string{"Bearer"}
	case http.StatusTooManyRequests:
		var l limited
		wait := time.Second
		if errors.As(err, &l) {
			wait = l.wait
		}
		h["Retry-After"] = []string{strconv.Itoa(max(1, int(math.Ceil(wait.Seconds()))))}
	case http.StatusServiceUnavailable:
		h["Retry-After"] = []string{"1"}
	case http.StatusRequestEntityTooLarge:
		h["Connection"] = []string{"close"} // the rest of the body is not read
	}
}

// The parameters of reading routes are checked by huma, whose complaints get our codes. Huma keeps its
// error constructor in a variable of the package, for the whole process.
func init() {
	huma.NewError = func(status int, _ string, errs ...error) huma.StatusError {
		e := model.E(model.CodeBadValue)
		for _, err := range errs {
			if d, ok := err.(huma.ErrorDetailer); ok {
				e = parameterError(d.ErrorDetail())
				break
			}
		}
		switch {
		case len(errs) > 0 || status == 0:
		case status >= http.StatusInternalServerError:
			e = model.E(model.CodeInternal)
		}
		return (*problemError)(e.Problem())
	}
}

// parameterError gives huma's complaint about a parameter its code; the value is never repeated.
func parameterError(d *huma.ErrorDetail) *model.Error {
	code := model.CodeBadValue
	switch {
	case strings.HasPrefix(d.Message, "unknown"):
		code = model.CodeUnknownField
	case strings.HasPrefix(d.Message, "required"):
		code = model.CodeMissingField
	case strings.HasPrefix(d.Message, "invalid"):
		code = model.CodeWrongType
	}
	field := d.Location
	if _, name, ok := strings.Cut(field, "."); ok {
		field = name
	}
	if len(field) > 64 {
		field = "?"
	}
	return model.E(code, field)
}
