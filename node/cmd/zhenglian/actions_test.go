package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/zhenglian/zhenglian/node/internal/auth"
)

// Whatever can stand as an action in the access log has a Chinese word: those of the matrix, changes of people and keys, and
// the node's own.
func TestActionsInChinese(t *testing.T) {
	names := slices.Concat(slices.Collect(maps.Keys(ownActions)), slices.Collect(maps.Keys(auth.ChangeNames)))
	for _, a := range auth.Actions {
		names = append(names, a.Name)
	}
	for _, name := range names {
		if zh := actionNames(name); zh == "" || strings.ContainsFunc(zh, func(r rune) bool { return r < 0x80 }) {
			t.Errorf("%s is called %q", name, zh)
		}
	}
	if got := actionNames("draft.read,draft.approve-licence"); got != "查看待复核事项、复核证照终止与批量" {
		t.Error(got)
	}
	if got := actionNames("something.new"); got != "something.new" {
		t.Error(got)
	}
}
