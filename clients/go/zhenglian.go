// Package zhenglian is a client of a Zhenglian node's REST API that is generated from its OpenAPI document, for
// programs that do not want the vocabulary of package sdk. generated.go has a method for each operation; this file adds
// how to sign in and how to read an error.
//
//	c, err := zhenglian.New("http://127.0.0.1:8801", os.Getenv("ZHENGLIAN_KEY"))
//	res, err := c.LicenceWithResponse(ctx, "bj-scjg.1")
//	if err == nil {
//		err = zhenglian.Check(res)
//	}
//
// It sends each request once. What may be sent again after a failure, and under which Idempotency-Key, the caller
// decides by Problem.Written; package github.com/zhenglian/zhenglian/sdk does that by itself.
package zhenglian

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// New makes a client of the node at an address such as "https://node.example", with an API key, "" for the open
// routes. A request takes a minute at most, unless an option brings another http.Client. Redirects are not followed:
// a key goes to no other place.
func New(address, key string, options ...ClientOption) (*ClientWithResponses, error) {
	own := []ClientOption{
		WithHTTPClient(&http.Client{
			Timeout:       time.Minute,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
		WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
			if key != "" {
				r.Header.Set("Authorization", "Bearer "+key)
			}
			return nil
		}),
	}
	return NewClientWithResponses(address, append(own, options...)...)
}

// Error says the code, the English text and the Chinese one.
func (p *Problem) Error() string {
	s := fmt.Sprintf("%s: %s (%s)", p.Code, p.Title, p.Zh)
	if p.Field != nil && *p.Field != "" {
		s += ": " + *p.Field
	}
	return s
}

// Is matches problems by their code: errors.Is(err, &zhenglian.Problem{Code: zhenglian.ProblemCodeNotOwner}).
func (p *Problem) Is(target error) bool {
	t, ok := target.(*Problem)
	return ok && t.Code == p.Code
}

// Response is what every …WithResponse method returns.
type Response interface {
	StatusCode() int
	GetBody() []byte
}

// Check is nil for an answer with a status below 300, and else its *Problem. What does not come from a node, such as
// a proxy's page, has the code "" and its status.
func Check(r Response) error {
	if r.StatusCode() < 300 {
		return nil
	}
	var p Problem
	if err := json.Unmarshal(r.GetBody(), &p); err != nil || p.Code == "" {
		p = Problem{Status: int64(r.StatusCode()), Title: http.StatusText(r.StatusCode()), Written: ProblemWrittenPerhaps}
	}
	return &p
}
