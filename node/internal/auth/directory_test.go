package auth

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

func TestChanges(t *testing.T) {
	d := store(t)
	other := reopen(t, d.dir)
	d.By("os:wang")
	var told []Changed
	other.OnChange(func(c []Changed) { told = append(told, c...) })
	must := func(c Change) Applied {
		t.Helper()
		out, err := d.Apply(c)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	spec := UserSpec{Name: "王芳", Agency: "bj-scjg", Roles: []Role{Drafter, Approver}}
	u := must(Change{Action: AddUser, User: &spec}).User
	k := must(Change{Action: IssueKey, Key: &Grant{Name: "k", User: u.ID}}).Key
	spec.Roles = []Role{Verifier}
	if v := must(Change{Action: ChangeUser, ID: u.ID, Version: 1, User: &spec}).User; v.Version != 2 || !reflect.DeepEqual(v.Roles, spec.Roles) {
		t.Errorf("%+v", v)
	}
	if err := other.Refresh(); err != nil {
		t.Fatal(err)
	}
	must(Change{Action: DisableUser, ID: u.ID})
	if err := other.Refresh(); err != nil {
		t.Fatal(err)
	}
	must(Change{Action: EnableUser, ID: u.ID})
	if _, _, _, err := d.Rotate(k.ID, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := other.Refresh(); err != nil {
		t.Fatal(err)
	}
	successor := d.Keys()[1].ID
	must(Change{Action: RevokeKey, ID: k.ID})
	if err := other.Refresh(); err != nil {
		t.Fatal(err)
	}
	const by = "os:wang"
	var want []Changed
	for _, c := range [][2]string{{AddUser, u.ID}, {IssueKey, k.ID}, {DisableUser, u.ID}, {EnableUser, u.ID}, {RotateKey, k.ID}, {IssueKey, successor}, {RevokeKey, k.ID}} {
		name := "王芳"
		if strings.HasPrefix(c[0], "keys.") {
			name = "k"
		}
		want = append(want, Changed{What: c[0], ID: c[1], Name: name, Agency: "bj-scjg", By: by})
	}
	if !reflect.DeepEqual(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
	// Who edits the file is nobody that the node knows of, and not the last one that it knew.
	raw, err := os.ReadFile(d.path(PeopleFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := replaceFile(d.path(PeopleFile), []byte(strings.Replace(string(raw), "王芳", "王方方", 1))); err != nil {
		t.Fatal(err)
	}
	if err := other.Refresh(); err != nil || told[len(told)-1] != (Changed{What: ChangeUser, ID: u.ID, Name: "王方方", Agency: "bj-scjg"}) {
		t.Errorf("edited: %v, %v", told[len(told)-1], err)
	}
	before := len(told)
	if err := other.Refresh(); err != nil || len(told) != before {
		t.Errorf("told of nothing: %v, %v", told, err)
	}

	for _, tt := range []struct {
		c    Change
		want model.Code
	}{
		{Change{Action: ChangeUser, ID: u.ID, Version: 1, User: &spec}, model.CodeVersionConflict},
		{Change{Action: ChangeUser, ID: "usr-nobody", User: &spec}, model.CodeNotFound},
		{Change{Action: DisableUser, ID: "usr-nobody"}, model.CodeNotFound},
		{Change{Action: "people.remove", ID: u.ID}, model.CodeBadValue},
		{Change{Action: DisableUser, ID: u.ID, User: &spec}, model.CodeBadValue},
		{Change{Action: AddUser}, model.CodeBadValue},
		{Change{Action: IssueKey, Key: &Grant{Name: "k", User: "usr-nobody"}}, model.CodeNotFound},
		{Change{Action: AddUser, User: &UserSpec{Name: "甲", Agency: "bj-scjg", Roles: []Role{SystemAdmin, Drafter}}}, model.CodeRolesIncompatible},
		{Change{Action: AddUser, User: &UserSpec{Name: "甲", Party: hosted, Roles: []Role{Drafter}}}, model.CodeRolesIncompatible},
		{Change{Action: AddUser, User: &UserSpec{Name: "甲", Party: "91110000600037341X", Roles: []Role{TradeParty}}}, model.CodeBadUSCC},
		{Change{Action: AddUser, User: &UserSpec{Name: "甲", Agency: "bj-scjg", Party: hosted, Roles: []Role{TradeParty}}}, model.CodeBadValue},
		{Change{Action: AddUser, User: &UserSpec{Name: " ", Agency: "bj-scjg", Roles: []Role{Drafter}}}, model.CodeMissingField},
		{Change{Action: AddUser, User: &UserSpec{Name: "a\u202eb", Agency: "bj-scjg", Roles: []Role{Drafter}}}, model.CodeControlCharacter},
		{Change{Action: AddUser, User: &UserSpec{Name: "甲", Agency: "bj-scjg"}}, model.CodeMissingField},
		{Change{Action: AddUser, User: &UserSpec{Name: "甲", Agency: "bj-scjg", Roles: []Role{Drafter}, Subjects: []Subject{{"https://id.example.gov.cn", ""}}}}, model.CodeBadValue},
	} {
		if _, err := d.Apply(tt.c); !errors.Is(err, model.E(tt.want)) {
			t.Errorf("%+v: %v, want %s", tt.c, err, tt.want)
		}
	}
	if n := len(reopen(t, d.dir).People()); n != 1 {
		t.Errorf("%d users", n)
	}
}

// A file that somebody broke leaves the people as they were.
func TestBrokenFile(t *testing.T) {
	d := store(t)
	token, _ := issue(t, d, Grant{Name: "k", Agency: "bj-scjg", Roles: []Role{Verifier}})
	for _, content := range []string{"", "{", `{"version":2,"people":[]}`, `{"version":1,"people":[{}]}`, `{"version":1,"people":[],"x":1}`} {
		if err := replaceFile(d.path(PeopleFile), []byte(content)); err != nil {
			t.Fatal(err)
		}
		if err := d.Refresh(); err == nil {
			t.Errorf("%q is read", content)
		}
		if _, err := d.SignInKey("Bearer " + token); err != nil {
			t.Errorf("%q: %v", content, err)
		}
		if _, _, err := d.Issue(Grant{Name: "k2", Agency: "bj-scjg", Roles: []Role{Verifier}}); err == nil {
			t.Errorf("%q: changed all the same", content)
		}
	}
}

// A file of keys from before users existed is read as it is.
func TestOldKeyFile(t *testing.T) {
	d := store(t)
	old := `{"version":1,"keys":[{"id":"key-abc","name":"first verifier","agency":"bj-scjg","roles":["verifier"],` +
		`"hash":"` + strings.Repeat("ab", 32) + `","created":"2026-01-01T00:00:00.000Z","expires":"","revoked":""}]}`
	if err := os.WriteFile(d.path(KeyFile), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	if k := reopen(t, d.dir).Keys(); len(k) != 1 || k[0].Agency != "bj-scjg" {
		t.Errorf("%+v", k)
	}
}

func FuzzDecodePeople(f *testing.F) {
	d := store(f)
	for _, s := range []UserSpec{
		{Name: "王芳", Agency: "bj-scjg", Roles: []Role{Drafter}, Subjects: []Subject{{"https://id.example.gov.cn", "wangfang"}}, Pins: []model.Digest{{1}}},
		{Name: "货代", Party: hosted, Roles: []Role{TradeParty}},
	} {
		if _, err := d.Apply(Change{Action: AddUser, User: &s}); err != nil {
			f.Fatal(err)
		}
	}
	raw, err := os.ReadFile(d.path(PeopleFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"version":1,"people":[]}`))
	f.Add([]byte(`{"version":1,"people":[{"id":"x"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		users, err := decodePeople(b)
		if err != nil {
			return
		}
		if _, err := d.compile(contents{users: users}); err != nil {
			t.Errorf("decoded but not usable: %v", err)
		}
		raw, err := encode(peopleFile{Version: peopleFileVersion, People: users})
		if err != nil {
			t.Fatal(err)
		}
		if again, err := decodePeople(raw); err != nil || len(again) != len(users) {
			t.Errorf("written and not read again: %v", err)
		}
	})
}
