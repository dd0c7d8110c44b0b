package deploy

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Each rule bites: a manifest that breaks it is found.
func TestRulesBite(t *testing.T) {
	yes, no, root := true, false, int64(0)
	container := func(m *manifest, set string) *corev1.Container { return &m.sets[set].Spec.Template.Spec.Containers[0] }
	tests := []struct {
		name string
		do   func(m *manifest)
		want string
	}{
		{"privileged", func(m *manifest) { container(m, "peer0").SecurityContext.Privileged = &yes }, "StatefulSet peer0: may gain privileges"},
		{"root", func(m *manifest) { m.sets["zhenglian"].Spec.Template.Spec.SecurityContext.RunAsUser = &root }, "zhenglian: may run as root"},
		{"writable root", func(m *manifest) { container(m, "orderer").SecurityContext.ReadOnlyRootFilesystem = &no }, "orderer: may write to its root"},
		{"capability", func(m *manifest) {
			container(m, "peer1").SecurityContext.Capabilities.Add = []corev1.Capability{"NET_ADMIN"}
		}, "keeps capabilities"},
		{"host network", func(m *manifest) { m.deployed["zl-chaincode"].Spec.Template.Spec.HostNetwork = true }, "zl-chaincode: shares its machine"},
		{"token", func(m *manifest) { m.sets["peer0"].Spec.Template.Spec.AutomountServiceAccountToken = nil }, "token"},
		{"no limit", func(m *manifest) { delete(container(m, "peer0").Resources.Limits, corev1.ResourceMemory) }, "requests 512Mi of memory"},
		{"request over limit", func(m *manifest) {
			container(m, "peer0").Resources.Requests[corev1.ResourceCPU] = resource.MustParse("64")
		}, "requests 64 of cpu"},
		{"latest", func(m *manifest) { container(m, "peer0").Image = "hyperledger/fabric-peer:latest" }, "is not pinned"},
		{"minor only", func(m *manifest) { container(m, "peer0").Image = "hyperledger/fabric-peer:2.5" }, "is not pinned"},
		{"registry", func(m *manifest) { container(m, "peer0").Image = "registry.example/hyperledger/fabric-peer:2.5.16" }, "is not pinned"},
		{"hanging orderer", func(m *manifest) { container(m, "orderer").Image = "hyperledger/fabric-orderer:2.5.2" }, "2.5.3 or a later 2.5"},
		{"bad digest", func(m *manifest) { container(m, "orderer").Image += "@sha256:abc" }, "is not pinned"},
		{"probe path", func(m *manifest) { container(m, "zhenglian").ReadinessProbe.HTTPGet.Path = "/ready" }, "readiness probe asks /ready"},
		{"probe port", func(m *manifest) { container(m, "zhenglian").LivenessProbe.HTTPGet.Port = intstr.FromString("admin") }, "liveness probe asks /healthz on admin"},
		{"probe scheme", func(m *manifest) {
			container(m, "peer0").LivenessProbe.HTTPGet.Scheme = corev1.URISchemeHTTP
		}, "without TLS"},
		{"no probe", func(m *manifest) { container(m, "peer0").StartupProbe = nil }, "has no startup probe"},
		{"writable secret", func(m *manifest) {
			c := container(m, "peer0")
			i := slices.IndexFunc(c.VolumeMounts, func(v corev1.VolumeMount) bool { return v.Name == "msp" })
			c.VolumeMounts[i].ReadOnly = false
		}, "msp is mounted for writing"},
		{"open secret", func(m *manifest) {
			v := m.sets["peer0"].Spec.Template.Spec.Volumes
			i := slices.IndexFunc(v, func(v corev1.Volume) bool { return v.Name == "tls" })
			v[i].Secret.DefaultMode = nil
		}, "peer0-tls can be read by others"},
		{"host folder", func(m *manifest) {
			v := m.sets["peer0"].Spec.Template.Spec.Volumes
			v[0].VolumeSource = corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}
		}, "is a folder of its machine"},
		{"lost config", func(m *manifest) { clear(m.configs) }, "is not there"},
		{"selector", func(m *manifest) { m.sets["peer0"].Spec.Selector.MatchLabels["app.kubernetes.io/instance"] = "peer1" }, "does not match its pods"},
		{"wide selector", func(m *manifest) { delete(m.sets["peer0"].Spec.Selector.MatchLabels, "app.kubernetes.io/instance") }, "takes the pods of peer1 too"},
		{"service port", func(m *manifest) { m.services["peer0"].Spec.Ports[0].Port = 7052 }, "Service peer0: port 7052"},
		{"service selector", func(m *manifest) { delete(m.services["public-peer0"].Spec.Selector, "app.kubernetes.io/instance") }, "Service public-peer0: selects 2 workloads"},
		{"hidden callers", func(m *manifest) { m.services["orderer"].Spec.ExternalTrafficPolicy = "Cluster" }, "hides the callers"},
		{"no budget", func(m *manifest) { delete(m.budgets, "zhenglian") }, "zhenglian: has 0 disruption budgets"},
		{"affinity", func(m *manifest) { m.sets["peer0"].Spec.Template.Spec.Affinity = nil }, "kept apart from nothing"},
		{"affinity to itself", func(m *manifest) {
			a := m.sets["peer0"].Spec.Template.Spec.Affinity.PodAntiAffinity
			a.RequiredDuringSchedulingIgnoredDuringExecution[0].LabelSelector.MatchLabels = map[string]string{"app.kubernetes.io/instance": "peer0"}
		}, "not kept apart from others"},
		{"other namespace", func(m *manifest) { m.spaces["Service/peer0"] = "default" }, `is in namespace "default"`},
	}
	for _, tt := range tests {
		m := render(t, "kustomize/overlays/beijing")
		tt.do(m)
		if got := m.faults(); !strings.Contains(strings.Join(got, "\n"), tt.want) {
			t.Errorf("%s: found %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestFlowsBite(t *testing.T) {
	const dir = "kustomize/overlays/beijing"
	want, _ := render(t, dir).allowed()
	for name, do := range map[string]func(m *manifest){
		"no default":    func(m *manifest) { delete(m.policies, "default-deny") },
		"everybody":     func(m *manifest) { m.policies["zhenglian-clients"].Spec.Ingress[0].From = nil },
		"every port":    func(m *manifest) { m.policies["peer"].Spec.Ingress[0].Ports = nil },
		"whole world":   func(m *manifest) { m.policies["zhenglian-clients"].Spec.Ingress[0].From[0].IPBlock.CIDR = "0.0.0.0/0" },
		"half a flow":   func(m *manifest) { m.policies["zl-chaincode"].Spec.Ingress = nil },
		"not governed":  func(m *manifest) { m.policies["peer"].Spec.PolicyTypes = []networkingv1.PolicyType{"Ingress"} },
		"lost policy":   func(m *manifest) { delete(m.policies, "names") },
		"another's pod": func(m *manifest) { m.policies["peer"].Spec.PodSelector.MatchLabels["app.kubernetes.io/name"] = "peers" },
	} {
		m := render(t, dir)
		do(m)
		if got, faults := m.allowed(); slices.Equal(got, want) && len(faults) == 0 {
			t.Errorf("%s: not found", name)
		}
	}
}
