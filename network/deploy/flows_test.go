package deploy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// flows are all that may flow, as docs/guide/deploy.en.md lists it: from, to, port. A name without a star is a
// workload of the organisation; *consortium and *clients are the address blocks of its values, *dns the cluster's
// names.
func flows(peers []string, orderer bool) []string {
	out := []string{
		"*clients → zhenglian 8801", "zhenglian → *consortium 7051", "zhenglian → *dns 53/TCP", "zhenglian → *dns 53/UDP",
	}
	for _, p := range peers {
		out = append(out,
			"*consortium → "+p+" 7051", p+" → *consortium 7050", p+" → *consortium 7051", p+" → *dns 53/TCP", p+" → *dns 53/UDP",
			p+" → zl-chaincode 9999", "zhenglian → "+p+" 7051")
		for _, q := range peers {
			if p != q {
				out = append(out, p+" → "+q+" 7051")
			}
		}
		if orderer {
			out = append(out, p+" → orderer 7050")
		}
	}
	if orderer {
		out = append(out, "*consortium → orderer 7050", "orderer → *consortium 7050", "orderer → *dns 53/TCP", "orderer → *dns 53/UDP")
	}
	slices.Sort(out)
	return out
}

// allowed works out what the manifest's network policies let through: between two workloads only what the one
// may send and the other may receive.
func (m *manifest) allowed() (out, faults []string) {
	values := m.values()
	outside := map[string]string{values["CONSORTIUM_CIDR"]: "*consortium", values["CLIENTS_CIDR"]: "*clients"}
	sends, receives := map[string]bool{}, map[string]bool{}
	denied := false
	all := m.workloads()
	for name, p := range m.policies {
		if len(p.Spec.PodSelector.MatchLabels)+len(p.Spec.PodSelector.MatchExpressions) == 0 {
			denied = len(p.Spec.PolicyTypes) == 2 && p.Spec.Ingress == nil && p.Spec.Egress == nil
			continue
		}
		covers := false
		for _, w := range all {
			if !matches(&p.Spec.PodSelector, w.pod.Labels) {
				continue
			}
			covers = true
			for _, rule := range p.Spec.Ingress {
				for _, end := range ends(all, rule.From, outside, name, &faults) {
					for _, port := range ports(rule.Ports, name, &faults) {
						receives[end+" → "+w.name+" "+port] = true
					}
				}
			}
			for _, rule := range p.Spec.Egress {
				for _, end := range ends(all, rule.To, outside, name, &faults) {
					for _, port := range ports(rule.Ports, name, &faults) {
						sends[w.name+" → "+end+" "+port] = true
					}
				}
			}
		}
		if !covers {
			faults = append(faults, "NetworkPolicy "+name+" is for no pod")
		}
		for kind, rules := range map[networkingv1.PolicyType]int{networkingv1.PolicyTypeIngress: len(p.Spec.Ingress), networkingv1.PolicyTypeEgress: len(p.Spec.Egress)} {
			if rules > 0 && !slices.Contains(p.Spec.PolicyTypes, kind) {
				faults = append(faults, fmt.Sprintf("NetworkPolicy %s has rules for %s, which it does not govern", name, kind))
			}
		}
	}
	if !denied {
		faults = append(faults, "what no policy names is not denied")
	}
	for f := range sends {
		if strings.Contains(f, " → *") || receives[f] {
			out = append(out, f)
		} else {
			faults = append(faults, f+" may be sent and is not received")
		}
	}
	for f := range receives {
		switch {
		case strings.HasPrefix(f, "*"):
			out = append(out, f)
		case !sends[f]:
			faults = append(faults, f+" may be received and is not sent")
		}
	}
	// A pod does not need a policy to speak to itself.
	out = slices.DeleteFunc(out, func(f string) bool { p := strings.Fields(f); return p[0] == p[2] })
	slices.Sort(out)
	return out, faults
}

// ends names the workloads or outsiders that a rule's peers stand for.
func ends(all []workload, peers []networkingv1.NetworkPolicyPeer, outside map[string]string, policy string, faults *[]string) []string {
	if len(peers) == 0 {
		*faults = append(*faults, "NetworkPolicy "+policy+" has a rule for everybody")
	}
	var out []string
	for _, p := range peers {
		switch {
		case p.IPBlock != nil && len(p.IPBlock.Except) == 0 && outside[p.IPBlock.CIDR] != "":
			out = append(out, outside[p.IPBlock.CIDR])
		case p.NamespaceSelector != nil && p.PodSelector != nil &&
			labels.SelectorFromSet(p.NamespaceSelector.MatchLabels).String() == "kubernetes.io/metadata.name=kube-system" &&
			labels.SelectorFromSet(p.PodSelector.MatchLabels).String() == "k8s-app=kube-dns":
			out = append(out, "*dns")
		case p.PodSelector != nil && p.NamespaceSelector == nil && p.IPBlock == nil:
			for _, w := range all {
				if matches(p.PodSelector, w.pod.Labels) {
					out = append(out, w.name)
				}
			}
		default:
			*faults = append(*faults, fmt.Sprintf("NetworkPolicy %s: no value of the organisation stands for %v", policy, p))
		}
	}
	return out
}

func ports(ports []networkingv1.NetworkPolicyPort, policy string, faults *[]string) []string {
	if len(ports) == 0 {
		*faults = append(*faults, "NetworkPolicy "+policy+" has a rule for every port")
	}
	var out []string
	for _, p := range ports {
		s := p.Port.String()
		if s == "53" || *p.Protocol != corev1.ProtocolTCP {
			s += "/" + string(*p.Protocol)
		}
		out = append(out, s)
	}
	return out
}

func TestFlows(t *testing.T) {
	for dir, want := range map[string][]string{
		"kustomize/overlays/base":    flows([]string{"peer0"}, false),
		"kustomize/overlays/beijing": flows([]string{"peer0", "peer1"}, true),
	} {
		m := render(t, dir)
		got, faults := m.allowed()
		for _, f := range faults {
			t.Errorf("%s: %s", dir, f)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s allows\n  %s\nwant\n  %s", dir, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
		}
		for _, f := range got { // every port that may be reached is one that the program listens on
			p := strings.Fields(f)
			for _, w := range m.workloads() {
				if w.name == p[2] && !slices.ContainsFunc(w.pod.Spec.Containers[0].Ports, func(c corev1.ContainerPort) bool { return fmt.Sprint(c.ContainerPort) == p[3] }) {
					t.Errorf("%s: %s: no such port", dir, f)
				}
			}
		}
	}
}
