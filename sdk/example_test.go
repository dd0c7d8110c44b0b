package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// The examples run against a real node (node_test.go); yours is at an address, and its keys are those that
// "zhenglian init" or "zhenglian keys" printed.

func licence(number string) sdk.NewLicence {
	return sdk.NewLicence{
		Type: "11100000MB0143028R001", Number: number,
		Holder: sdk.Holder{Code: "91110105X000000192", Name: "北京样例科技有限公司"},
	}
}

// A request that carries an idempotency key of one's own, such as the number of the case, may be sent as often as need
// be: the licence is issued once.
func ExampleClient_Issue() {
	node, ctx := exampleNode(), context.Background()
	drafter := node.as("drafter")
	first, err := drafter.Issue(ctx, licence("京A0001"), sdk.Write{IdempotencyKey: "case-0001"})
	if err != nil {
		log.Fatal(err)
	}
	again, err := drafter.Issue(ctx, licence("京A0001"), sdk.Write{IdempotencyKey: "case-0001"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first.Status, first.Version, first.Operation == again.Operation)
	// Output: committed 1 true
}

// A verdict is valid, invalid, undetermined or stale, with the reason in two languages. Unknown is never valid.
func ExampleClient_Verify() {
	node, ctx := exampleNode(), context.Background()
	if _, err := node.as("drafter").Issue(ctx, licence("京A0002"), sdk.Write{IdempotencyKey: "case-0002"}); err != nil {
		log.Fatal(err)
	}
	verifier := node.as("verifier")
	for _, number := range []string{"京A0002", "京A9999"} {
		v, err := verifier.Verify(ctx, model.Query{Number: number, Type: "11100000MB0143028R001"})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(number, v.Verdict, v.Reason, v.Zh)
	}
	// Output:
	// 京A0002 valid in_force 证照有效
	// 京A9999 invalid not_found 账本上没有此证照
}

// An error is a *model.Error, whatever is around it: its code for programs, its text in English and Chinese for people,
// and what is known about what was written.
func Example_errors() {
	node, ctx := exampleNode(), context.Background()
	_, err := node.as("verifier").Issue(ctx, licence("京A0003"), sdk.Write{})
	fmt.Println(errors.Is(err, model.E(model.CodeForbidden)), sdk.IsUnknown(err))

	bad := licence("京A0003")
	bad.Holder.Code = "91110105X000000193" // a wrong check digit
	_, err = node.as("drafter").Issue(ctx, bad, sdk.Write{})
	var e *model.Error
	if errors.As(err, &e) {
		fmt.Println(e.Code, e.Field, e.Kind(), e.Zh())
	}
	// Output:
	// true false
	// bad_uscc holder.code invalid 统一社会信用代码有误（长度、字符或校验位）
}

// Several operations go in one request: all are accepted, or none and the error says which is at fault.
func ExampleClient_Submit() {
	node, ctx := exampleNode(), context.Background()
	body, err := model.Canonical(model.IssueBody{})
	if err != nil {
		log.Fatal(err)
	}
	_, err = node.as("drafter").Submit(ctx, []model.Draft{
		{Type: model.LicenceIssue, Kind: model.KindLicence, Body: body},
		{Type: "licence.invent", Kind: model.KindLicence, Body: body},
	}, sdk.Write{})
	var at *sdk.ElementError
	if errors.As(err, &at) {
		fmt.Println(at.Index, at.Err.Code)
	}
	// Output: 1 unknown_operation
}

// Endings of licences wait for a second person: the write is answered with a draft, and somebody else approves what he
// has seen.
func ExampleHeld() {
	node, ctx := exampleNode(), context.Background()
	drafter, approver := node.as("drafter"), node.as("approver")
	issued, err := drafter.Issue(ctx, licence("京A0004"), sdk.Write{IdempotencyKey: "case-0004"})
	if err != nil {
		log.Fatal(err)
	}
	_, err = drafter.Act(ctx, issued.Record, model.LicenceCancel, sdk.LicenceAct{
		Decision:  model.Decision{Date: "2026-03-01", Number: "京市监注〔2026〕1号"},
		Effective: model.DateOf(issued.Receipt.Time.Time()), Reason: "closed-down",
	}, sdk.Write{})
	draft, waits := sdk.Held(err)
	if !waits {
		log.Fatal(err)
	}
	fmt.Println(draft.State, draft.Rules)

	seen, err := approver.Draft(ctx, draft.ID, 0)
	if err != nil {
		log.Fatal(err)
	}
	decided, err := approver.ApproveDraft(ctx, draft.ID, seen.Draft.Content, sdk.Write{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(decided.Draft.State, decided.Outcomes[0].Status)
	// Output:
	// pending [endings]
	// approved committed
}

// The history of a record: who did what, oldest first.
func ExampleClient_History() {
	node, ctx := exampleNode(), context.Background()
	issued, err := node.as("drafter").Issue(ctx, licence("京A0005"), sdk.Write{IdempotencyKey: "case-0005"})
	if err != nil {
		log.Fatal(err)
	}
	for entry, err := range node.as("auditor").History(ctx, model.KindLicence, issued.Record) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(entry.Version, entry.Type, entry.Agency, entry.Msp, entry.State)
	}
	// Output: 1 licence.issue bj-scjg BeijingMSP in_force
}

// Everything that happens on the ledger, from the first operation on. A program keeps the position of what it has
// dealt with and goes on after it: nothing is missed and nothing comes twice.
func ExampleClient_Events() {
	node, ctx := exampleNode(), context.Background()
	issued, err := node.as("drafter").Issue(ctx, licence("京A0006"), sdk.Write{IdempotencyKey: "case-0006"})
	if err != nil {
		log.Fatal(err)
	}
	after := int64(issued.Receipt.Position) - 1
	for event, err := range node.as("auditor").Events(ctx, after, model.KindLicence) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Type, event.Record == issued.Record)
		break
	}
	// Output: licence.issue true
}
