package app_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/sdk"
)

// key makes a user of one role with a key, on the machine.
func (o *office) key(name string, agency model.AgencyID, role auth.Role) (*sdk.Client, *auth.User) {
	o.t.Helper()
	u := o.add(auth.UserSpec{Name: name, Agency: agency, Roles: []auth.Role{role}})
	cfg, err := app.LoadConfig(o.dir)
	if err != nil {
		o.t.Fatal(err)
	}
	people, err := app.People(cfg)
	if err != nil {
		o.t.Fatal(err)
	}
	token, _, err := people.Issue(auth.Grant{Name: name, User: u.ID})
	if err != nil {
		o.t.Fatal(err)
	}
	return o.as(token), u
}

// heldBy wants a change to wait, and returns its draft as another sees it.
func heldBy(t *testing.T, err error, another *sdk.Client) sdk.DraftContent {
	t.Helper()
	h, ok := sdk.Held(err)
	if !ok || !slices.Equal(h.Rules, []string{"keys"}) {
		t.Fatalf("it does not wait: %+v, %v", h, err)
	}
	d, err := another.Draft(t.Context(), h.ID, 0)
	if err != nil || len(d.Rows) != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	return d
}

// Users and keys are changed over the API by one security administrator and another: nothing before the second agrees, what
// he sees and nothing else afterwards, and a key is read by who asked for it, once.
func TestPeopleByTwo(t *testing.T) {
	o := newOffice(t)
	ann, annID := o.key("安", "bj-scjg", auth.SecurityAdmin)
	bob, _ := o.key("波", "bj-scjg", auth.SecurityAdmin)
	district, _ := o.key("区", "bj-dc-scjg", auth.SecurityAdmin)
	system, _ := o.key("系", "bj-scjg", auth.SystemAdmin)
	watcher, _ := o.key("区审", "bj-dc-scjg", auth.AuditAdmin)
	drafter, _ := o.key("经", "bj-scjg", auth.Drafter)
	o.start()
	ctx := t.Context()
	approve := func(d sdk.DraftContent, by *sdk.Client) {
		t.Helper()
		got, err := by.ApproveDraft(ctx, d.Draft.ID, d.Draft.Content, sdk.Write{})
		if err != nil || !got.Draft.Sent || len(got.Draft.OperationIDs) != 0 {
			t.Fatalf("%+v, %v", got, err)
		}
	}

	spec := sdk.UserSpec{Name: "王芳", Agency: "bj-dc-scjg", Roles: []string{"drafter"}, Subjects: []sdk.Subject{{Issuer: o.at.URL, Subject: "wf"}}}
	write := sdk.Write{IdempotencyKey: "wang"}
	_, err := ann.AddUser(ctx, spec, write)
	d := heldBy(t, err, bob)
	if row := d.Rows[0]; row.Operation.Type != "people.add" || !strings.Contains(row.Zh, "新增用户：usr-") || !strings.Contains(row.Zh, "，姓名 王芳，属于 bj-dc-scjg，角色 经办，登录标识 "+o.at.URL+"#wf") ||
		!strings.Contains(row.En, ", name 王芳, of bj-dc-scjg, roles drafter, sign-in ") {
		t.Errorf("%+v", row)
	}
	if _, err := ann.AddUser(ctx, spec, write); err == nil {
		t.Error("asked for again it does not wait")
	} else if h, _ := sdk.Held(err); h.ID != d.Draft.ID {
		t.Errorf("asked for again it is another draft: %v", err)
	}
	if _, err := ann.ApproveDraft(ctx, d.Draft.ID, d.Draft.Content, sdk.Write{}); !is(err, model.CodeOwnDraft) {
		t.Errorf("one's own: %v", err)
	}
	for who, c := range map[string]*sdk.Client{"a system administrator": system, "a drafter": drafter} {
		if _, err := c.Draft(ctx, d.Draft.ID, 0); !is(err, model.CodeNotFound) {
			t.Errorf("%s sees it: %v", who, err)
		}
		if _, err := c.ApproveDraft(ctx, d.Draft.ID, d.Draft.Content, sdk.Write{}); !is(err, model.CodeNotFound) {
			t.Errorf("%s approves it: %v", who, err)
		}
	}
	if _, err := bob.ApproveDraft(ctx, d.Draft.ID, model.Digest{1}, sdk.Write{}); !is(err, model.CodeDraftChanged) {
		t.Errorf("something else than what lies there: %v", err)
	}
	if _, err := o.as(o.at.Token("wf", nil)).Whoami(ctx); !is(err, model.CodeUnauthenticated) {
		t.Errorf("she is in before she was approved: %v", err)
	}
	approve(d, bob)
	wang := string(d.Rows[0].Operation.Record)
	if who, err := o.as(o.at.Token("wf", nil)).Whoami(ctx); err != nil || who.ID != wang {
		t.Errorf("%+v, %v", who, err)
	}

	// A change of what has changed since is refused, and said beforehand.
	u, err := bob.User(ctx, wang)
	if err != nil || u.Version != 1 {
		t.Fatalf("%+v, %v", u, err)
	}
	s := u.Spec()
	s.Roles = []string{"drafter", "approver"}
	_, err = ann.ChangeUser(ctx, wang, s, sdk.Write{})
	first := heldBy(t, err, bob)
	if row := first.Rows[0]; !strings.Contains(row.Zh, "角色由 经办 改为 经办、复核") || row.Moved {
		t.Errorf("%+v", row)
	}
	s.Name = "王芳芳"
	_, err = bob.ChangeUser(ctx, wang, s, sdk.Write{})
	approve(heldBy(t, err, ann), ann)
	if first, err = bob.Draft(ctx, first.Draft.ID, 0); err != nil || !first.Rows[0].Moved {
		t.Errorf("%+v, %v", first, err)
	}
	if _, err := bob.ApproveDraft(ctx, first.Draft.ID, first.Draft.Content, sdk.Write{}); !is(err, model.CodeVersionConflict) {
		t.Errorf("%v", err)
	}
	s.Agency, s.Version = "bj-scjg", 2
	if _, err := ann.ChangeUser(ctx, wang, s, sdk.Write{}); !is(err, model.CodeBadValue) {
		t.Errorf("to another agency: %v", err)
	}

	// A key: by the district's administrator for one of hers, drawn by her and by who approved, a half each and once.
	_, err = district.IssueAPIKey(ctx, sdk.NewAPIKey{Name: "窗口三", User: wang, Expires: model.TimeOf(time.Now().AddDate(1, 0, 0))}, sdk.Write{})
	d = heldBy(t, err, bob)
	if row := d.Rows[0]; !strings.Contains(row.Zh, "签发接口密钥：key-") || !strings.Contains(row.Zh, "，窗口三，属于 王芳芳 "+wang+"，角色 经办、复核，有效至 ") {
		t.Errorf("%+v", row)
	}
	if _, err := district.DrawAPIKey(ctx, d.Draft.ID); !is(err, model.CodeAwaitingApproval) {
		t.Errorf("before it is approved: %v", err)
	}
	approve(d, bob)
	if _, err := ann.DrawAPIKey(ctx, d.Draft.ID); !is(err, model.CodeForbidden) {
		t.Errorf("by neither: %v", err)
	}
	made, err := district.DrawAPIKey(ctx, d.Draft.ID)
	if err != nil || made.Key == nil || made.Key.ID != string(d.Rows[0].Operation.Record) || made.Half != 1 || !slices.Equal(made.Key.Undrawn, []int{2}) {
		t.Fatalf("%+v, %v", made, err)
	}
	for _, alone := range []string{made.Token, made.Token + made.Token} {
		if _, err := o.as(alone).Whoami(ctx); !is(err, model.CodeUnauthenticated) {
			t.Errorf("one half signs in: %v", err)
		}
	}
	second, err := bob.DrawAPIKey(ctx, d.Draft.ID)
	if err != nil || second.Half != 2 || second.Token == made.Token || len(second.Key.Undrawn) != 0 {
		t.Fatalf("%+v, %v", second, err)
	}
	if who, err := o.as(made.Token + second.Token).Whoami(ctx); err != nil || who.ID != wang {
		t.Errorf("%+v, %v", who, err)
	}
	if _, err := o.as(second.Token).Whoami(ctx); !is(err, model.CodeUnauthenticated) {
		t.Errorf("the other half signs in: %v", err)
	}
	if _, err := bob.DrawAPIKey(ctx, d.Draft.ID); !is(err, model.CodeKeyShown) {
		t.Errorf("once more: %v", err)
	}
	if _, err := district.WithdrawDraft(ctx, d.Draft.ID); !is(err, model.CodeAlreadyDecided) {
		t.Errorf("a key that works is taken back: %v", err)
	}
	if _, err := district.DrawAPIKey(ctx, d.Draft.ID); !is(err, model.CodeKeyShown) {
		t.Errorf("once more: %v", err)
	}
	keys, err := district.APIKeys(ctx, "")
	if err != nil || len(keys.Keys) != 3 { // her own, her auditor's and this one
		t.Errorf("%+v, %v", keys, err)
	}

	// Revoked and disabled.
	_, err = bob.RevokeAPIKey(ctx, made.Key.ID, sdk.Write{})
	approve(heldBy(t, err, ann), ann)
	if _, err := o.as(made.Token + second.Token).Whoami(ctx); !is(err, model.CodeUnauthenticated) {
		t.Errorf("a revoked key: %v", err)
	}
	_, err = bob.DisableUser(ctx, wang, sdk.Write{})
	if _, err := district.DisableUser(ctx, wang, sdk.Write{}); !is(err, model.CodeAlreadyDrafted) {
		t.Errorf("the same waits twice: %v", err)
	}
	approve(heldBy(t, err, ann), ann)
	if _, err := o.as(o.at.Token("wf", nil)).Whoami(ctx); !is(err, model.CodeUnauthenticated) {
		t.Errorf("a disabled user: %v", err)
	}
	_, err = bob.EnableUser(ctx, wang, sdk.Write{})
	approve(heldBy(t, err, ann), ann)
	if _, err := o.as(o.at.Token("wf", nil)).Whoami(ctx); err != nil {
		t.Error(err)
	}

	// Not above oneself, not beside.
	if _, err := district.User(ctx, annID.ID); !is(err, model.CodeNotFound) {
		t.Errorf("%v", err)
	}
	for _, agency := range []model.AgencyID{"bj-scjg", "bj-jtw", "tj-gov"} {
		if _, err := district.AddUser(ctx, sdk.UserSpec{Name: "甲", Agency: agency, Roles: []string{"verifier"}}, sdk.Write{}); !is(err, model.CodeForbidden) {
			t.Errorf("%s: %v", agency, err)
		}
	}
	if _, err := district.DisableUser(ctx, annID.ID, sdk.Write{}); !is(err, model.CodeForbidden) {
		t.Errorf("%v", err)
	}
	if users, err := district.Users(ctx, ""); err != nil || len(users.Users) != 3 {
		t.Errorf("%+v, %v", users, err)
	}
	if _, err := ann.AddUser(ctx, sdk.UserSpec{Name: "甲", Agency: "bj-scjg", Roles: []string{"system-admin", "drafter"}}, sdk.Write{}); !is(err, model.CodeRolesIncompatible) {
		t.Errorf("what can never be does not wait: %v", err)
	}
	if _, err := ann.AddUser(ctx, sdk.UserSpec{Name: "甲", Agency: "bj-scjg", Roles: []string{"root"}}, sdk.Write{}); !is(err, model.CodeBadValue) ||
		model.AsError(err).Field != "roles" || !strings.Contains(err.Error(), "drafter | approver") || !strings.Contains(err.Error(), "data-owner") {
		t.Errorf("an unknown role is answered without those that there are: %v", err)
	}
	if _, err := system.Users(ctx, ""); !is(err, model.CodeForbidden) {
		t.Errorf("%v", err)
	}

	// The access log has both: who approved, and who asked.
	o.until("the access log names them", func() bool {
		var asked, approved bool
		for e, err := range o.as(o.keys["audit-admin"]).Access(ctx, sdk.AccessQuery{Record: sdk.AccessRecord{Kind: "user", ID: wang}}) {
			if err != nil {
				t.Fatal(err)
			}
			asked = asked || e.Action == auth.AddUser && e.Person == annID.ID
			approved = approved || e.Route == "approve-draft" && strings.Contains(e.Action, auth.ChangePeople) && e.Name == "波"
		}
		return asked && approved
	})

	// The node's own entries are not for a district's auditor; those about the district's people are, whoever changed them.
	seen := map[string]int{}
	for e, err := range watcher.Access(ctx, sdk.AccessQuery{}) {
		if err != nil || e.Agency != "bj-dc-scjg" {
			t.Fatalf("%+v, %v", e, err)
		}
		switch {
		case e.Route != "":
			seen[e.Route+" "+e.Action]++ // her own administrator's requests
		case e.Use == nil || e.Person == "" || e.Name == "":
			t.Errorf("of whom, or by whom: %+v", e)
		default:
			seen[e.Name+" "+e.Action+" "+e.Use.ItemName]++
		}
	}
	for _, want := range []string{
		"安 people.add 王芳", "波 people.change 王芳芳", "区 keys.issue 窗口三", "波 keys.revoke 窗口三", "波 people.disable 王芳芳", "波 people.enable 王芳芳",
		"issue-api-key keys.issue", "draw-api-key keys.draw", "disable-user people.disable",
	} {
		if seen[want] == 0 {
			t.Errorf("a district's auditor does not see %q: %v", want, seen)
		}
	}

	// What no file has: the key's text.
	o.running()
	err = filepath.WalkDir(o.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if strings.Contains(string(raw), made.Token) || strings.Contains(string(raw), second.Token) {
			t.Errorf("%s has the key", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// An approved change that a crash left between the directory and the inbox is made once.
func TestPeopleAfterACrash(t *testing.T) {
	o := newOffice(t)
	cfg, err := app.LoadConfig(o.dir)
	if err != nil {
		t.Fatal(err)
	}
	people, err := app.People(cfg)
	if err != nil {
		t.Fatal(err)
	}
	spec := &auth.UserSpec{Name: "甲", Agency: "bj-scjg", Roles: []auth.Role{auth.Drafter}}
	add := auth.Change{Action: auth.AddUser, ID: "usr-a", User: spec, By: "ann", Draft: "1-abcdefgh"}
	change := auth.Change{Action: auth.ChangeUser, ID: "usr-a", Version: 1, User: &auth.UserSpec{Name: "乙", Agency: "bj-scjg", Roles: spec.Roles}, By: "ann", Draft: "2-abcdefgh"}
	disable := auth.Change{Action: auth.DisableUser, ID: "usr-a", Version: 2, By: "ann", Draft: "3-abcdefgh"}
	for n, c := range []auth.Change{add, change, disable} {
		for range 2 {
			made, err := people.Apply(c)
			if err != nil || made.User.Version != n+1 || made.User.Changed.Draft != c.Draft {
				t.Errorf("%s: %+v, %v", c.Action, made.User, err)
			}
		}
	}
	if n := len(people.People()); n != 1 {
		t.Errorf("%d users", n)
	}
	if _, err := people.Apply(add); !is(err, model.CodeVersionConflict) {
		t.Errorf("an old addition: %v", err)
	}
	key := auth.Change{Action: auth.IssueKey, ID: "key-a", Key: &auth.Grant{Name: "k", User: "usr-a"}, Draft: "4-abcdefgh"}
	if made, err := people.Apply(key); err != nil || made.Token == "" {
		t.Errorf("%+v, %v", made, err)
	}
	if made, err := people.Apply(key); !is(err, model.CodeKeyShown) || made.Token != "" {
		t.Errorf("%+v, %v", made, err)
	}
}

// Where the rule is off a change is made at once, and a request that is sent again makes nothing twice.
func TestPeopleByOne(t *testing.T) {
	o := newOffice(t)
	file := filepath.Join(o.dir, app.ConfigFile)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	o.write(app.ConfigFile, []byte(strings.Replace(string(raw), "off: [registry]", "off: [registry, keys]", 1)))
	o.start()
	ctx, admin := t.Context(), o.as(o.keys["security-admin"])
	spec := sdk.UserSpec{Name: "甲", Agency: "bj-scjg", Roles: []string{"verifier"}}
	made, err := admin.AddUser(ctx, spec, sdk.Write{IdempotencyKey: "a"})
	if err != nil || made.User == nil || made.User.Version != 1 {
		t.Fatalf("%+v, %v", made, err)
	}
	again, err := admin.AddUser(ctx, spec, sdk.Write{IdempotencyKey: "a"})
	if users, _ := admin.Users(ctx, ""); err != nil || again.User.ID != made.User.ID || len(users.Users) != 1 {
		t.Errorf("%+v, %v, %+v", again, err, users)
	}
	k := sdk.NewAPIKey{Name: "k", User: made.User.ID, Expires: model.TimeOf(time.Now().AddDate(0, 1, 0))}
	key, err := admin.IssueAPIKey(ctx, k, sdk.Write{IdempotencyKey: "k"})
	if err != nil || key.Token == "" {
		t.Fatalf("%+v, %v", key, err)
	}
	if who, err := o.as(key.Token).Whoami(ctx); err != nil || who.ID != made.User.ID {
		t.Errorf("%+v, %v", who, err)
	}
	if key, err = admin.IssueAPIKey(ctx, k, sdk.Write{IdempotencyKey: "k"}); !is(err, model.CodeKeyShown) || key.Token != "" {
		t.Errorf("once more: %+v, %v", key, err)
	}
}
