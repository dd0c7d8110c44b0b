package deploy

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// Both guides name every secret with its keys and files, every port, and every user that the manifests have.
func TestGuides(t *testing.T) {
	m := render(t, "kustomize/overlays/beijing")
	var need []string
	want := func(s string) {
		if !slices.Contains(need, s) {
			need = append(need, s)
		}
	}
	for _, w := range m.workloads() {
		want(fmt.Sprintf("| %d |", *w.pod.Spec.SecurityContext.RunAsUser))
		for _, p := range w.pod.Spec.Containers[0].Ports {
			want(fmt.Sprint(p.ContainerPort))
		}
		for _, v := range w.pod.Spec.Volumes {
			if v.Secret == nil {
				continue
			}
			want("`" + v.Secret.SecretName + "`")
			slices.SortFunc(v.Secret.Items, func(a, b corev1.KeyToPath) int { return strings.Compare(a.Key, b.Key) })
			for _, i := range v.Secret.Items {
				if i.Key == i.Path {
					want("`" + i.Key + "`")
				} else {
					want("`" + i.Key + "` → `" + i.Path + "`")
				}
			}
		}
	}
	for _, p := range m.policies {
		for _, r := range p.Spec.Egress {
			for _, port := range r.Ports {
				want("| " + port.Port.String() + " |")
			}
		}
	}
	for _, page := range []string{"../../docs/guide/deploy.en.md", "../../docs/guide/deploy.zh-CN.md"} {
		raw, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range need {
			if !strings.Contains(string(raw), s) {
				t.Errorf("%s says nothing of %s", page, s)
			}
		}
		// The commands name files that are there.
		for _, path := range []string{"network/deploy/Containerfile", "network/deploy/compose/compose.yaml", "network/deploy/package/package.sh", "network/deploy/kustomize/overlays/base", "network/deploy/compose/beijing"} {
			if _, err := os.Stat("../../" + path); err != nil || !strings.Contains(string(raw), path) {
				t.Errorf("%s and %s: %v", page, path, err)
			}
		}
	}
}
