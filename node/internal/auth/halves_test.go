package auth

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// draw draws a half of a key and returns its text.
func draw(t *testing.T, d *Directory, id string, h Half) string {
	t.Helper()
	made, err := d.Apply(Change{Action: IssueKey, ID: id, Half: h, Key: &Grant{Name: "k", Agency: "bj-scjg", Roles: []Role{Drafter}}, By: "ann"})
	if err != nil || made.Token == "" {
		t.Fatalf("half %d of %s: %+v, %v", h, id, made, err)
	}
	return made.Token
}

// Whichever half is drawn first, only both together sign in, in either order; a half alone, twice, or with another key's, and
// a whole key that is made of one do not.
func TestHalves(t *testing.T) {
	d := store(t)
	whole, _ := issue(t, d, Grant{Name: "w", Agency: "bj-scjg", Roles: []Role{Drafter}})
	for id, order := range map[string][2]Half{"key-a": {First, Second}, "key-b": {Second, First}} {
		text := map[Half]string{order[0]: draw(t, d, id, order[0])}
		for _, try := range []string{text[order[0]], text[order[0]] + text[order[0]]} {
			if _, err := d.SignInKey("Bearer " + try); err == nil {
				t.Errorf("%s: half %d alone signs in", id, order[0])
			}
		}
		if d.Find(id) != nil {
			t.Errorf("%s: somebody is a key that is half drawn", id)
		}
		text[order[1]] = draw(t, d, id, order[1])
		for _, k := range []*Directory{d, reopen(t, d.dir)} {
			a, b := text[First], text[Second]
			for _, try := range []string{a + b, b + a} {
				if p, err := k.SignInKey("Bearer " + try); err != nil || p.ID() != id {
					t.Errorf("%s: %v", id, err)
				}
			}
			for _, try := range []string{a, b, a + a, b + b, a + "\x00" + b[1:], a[:len(a)-1] + "~" + b, a + b[:len(b)-1] + "~", whole + "AA" + b, KeyPrefix + a[len(firstPrefix):], KeyPrefix + b[len(secondPrefix):], a + strings.Repeat("\x00", halfLength)} {
				if _, err := k.SignInKey("Bearer " + try); err == nil {
					t.Errorf("%s: %q signs in", id, try)
				}
			}
			if p, err := k.SignInKey("Bearer " + whole); err != nil || p == nil {
				t.Errorf("a whole key: %v", err)
			}
		}
		for _, h := range []Half{Whole, First, Second} {
			if _, err := d.Apply(Change{Action: IssueKey, ID: id, Half: h, Key: &Grant{Name: "k", Agency: "bj-scjg", Roles: []Role{Drafter}}}); model.AsError(err).Code != model.CodeKeyShown {
				t.Errorf("%s: half %d again: %v", id, h, err)
			}
		}
		raw, err := os.ReadFile(d.path(KeyFile))
		if err != nil || bytes.Contains(raw, []byte(text[First][len(firstPrefix):])) || bytes.Contains(raw, []byte(text[Second][len(secondPrefix):])) {
			t.Errorf("%s: the file has a half of it, %v", id, err)
		}
	}

	// Of two keys the one's first and the other's second are none.
	a, b := draw(t, d, "key-c", First), draw(t, d, "key-d", Second)
	if _, err := d.SignInKey("Bearer " + a + b); err == nil {
		t.Error("halves of two keys sign in")
	}
	draw(t, d, "key-c", Second)
	draw(t, d, "key-d", First)
	if _, err := d.SignInKey("Bearer " + a + b); err == nil {
		t.Error("halves of two keys sign in, both being drawn")
	}
}

// A key that was ended between its halves stays ended, and a file that says both or neither of a key is refused.
func TestHalvesEnd(t *testing.T) {
	d := store(t)
	a := draw(t, d, "key-a", First)
	if err := d.Revoke("key-a"); err != nil {
		t.Fatal(err)
	}
	made, err := d.Apply(Change{Action: IssueKey, ID: "key-a", Half: Second, Key: &Grant{Name: "k", Agency: "bj-scjg", Roles: []Role{Drafter}}})
	if model.AsError(err).Code != model.CodeBadValue {
		t.Errorf("its second half: %+v, %v", made, err)
	}
	if _, err := d.SignInKey("Bearer " + a + a); err == nil {
		t.Error("it signs in")
	}
	for _, c := range []Change{{Action: IssueKey, Half: First, Key: &Grant{Name: "k"}}, {Action: IssueKey, ID: "x", Half: 3, Key: &Grant{Name: "k"}}, {Action: RevokeKey, ID: "key-a", Half: First}} {
		if _, err := d.Apply(c); model.AsError(err).Code != model.CodeBadValue {
			t.Errorf("%+v: %v", c, err)
		}
	}
	const created = `"created":"2026-11-23T14:00:00.000Z","expires":"","revoked":""`
	one := strings.Repeat("1", 64)
	for hashes, good := range map[string]bool{
		`"hash":"` + one + `",`: true, `"first_half":"` + one + `",`: true, `"second_half":"` + one + `",`: true,
		`"first_half":"` + one + `","second_half":"` + one + `",`: true, ``: false, `"hash":"` + one + `","first_half":"` + one + `",`: false,
	} {
		_, err := decodeKeys([]byte(`{"version":1,"keys":[{"id":"a","name":"a","agency":"bj-scjg","roles":["drafter"],` + hashes + created + `}]}`))
		if (err == nil) != good {
			t.Errorf("%s: %v", hashes, err)
		}
	}
}
