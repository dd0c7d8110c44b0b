package intake

import (
	"context"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// TestComputingIsBounded: a request waits while as many compute as may; who gives up meanwhile has
// left nothing behind.
func TestComputingIsBounded(t *testing.T) {
	f := newFixture(t)
	if _, err := f.accept("", f.issueDraft(1)); err != nil {
		t.Fatal(err)
	}
	for range cap(f.working) {
		f.working <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, _, err := f.Intake.Accept(ctx, Caller{Principal: "p", Agency: "bj-scjg"}, "", model.Digest{}, []model.Draft{f.issueDraft(2)})
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	default:
	}
	cancel()
	if err := <-done; code(err) != model.CodeShuttingDown {
		t.Errorf("gave up: %v", err)
	}
	for range cap(f.working) {
		<-f.working
	}
	if _, err := f.accept("", f.issueDraft(2)); err != nil {
		t.Errorf("what was given up before is still claimed: %v", err)
	}
}
