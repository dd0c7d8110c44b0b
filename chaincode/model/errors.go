package model

import (
	"errors"
	"fmt"
	"sort"
	"strings"
)

// ErrorKind is the class of a refusal or failure. The set is closed; each has one HTTP status.
type ErrorKind string

const (
	Invalid         ErrorKind = "invalid"         // the request itself is wrong; sending it again cannot help
	Unauthenticated ErrorKind = "unauthenticated" // no or unknown credentials
	Denied          ErrorKind = "denied"          // known caller without the right
	NotFound        ErrorKind = "not_found"
	Conflict        ErrorKind = "conflict" // another write came first; look again
	Refused         ErrorKind = "refused"  // a rule of the contract forbids it
	TooLarge        ErrorKind = "too_large"
	Limited         ErrorKind = "limited"     // rate limit
	Unavailable     ErrorKind = "unavailable" // nothing was written; safe to send again
	Unknown         ErrorKind = "unknown"     // perhaps written; ask for the operation's outcome first
	Internal        ErrorKind = "internal"
)

// HTTPStatus is the one table from kind to status.
var HTTPStatus = map[ErrorKind]int{
	Invalid: 400, Unauthenticated: 401, Denied: 403, NotFound: 404, Conflict: 409, Refused: 422,
	TooLarge: 413, Limited: 429, Unavailable: 503, Unknown: 504, Internal: 500,
}

// Code names one reason, stable for ever: programs branch on it and it survives every wire.
type Code string

// Error is every error that leaves a package of ours towards a user.
//
// Field is the path of the offending value ("value.holder_code"), never the value itself. Detail is for
// people and must hold no personal data, key or document. errors.Is matches by Code.
type Error struct {
	Code   Code
	Field  string
	Detail string
	Cause  error
}

// E makes an error of a code, optionally about a field.
func E(code Code, field ...string) *Error {
	e := &Error{Code: code}
	if len(field) > 0 {
		e.Field = field[0]
	}
	return e
}

// With returns a copy that carries a detail for people.
func (e *Error) With(format string, args ...any) *Error {
	c := *e
	c.Detail = fmt.Sprintf(format, args...)
	return &c
}

// OneOf returns a copy whose detail lists what is allowed, as programs write it: that reads alike in every language.
func (e *Error) OneOf(values ...string) *Error {
	const most = 160 // bytes
	list := strings.Join(values, " | ")
	if len(list) > most {
		list = strings.ToValidUTF8(list[:most], "") + " …"
	}
	return e.With("%s", list)
}

// Because returns a copy that wraps a cause.
func (e *Error) Because(cause error) *Error {
	c := *e
	c.Cause = cause
	return &c
}

func (e *Error) Error() string {
	s := string(e.Code)
	if e.Field != "" {
		s += " (" + e.Field + ")"
	}
	if t, ok := codes[e.Code]; ok {
		s += ": " + t.en
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Cause }

// Is reports whether target is an *Error of the same code.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Kind is the class of the error's code; Internal for a code that this build does not know.
func (e *Error) Kind() ErrorKind {
	if t, ok := codes[e.Code]; ok {
		return t.kind
	}
	return Internal
}

// Zh is the Chinese sentence for people.
func (e *Error) Zh() string { return codes[e.Code].zh }

// En is the English sentence for people.
func (e *Error) En() string { return codes[e.Code].en }

// Status is the HTTP status of the error's kind.
func (e *Error) Status() int { return HTTPStatus[e.Kind()] }

// AsError finds the *Error in err's chain; a foreign error becomes "internal" with it as cause.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return E(CodeInternal).Because(err)
}

// Codes lists every code in order, for documentation and tests.
func Codes() []Code {
	out := make([]Code, 0, len(codes))
	for c := range codes {
		out = append(out, c)
	}
	sort.Slice(out, func(i, j int) bool { return out[i] < out[j] })
	return out
}

// Known reports whether a code is one of ours (a code read from a wire may not be).
func (c Code) Known() bool { _, ok := codes[c]; return ok }
