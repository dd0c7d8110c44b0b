package sdk_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// Links between the project's pages lead somewhere. Held from here for the same reason as the walls.
func TestDocs(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	faults, links := brokenLinks(t, root)
	for _, f := range faults {
		t.Error(f)
	}
	if links == 0 {
		t.Error("no links were found")
	}
}

var (
	inlineLink    = regexp.MustCompile(`\]\(<?([^()<>\s]+)>?(?:\s+"[^"]*")?\)`)
	referenceLink = regexp.MustCompile(`(?m)^ {0,3}\[[^\]]+\]:\s*<?([^<>\s]+)`)
	pageMention   = regexp.MustCompile("(?:^|[\\s(`])((?:[\\w-]+/)*[\\w-]+(?:\\.[\\w-]+)?\\.md)\\b") // a page named in the text
	scheme        = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)
	heading       = regexp.MustCompile(`(?m)^#{1,6} +(.+?)\s*$`)
)

// brokenLinks reads the pages that readers are sent to. A link leads from its page's folder to a file or
// folder of the project, and its fragment to a heading there. A page that is only named may be named from
// the project's root as well.
func brokenLinks(t *testing.T, root string) (faults []string, links int) {
	t.Helper()
	for _, page := range pages(t, root) {
		prose := readProse(t, filepath.Join(root, page))
		dir := filepath.Dir(page)
		for _, m := range slices.Concat(inlineLink.FindAllStringSubmatch(prose, -1), referenceLink.FindAllStringSubmatch(prose, -1)) {
			if scheme.MatchString(m[1]) {
				continue
			}
			links++
			path, fragment, _ := strings.Cut(m[1], "#")
			target, body := page, prose
			if path != "" {
				target = filepath.Join(dir, path)
				if !inProject(root, target) {
					faults = append(faults, fmt.Sprintf("%s links to %s, which is not there", page, m[1]))
					continue
				}
			}
			if fragment == "" {
				continue
			}
			if target != page {
				body = readProse(t, filepath.Join(root, target))
			}
			if !slices.Contains(anchors(body), fragment) {
				faults = append(faults, fmt.Sprintf("%s links to %s, and there is no such heading", page, m[1]))
			}
		}
		for _, m := range pageMention.FindAllStringSubmatch(inlineLink.ReplaceAllString(prose, "]"), -1) {
			links++
			if !inProject(root, filepath.Join(dir, m[1])) && !inProject(root, m[1]) {
				faults = append(faults, fmt.Sprintf("%s names %s, which is not there", page, m[1]))
			}
		}
	}
	return faults, links
}

func pages(t *testing.T, root string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "README*.md"))
	if err != nil {
		t.Fatal(err)
	}
	found = append(found, filepath.Join(root, "CONTRIBUTING.md"))
	err = filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) == ".md" {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range found {
		if found[i], err = filepath.Rel(root, found[i]); err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// readProse gives a page without its code blocks, which show links and headings and do not make any.
func readProse(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fenced := false
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(strings.TrimLeft(line, " "), "```") {
			fenced = !fenced
		} else if !fenced {
			b.WriteString(line)
		}
	}
	return b.String()
}

// inProject tells whether path, from root, is a file or folder that a clone has.
func inProject(root, path string) bool {
	if !filepath.IsLocal(path) || within(path, "out") || within(path, "bin") {
		return false
	}
	_, err := os.Stat(filepath.Join(root, path))
	return err == nil
}

// anchors are the fragments of a page's headings as GitHub makes them.
func anchors(text string) (out []string) {
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		out = append(out, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	return out
}

func TestBrokenLinks(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"CONTRIBUTING.md": "see `docs/a.md` and [a](docs/a.md#over-there)",
		"README.md":       "[a](docs/a.md) [web](https://example.org/none.md) [pieces](#the-pieces-here)\n## The pieces, here\n```\n[x](code.md)\n```\n",
		"docs/a.md":       "[up](../README.md \"title\") [gone](gone.md) [none](#none) [out](../../x.md)\n\n[r]: nowhere/\nnamed: docs/b.md, a.md\n",
		"out/made.md":     "",
		"docs/c/d.md":     "[made](../../out/made.md)",
	} {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, links := brokenLinks(t, root)
	slices.Sort(got)
	want := []string{
		"CONTRIBUTING.md links to docs/a.md#over-there, and there is no such heading",
		"docs/a.md links to #none, and there is no such heading",
		"docs/a.md links to ../../x.md, which is not there",
		"docs/a.md links to gone.md, which is not there",
		"docs/a.md links to nowhere/, which is not there",
		"docs/a.md names docs/b.md, which is not there",
		"docs/c/d.md links to ../../out/made.md, which is not there",
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if links == 0 {
		t.Error("links are not counted")
	}
}
