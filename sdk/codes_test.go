package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

var han = regexp.MustCompile(`\p{Han}`)

// Every code that a node may answer with comes out of the client as it went in: code, kind, field, Chinese and English
// text, whatever is around the error.
func TestCodesSurvive(t *testing.T) {
	var answer *model.Problem
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(answer.Status)
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer s.Close()
	c := &sdk.Client{BaseURL: s.URL, Key: "zlk_x", Attempts: 1}
	for _, code := range model.Codes() {
		sent := model.E(code, "value.number")
		answer = sent.Problem()
		_, err := c.Verify(context.Background(), model.Query{Record: "bj-scjg.1"})
		err = fmt.Errorf("in the back office: %w", err)
		var e *model.Error
		if !errors.As(err, &e) || !errors.Is(err, model.E(code)) {
			t.Errorf("%s came as %v", code, err)
			continue
		}
		if e.Kind() != sent.Kind() || e.Field != "value.number" || e.Zh() != sent.Zh() || e.En() != sent.En() || !han.MatchString(e.Zh()) {
			t.Errorf("%s: %s, %q, %q, %q", code, e.Kind(), e.Field, e.Zh(), e.En())
		}
		if other := model.Codes()[0]; other != code && errors.Is(err, model.E(other)) {
			t.Errorf("%s is also %s", code, other)
		}
		if sdk.IsUnknown(err) != (sent.Kind() == model.Unknown) {
			t.Errorf("%s: what is known of it is lost", code)
		}
	}
}
