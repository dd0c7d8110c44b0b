package deploy

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// served are the paths that the programs answer without a certificate, by image and port name. config_test.go
// asks the programs themselves; Fabric's are those of its operations service.
var served = map[string]map[string][]string{
	"zhenglian/zhenglian":        {"api": {"/healthz", "/readyz"}},
	"zhenglian/zl-chaincode":     {"admin": {"/healthz", "/readyz"}},
	"hyperledger/fabric-peer":    {"operations": {"/healthz", "/version"}},
	"hyperledger/fabric-orderer": {"operations": {"/healthz", "/version"}},
}

// An image is pinned by an exact version, and perhaps by its digest as well. No registry is named: the
// organisation's runtime knows its mirror.
var pinned = regexp.MustCompile(`^([a-z0-9-]+/[a-z0-9-]+):(\d+)\.(\d+)\.(\d+)(@sha256:[0-9a-f]{64})?$`)

// imageFault says what is wrong with an image's name, and returns the name without its version.
func imageFault(image string) (name, fault string) {
	m := pinned.FindStringSubmatch(image)
	if m == nil {
		return image, fmt.Sprintf("image %q is not pinned as name:x.y.z", image)
	}
	if strings.HasPrefix(m[1], "hyperledger/") {
		v := [3]int{}
		for i := range v {
			v[i], _ = strconv.Atoi(m[2+i])
		}
		if v[0] != 2 || v[1] != 5 || v[2] < 3 {
			return m[1], fmt.Sprintf("image %q: 2.5.3 or a later 2.5 is needed: earlier orderers can hang after a restart", image)
		}
	}
	return m[1], ""
}

// faults returns a sentence for each rule that the manifest breaks.
func (m *manifest) faults() []string {
	var out []string
	add := func(where, format string, args ...any) { out = append(out, where+": "+fmt.Sprintf(format, args...)) }
	all := m.workloads()

	space := ""
	for n, ns := range m.namespaces {
		if space = n; ns.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
			add("namespace", "%s does not enforce restricted pods", n)
		}
	}
	for what, in := range m.spaces {
		if in != space {
			add(what, "is in namespace %q, not %q", in, space)
		}
	}
	for _, w := range all {
		at := w.kind + " " + w.name
		m.podFaults(w, func(format string, args ...any) { add(at, format, args...) })
		if !labels.SelectorFromSet(w.selector).Matches(labels.Set(w.pod.Labels)) {
			add(at, "its selector does not match its pods")
		}
		for _, other := range all {
			if other.name != w.name && labels.SelectorFromSet(w.selector).Matches(labels.Set(other.pod.Labels)) {
				add(at, "its selector takes the pods of %s too", other.name)
			}
		}
		if w.kind == "StatefulSet" {
			if s := m.services[w.service]; s == nil {
				add(at, "its service %q is not there", w.service)
			} else if !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(w.pod.Labels)) {
				add(at, "its service %s does not select its pods", w.service)
			}
			if len(w.claims) == 0 {
				add(at, "has no volume of its own")
			}
		}
		if w.kind != "Pod" {
			covering := 0
			for _, b := range m.budgets {
				if matches(b.Spec.Selector, w.pod.Labels) {
					covering++
				}
			}
			if covering != 1 {
				add(at, "has %d disruption budgets", covering)
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(m.services)) {
		m.serviceFaults(n, all, func(format string, args ...any) { add("Service "+n, format, args...) })
	}
	for _, n := range slices.Sorted(maps.Keys(m.budgets)) {
		b := m.budgets[n]
		if !slices.ContainsFunc(all, func(w workload) bool { return matches(b.Spec.Selector, w.pod.Labels) }) {
			add("PodDisruptionBudget "+n, "is for no pod")
		}
		if b.Spec.MinAvailable == nil && b.Spec.MaxUnavailable == nil {
			add("PodDisruptionBudget "+n, "allows what?")
		}
	}
	slices.Sort(out)
	return out
}

func (m *manifest) serviceFaults(name string, all []workload, add func(string, ...any)) {
	s := m.services[name]
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		add("hides the callers' addresses from the network policies")
	}
	kinds := map[string]bool{}
	for _, w := range all {
		if !labels.SelectorFromSet(s.Spec.Selector).Matches(labels.Set(w.pod.Labels)) {
			continue
		}
		kinds[w.name] = true
		for _, p := range s.Spec.Ports {
			if port, ok := portOf(w.pod.Spec.Containers[0], p.TargetPort); !ok || port != p.Port {
				add("port %d is none of %s", p.Port, w.name)
			}
		}
	}
	if len(kinds) != 1 {
		add("selects %d workloads", len(kinds))
	}
}

// portOf finds a container's port by name. Numbers are not used: a name cannot drift apart.
func portOf(c corev1.Container, target intstr.IntOrString) (int32, bool) {
	for _, p := range c.Ports {
		if target.Type == intstr.String && p.Name == target.StrVal {
			return p.ContainerPort, true
		}
	}
	return 0, false
}

func matches(s *metav1.LabelSelector, l map[string]string) bool {
	sel, err := metav1.LabelSelectorAsSelector(s)
	return err == nil && sel.Matches(labels.Set(l))
}

func isTrue(b *bool) bool  { return b != nil && *b }
func isFalse(b *bool) bool { return b != nil && !*b }

func (m *manifest) podFaults(w workload, add func(string, ...any)) {
	s := w.pod.Spec
	if !isFalse(s.AutomountServiceAccountToken) {
		add("carries a service account's token")
	}
	if !isFalse(s.EnableServiceLinks) {
		add("takes service links into its environment, where they could be settings")
	}
	if s.HostNetwork || s.HostPID || s.HostIPC {
		add("shares its machine's namespaces")
	}
	c := s.SecurityContext
	if c == nil || !isTrue(c.RunAsNonRoot) || c.RunAsUser == nil || *c.RunAsUser == 0 || c.FSGroup == nil || *c.FSGroup == 0 {
		add("may run as root")
	}
	if c == nil || c.SeccompProfile == nil || c.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		add("has no seccomp profile")
	}
	if len(s.InitContainers) > 0 || len(s.Containers) != 1 {
		add("has more than one container")
	}
	m.volumeFaults(w, add)
	if w.kind != "Pod" {
		affinityFaults(w, add)
	}
	for _, c := range s.Containers {
		m.containerFaults(w, c, add)
	}
}

func affinityFaults(w workload, add func(string, ...any)) {
	a := w.pod.Spec.Affinity
	if a == nil || a.PodAntiAffinity == nil {
		add("is kept apart from nothing")
		return
	}
	terms := slices.Clone(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
	for _, p := range a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution {
		terms = append(terms, p.PodAffinityTerm)
	}
	kind := map[string]string{"app.kubernetes.io/name": w.pod.Labels["app.kubernetes.io/name"]}
	if !slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool {
		return t.TopologyKey == "kubernetes.io/hostname" && matches(t.LabelSelector, kind)
	}) {
		add("is not kept apart from others of its kind")
	}
}

func (m *manifest) volumeFaults(w workload, add func(string, ...any)) {
	c := w.pod.Spec.Containers[0]
	names := map[string]bool{}
	for _, t := range w.claims {
		names[t.Name] = true
		if t.Spec.StorageClassName == nil || t.Spec.Resources.Requests.Storage().IsZero() {
			add("claim %s names no class or size", t.Name)
		}
	}
	for _, v := range w.pod.Spec.Volumes {
		names[v.Name] = true
		switch {
		case v.HostPath != nil:
			add("volume %s is a folder of its machine", v.Name)
		case v.EmptyDir != nil && v.EmptyDir.SizeLimit.IsZero():
			add("volume %s has no limit", v.Name)
		case v.ConfigMap != nil && m.configs[v.ConfigMap.Name] == nil:
			add("ConfigMap %s is not there", v.ConfigMap.Name)
		case v.Secret != nil && (v.Secret.DefaultMode == nil || *v.Secret.DefaultMode&0o337 != 0):
			add("secret %s can be read by others", v.Secret.SecretName)
		case v.PersistentVolumeClaim != nil && m.claims[v.PersistentVolumeClaim.ClaimName] == nil:
			add("claim %s is not there", v.PersistentVolumeClaim.ClaimName)
		}
		if v.Secret == nil && v.ConfigMap == nil {
			continue
		}
		for _, mount := range c.VolumeMounts {
			if mount.Name == v.Name && !mount.ReadOnly {
				add("%s is mounted for writing", v.Name)
			}
			// A file mounted by subPath is never renewed, which a secret must be.
			if mount.Name == v.Name && v.Secret != nil && mount.SubPath != "" {
				add("secret %s is mounted by subPath and would never be renewed", v.Name)
			}
		}
	}
	for _, mount := range c.VolumeMounts {
		if !names[mount.Name] {
			add("mounts %s, which is not there", mount.Name)
		}
		delete(names, mount.Name)
	}
	for n := range names {
		add("volume %s is mounted nowhere", n)
	}
}

func (m *manifest) containerFaults(w workload, c corev1.Container, add func(string, ...any)) {
	image, fault := imageFault(c.Image)
	if fault != "" {
		add("%s", fault)
	}
	s := c.SecurityContext
	if s == nil || !isFalse(s.AllowPrivilegeEscalation) || isTrue(s.Privileged) {
		add("may gain privileges")
	}
	if s == nil || !isTrue(s.ReadOnlyRootFilesystem) {
		add("may write to its root file system")
	}
	if s == nil || s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
		add("keeps capabilities")
	}
	for _, r := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		q, l := c.Resources.Requests[r], c.Resources.Limits[r]
		if q.IsZero() || l.IsZero() || q.Cmp(l) > 0 {
			add("requests %s of %s and is limited to %s", q.String(), r, l.String())
		}
	}
	for _, e := range c.Env {
		if from := e.ValueFrom; from != nil && from.ConfigMapKeyRef != nil {
			config := m.configs[from.ConfigMapKeyRef.Name]
			if config == nil || config.Data[from.ConfigMapKeyRef.Key] == "" {
				add("%s comes from %s of ConfigMap %s, which is not there", e.Name, from.ConfigMapKeyRef.Key, from.ConfigMapKeyRef.Name)
			}
		}
		if from := e.ValueFrom; from != nil && from.SecretKeyRef != nil {
			add("%s shows a secret in the environment", e.Name)
		}
	}
	if w.kind == "Pod" {
		return
	}
	for name, p := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
		if p == nil || p.HTTPGet == nil {
			add("has no %s probe", name)
			continue
		}
		if _, ok := portOf(c, p.HTTPGet.Port); !ok || !slices.Contains(served[image][p.HTTPGet.Port.StrVal], p.HTTPGet.Path) {
			add("%s probe asks %s on %s, which %s does not serve", name, p.HTTPGet.Path, p.HTTPGet.Port.String(), image)
		}
		if p.HTTPGet.Scheme != corev1.URISchemeHTTPS {
			add("%s probe asks without TLS what is beyond loopback", name)
		}
	}
}

func TestManifests(t *testing.T) {
	for _, dir := range overlays {
		t.Run(dir, func(t *testing.T) {
			for _, f := range render(t, dir).faults() {
				t.Error(f)
			}
		})
	}
}

// The example has the optional parts.
func TestExample(t *testing.T) {
	m := render(t, "kustomize/overlays/beijing")
	if got, want := slices.Sorted(maps.Keys(m.sets)), []string{"orderer", "peer0", "peer1", "zhenglian"}; !slices.Equal(got, want) {
		t.Errorf("sets: %v, want %v", got, want)
	}
	if got := slices.Sorted(maps.Keys(render(t, "kustomize/overlays/base").sets)); !slices.Equal(got, []string{"peer0", "zhenglian"}) {
		t.Errorf("sets of base: %v", got)
	}
}

// The seed fills the volume that the node's set takes over.
func TestSeed(t *testing.T) {
	for _, dir := range overlays {
		node, seed := render(t, dir), render(t, dir+"/seed")
		for _, f := range seed.faults() {
			t.Error(f)
		}
		set, pod := node.sets["zhenglian"], seed.pods["seed"]
		template := set.Spec.VolumeClaimTemplates[0]
		claim := seed.claims[template.Name+"-"+set.Name+"-0"]
		if claim == nil {
			t.Fatalf("%s: the seed makes no claim that %s takes over", dir, set.Name)
		}
		if *claim.Spec.StorageClassName != *template.Spec.StorageClassName || !claim.Spec.Resources.Requests.Storage().Equal(*template.Spec.Resources.Requests.Storage()) {
			t.Errorf("%s: the seed's claim is another than the set's", dir)
		}
		if *pod.Spec.SecurityContext.RunAsUser != *set.Spec.Template.Spec.SecurityContext.RunAsUser {
			t.Errorf("%s: the seed's files would not be the node's", dir)
		}
		if seed.spaces["Pod/seed"] != node.spaces["StatefulSet/zhenglian"] {
			t.Errorf("%s: the seed is in another namespace than the node", dir)
		}
	}
}
