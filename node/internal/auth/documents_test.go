package auth

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/roles.*.md anew")

// TestDocuments holds the pages of the matrix to the policies.
func TestDocuments(t *testing.T) {
	for lang, path := range map[int]string{0: "../../../docs/roles.zh-CN.md", 1: "../../../docs/roles.en.md"} {
		want := rolesPage(standard(t), lang)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != want {
			t.Errorf("%s is not what the policies say (%v): run go generate ./node/internal/auth", path, err)
		}
	}
}

// rolesPage is the matrix as a page, Chinese (0) or English (1).
func rolesPage(p *Policies, lang int) string {
	say := func(zh, en string) string { return [...]string{zh, en}[lang] }
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n<!-- Made from node/internal/auth/policies by go generate ./node/internal/auth; a test compares. -->\n\n",
		say("角色与权限", "Roles and rights"))
	b.WriteString(say(`没有策略允许的，一律拒绝。格内依次为：本机构、下级机构、其他机构；● 允许，· 拒绝。与具体机构无关的操作按“本机构”判断。
策略是 Cedar 文件（node/internal/auth/policies），节点可以在自己目录的 policies/ 中增加只禁止、不允许的策略（docs/spec/people.md）。

三员分立：系统管理员、安全保密管理员、安全审计员互斥，也不得兼任其他任何角色；建立用户或密钥时即拒绝。
“本机构”指用户所属机构；“下级机构”指登记簿中在它之下的机构。他方机构的记录可读，不可写。
用户与接口密钥的变动（people.change）须由另一名安全保密管理员复核；托管主体的人员归托管它的机构管理（docs/spec/people.md）。
表中 search、search.export 只给机构的人员：托管主体的人员无论何种角色，都不得检索或导出（hosted-parties-search-nothing）。

`, `What no policy permits is denied. Each cell: one's own agency, those below it, any other; ● allowed, · denied. What
concerns no agency in particular is decided as one's own. The policies are Cedar files (node/internal/auth/policies); a
node may add policies of its own that only forbid, in policies/ of its folder (docs/spec/people.md).

The three administrators stand apart: none of them may hold any other role, and a user or key that would is refused when it
is made. "Below" is the registry's tree. Records of other agencies are read, never written.
A change of users or API keys (people.change) needs another security administrator's approval; a hosted party's people are
managed by the agency that hosts it (docs/spec/people.md).
search and search.export are for agencies' people: those of a hosted party, whatever their role, neither search nor export
(hosted-parties-search-nothing).

`))
	b.WriteString(say("| 操作 | |", "| action | |"))
	for _, r := range Roles {
		fmt.Fprintf(&b, " %s |", RoleNames[r][lang])
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(Roles)) + "\n| | |")
	for _, r := range Roles {
		fmt.Fprintf(&b, " `%s` |", r)
	}
	b.WriteString("\n")
	for _, a := range Actions {
		fmt.Fprintf(&b, "| `%s` | %s |", a.Name, say(a.Zh, a.En))
		for _, r := range Roles {
			cell := ""
			for relation := range relationNames {
				if p.Decide([]Role{r}, a.Name, Relation(relation)).Allowed {
					cell += "●"
				} else {
					cell += "·"
				}
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "\n## %s\n\n%s\n", say("决定所依据的策略", "The policies that decide"), say(
		"访问日志记下每次决定所依据的策略编号；own-draft 表示试图办理本人提交的事项，`default-deny` 表示没有策略允许，`node:` 开头的是节点自己的策略。\n",
		"The access log names the policy that each decision rests on: own-draft where somebody decides on what he drafted himself, `default-deny` where none permits, `node:…` one of the node's own.\n"))
	fmt.Fprintf(&b, "| %s | %s |\n|---|---|\n", say("角色", "role"), say("策略", "policies"))
	for _, r := range Roles {
		var ids []string
		seen := map[string]bool{}
		for _, a := range Actions {
			for relation := range relationNames {
				if d := p.Decide([]Role{r}, a.Name, Relation(relation)); d.Allowed && !seen[d.Policy] {
					seen[d.Policy] = true
					ids = append(ids, "`"+d.Policy+"`")
				}
			}
		}
		fmt.Fprintf(&b, "| %s | %s |\n", RoleNames[r][lang], strings.Join(ids, ", "))
	}
	return b.String()
}
