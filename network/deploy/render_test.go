package deploy

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// overlays are what an organisation applies. The second is the larger example.
var overlays = []string{"kustomize/overlays/base", "kustomize/overlays/beijing"}

// A manifest is what an overlay renders to, decoded into Kubernetes' own types, by name.
type manifest struct {
	namespaces map[string]*corev1.Namespace
	configs    map[string]*corev1.ConfigMap
	services   map[string]*corev1.Service
	claims     map[string]*corev1.PersistentVolumeClaim
	sets       map[string]*appsv1.StatefulSet
	deployed   map[string]*appsv1.Deployment
	pods       map[string]*corev1.Pod
	budgets    map[string]*policyv1.PodDisruptionBudget
	policies   map[string]*networkingv1.NetworkPolicy
	spaces     map[string]string // kind/name → namespace
}

// A workload is what runs pods: a set, a deployment, or a pod alone.
type workload struct {
	kind, name string
	replicas   int
	selector   map[string]string
	pod        corev1.PodTemplateSpec
	claims     []corev1.PersistentVolumeClaim
	service    string // of a StatefulSet
}

func (m *manifest) workloads() []workload {
	var out []workload
	for _, n := range slices.Sorted(maps.Keys(m.sets)) {
		s := m.sets[n]
		out = append(out, workload{"StatefulSet", n, int(*s.Spec.Replicas), s.Spec.Selector.MatchLabels, s.Spec.Template, s.Spec.VolumeClaimTemplates, s.Spec.ServiceName})
	}
	for _, n := range slices.Sorted(maps.Keys(m.deployed)) {
		d := m.deployed[n]
		out = append(out, workload{"Deployment", n, int(*d.Spec.Replicas), d.Spec.Selector.MatchLabels, d.Spec.Template, nil, ""})
	}
	for _, n := range slices.Sorted(maps.Keys(m.pods)) {
		p := m.pods[n]
		out = append(out, workload{"Pod", n, 1, p.Labels, corev1.PodTemplateSpec{ObjectMeta: p.ObjectMeta, Spec: p.Spec}, nil, ""})
	}
	return out
}

// rendered are the overlays built so far, by folder; no test here runs beside another.
var rendered = map[string][]byte{}

// render builds an overlay and decodes it. A field that Kubernetes does not know is a failure, as is a kind
// that nothing here looks at.
func render(t *testing.T, dir string) *manifest {
	t.Helper()
	raw, ok := rendered[dir]
	if !ok {
		built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
		if err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
		if raw, err = built.AsYaml(); err != nil {
			t.Fatal(err)
		}
		rendered[dir] = raw
	}
	m, err := decode(raw)
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	return m
}

func decode(raw []byte) (*manifest, error) {
	m := &manifest{
		namespaces: map[string]*corev1.Namespace{}, configs: map[string]*corev1.ConfigMap{}, services: map[string]*corev1.Service{},
		claims: map[string]*corev1.PersistentVolumeClaim{}, sets: map[string]*appsv1.StatefulSet{}, deployed: map[string]*appsv1.Deployment{},
		pods: map[string]*corev1.Pod{}, budgets: map[string]*policyv1.PodDisruptionBudget{}, policies: map[string]*networkingv1.NetworkPolicy{},
		spaces: map[string]string{},
	}
	for _, doc := range bytes.Split(raw, []byte("\n---\n")) {
		var head struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
			Metadata   struct {
				Name      string `json:"name"`
				Namespace string `json:"namespace"`
			} `json:"metadata"`
		}
		if err := yaml.Unmarshal(doc, &head); err != nil {
			return nil, err
		}
		name := head.Metadata.Name
		var err error
		switch head.APIVersion + " " + head.Kind {
		case "v1 Namespace":
			err = into(doc, name, m.namespaces)
		case "v1 ConfigMap":
			err = into(doc, name, m.configs)
		case "v1 Service":
			err = into(doc, name, m.services)
		case "v1 PersistentVolumeClaim":
			err = into(doc, name, m.claims)
		case "v1 Pod":
			err = into(doc, name, m.pods)
		case "apps/v1 StatefulSet":
			err = into(doc, name, m.sets)
		case "apps/v1 Deployment":
			err = into(doc, name, m.deployed)
		case "policy/v1 PodDisruptionBudget":
			err = into(doc, name, m.budgets)
		case "networking.k8s.io/v1 NetworkPolicy":
			err = into(doc, name, m.policies)
		default:
			err = fmt.Errorf("no check knows %s %s", head.APIVersion, head.Kind)
		}
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", head.Kind, name, err)
		}
		if head.Kind != "Namespace" {
			m.spaces[head.Kind+"/"+name] = head.Metadata.Namespace
		}
	}
	return m, nil
}

func into[T any](doc []byte, name string, all map[string]*T) error {
	if all[name] != nil {
		return fmt.Errorf("it is there twice")
	}
	v := new(T)
	all[name] = v
	return yaml.UnmarshalStrict(doc, v)
}

func TestUnknownFieldsFail(t *testing.T) {
	good := "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 1}]}\n"
	if _, err := decode([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{
		"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 1}], selectr: {}}\n",
		"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{prt: 1}]}\n",
		"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {}\nspec: {}\n",
		"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\n",
		good + "---\n" + good,
	} {
		if _, err := decode([]byte(bad)); err == nil {
			t.Errorf("accepted:\n%s", bad)
		}
	}
}
