package app_test

import (
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/sdk"
)

// One administrator who has asked for a second key never holds one that works, whatever he asks for and draws: a key of an
// administrator belongs to a user, and of every key another administrator has a half.
func TestNobodyHoldsAKeyAlone(t *testing.T) {
	o := newOffice(t)
	ann, annID := o.key("安", "bj-scjg", auth.SecurityAdmin)
	bob, _ := o.key("波", "bj-scjg", auth.SecurityAdmin)
	third, _ := o.key("丙", "bj-scjg", auth.SecurityAdmin)
	o.start()
	ctx := t.Context()
	expires := model.TimeOf(time.Now().AddDate(0, 1, 0))
	for _, role := range []string{"system-admin", "security-admin", "audit-admin"} {
		if made, err := ann.IssueAPIKey(ctx, sdk.NewAPIKey{Name: "spare", Agency: "bj-scjg", Roles: []string{role}, Expires: expires}, sdk.Write{}); !is(err, model.CodeMissingField) {
			t.Errorf("a %s's key of nobody: %+v, %v", role, made, err)
		}
	}

	ask := func(name string) sdk.DraftContent {
		t.Helper()
		_, err := ann.IssueAPIKey(ctx, sdk.NewAPIKey{Name: name, User: annID.ID, Expires: expires}, sdk.Write{})
		return heldBy(t, err, bob)
	}
	approve := func(d sdk.DraftContent) sdk.DecidedDraft {
		t.Helper()
		got, err := bob.ApproveDraft(ctx, d.Draft.ID, d.Draft.Content, sdk.Write{})
		if err != nil || !got.Draft.Sent {
			t.Fatalf("%+v, %v", got, err)
		}
		return got
	}
	draw := func(by *sdk.Client, d sdk.DraftContent, half int) string {
		t.Helper()
		made, err := by.DrawAPIKey(ctx, d.Draft.ID)
		if err != nil || made.Half != half || made.Token == "" {
			t.Fatalf("%+v, %v", made, err)
		}
		return made.Token
	}
	alone := func(token string) {
		t.Helper()
		for _, text := range []string{token, token + token} {
			if who, err := o.as(text).Whoami(ctx); !is(err, model.CodeUnauthenticated) {
				t.Errorf("a half signs in: %+v, %v", who, err)
			}
		}
	}

	// Who approves may draw first. What is said names both, before and after.
	d := ask("窗口")
	if !strings.Contains(d.Draft.Zh, "同意后密钥分两半领取：前一半由 安，后一半由 复核人") || !strings.Contains(d.Draft.En, "安 draws the first half of the key and who approves the second") {
		t.Errorf("%s, %s", d.Draft.Zh, d.Draft.En)
	}
	if got := approve(d); !strings.Contains(got.Draft.Zh, "前一半由 安，后一半由 波") {
		t.Error(got.Draft.Zh)
	}
	second := draw(bob, d, 2)
	alone(second)
	if _, err := third.DrawAPIKey(ctx, d.Draft.ID); !is(err, model.CodeForbidden) {
		t.Errorf("a third: %v", err)
	}
	first := draw(ann, d, 1)
	alone(first)
	if who, err := o.as(first + second).Whoami(ctx); err != nil || who.ID != annID.ID {
		t.Errorf("%+v, %v", who, err)
	}

	// Taken back before both are drawn, nobody draws the rest of it, and what was drawn ends.
	for name, drawn := range map[string][]*sdk.Client{"none": nil, "the first": {ann}, "the second": {bob}} {
		d := ask(name)
		approve(d)
		var tokens []string
		for _, c := range drawn {
			made, err := c.DrawAPIKey(ctx, d.Draft.ID)
			if err != nil {
				t.Fatal(name, err)
			}
			tokens = append(tokens, made.Token)
		}
		if _, err := bob.WithdrawDraft(ctx, d.Draft.ID); !is(err, model.CodeForbidden) {
			t.Errorf("%s: taken back by who approved: %v", name, err)
		}
		for range 2 { // an answer that was lost is asked for again
			if h, err := ann.WithdrawDraft(ctx, d.Draft.ID); err != nil || h.State != sdk.DraftWithdrawn || h.Sent {
				t.Errorf("%s: %+v, %v", name, h, err)
			}
		}
		for who, c := range map[string]*sdk.Client{"first": ann, "second": bob} {
			if made, err := c.DrawAPIKey(ctx, d.Draft.ID); err == nil {
				t.Errorf("%s: the %s half of a key that was taken back: %+v", name, who, made)
			}
		}
		page, err := ann.APIKeys(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range page.Keys {
			if k.Name == name && k.Revoked.IsZero() {
				t.Errorf("%s: %+v", name, k)
			}
		}
		for _, token := range tokens {
			alone(token)
		}
	}
}
