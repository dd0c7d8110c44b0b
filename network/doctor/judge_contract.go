package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/network/fabric"
	"github.com/zhenglian/zhenglian/sdk"
)

// contract judges, organisation by organisation, whether its peer runs what the channel committed, and reaches it.
func (j *judge) contract() {
	d := j.definition()
	if d == nil {
		all := j.of(fabric.KindChaincode)
		if len(all) == 0 {
			return
		}
		j.note("没有 peer 能回答合约定义：版本和背书策略没有检查", "no peer could answer for the contract's definition: versions and policy were not checked")
		// The services are known in the order in which they were deployed.
		for _, p := range j.of(fabric.KindPeer) {
			j.reach(all[len(all)-1].Service.Version, p)
		}
		return
	}
	if d.Sequence == 0 {
		return
	}
	mixed := j.approvals(d)
	mixed = append(mixed, j.builds(d)...)
	if len(mixed) > 0 {
		j.found(Finding{
			Code: ChaincodeMixed, Subject: j.Contract,
			What: Text{fmt.Sprintf("各单位运行的合约不一致（通道已提交版本 %s，序号 %d）：背书结果可能不同", d.Version, d.Sequence),
				fmt.Sprintf("the organisations do not all run the committed contract (version %s, sequence %d): endorsements may differ", d.Version, d.Sequence)},
			Evidence: mixed,
			Cure:     Cure{Text{"向所有单位发布同一个新版本", "roll out one version to all organisations"}, j.command("upgrade", "--version", next(d.Version))},
		})
	}
	for _, p := range j.of(fabric.KindPeer) {
		j.reach(d.Version, p)
	}
}

// approvals says where an organisation's approval, its peer's packages and the commitment do not agree.
func (j *judge) approvals(d *PeerFacts) []string {
	var out []string
	for _, p := range j.of(fabric.KindPeer) {
		f := p.Peer
		if f == nil || f.Trouble != "" || j.explained[p.Name] || f.Sequence != d.Sequence {
			continue
		}
		s := j.serviceOf(p.Org, d.Version)
		say := ""
		switch {
		case f.Approved == "" && f.Reach == "":
			// A peer that joined from a snapshot knows its organisation's approval by its hash only, and runs it.
		case f.Approved == "":
			say = fmt.Sprintf("%s approved nothing for sequence %d", p.MSP, d.Sequence)
		case !slices.Contains(f.Installed, f.Approved):
			say = fmt.Sprintf("%s approved package %s, which its peer has not installed", p.MSP, f.Approved)
		case s != nil && s.Service.PackageID != f.Approved:
			say = fmt.Sprintf("%s approved package %s for version %s, whose package is %s", p.MSP, f.Approved, d.Version, s.Service.PackageID)
		}
		if say == "" {
			continue
		}
		j.explained["contract of "+p.Org] = true
		out = append(out, say)
	}
	return out
}

// builds says where services of the committed version are of different programs.
func (j *judge) builds(d *PeerFacts) []string {
	for _, kind := range []struct {
		name string
		of   func(*ServiceFacts) string
	}{
		{"program", func(s *ServiceFacts) string { return s.Digest }},
		{"build", func(s *ServiceFacts) string { return s.Build }},
		{"contract level", func(s *ServiceFacts) string {
			if s.Level == 0 {
				return ""
			}
			return fmt.Sprint(s.Level)
		}},
	} {
		by := map[string][]string{}
		for _, p := range j.of(fabric.KindChaincode) {
			if s := p.Service; s.Version == d.Version && kind.of(s) != "" {
				by[kind.of(s)] = append(by[kind.of(s)], p.Org)
			}
		}
		if len(by) < 2 {
			continue
		}
		var out []string
		for _, v := range sorted(by) {
			out = append(out, fmt.Sprintf("%s %s: %s", kind.name, short(v, 16), strings.Join(by[v], ", ")))
		}
		return out
	}
	return nil
}

func (j *judge) serviceOf(org, version string) *Program {
	for _, p := range j.of(fabric.KindChaincode) {
		if p.Org == org && p.Service.Version == version {
			return p
		}
	}
	return nil
}

// cannot says why a peer cannot run the contract; "": it can, or could not be asked for want of an administrator.
func (j *judge) cannot(p *Program) string {
	if p.Peer == nil || j.explained["admin-"+p.Org] {
		return ""
	}
	return p.Peer.Reach
}

// reach judges whether an organisation's peer can run the contract.
func (j *judge) reach(version string, p *Program) {
	s := j.serviceOf(p.Org, version)
	if s == nil || j.explained[s.Name] || j.explained["contract of "+p.Org] {
		return
	}
	var evidence []string
	cure := Cure{Text{"重启合约服务", "restart the service"}, j.command("restart", s.Name)}
	switch f := s.Service; {
	case s.Pid == 0:
		evidence = append(evidence, "no process", s.LastLog)
		cure = Cure{Text{"启动它", "start it"}, j.command("up")}
	case s.Frozen:
		evidence = append(evidence, fmt.Sprintf("process %d is stopped (SIGSTOP or SIGTSTP)", s.Pid))
		cure = Cure{Text{"让它继续运行", "let it go on"}, fmt.Sprintf("kill -CONT %d", s.Pid)}
	default:
		evidence = append(evidence, s.Silent, f.Unready, f.Handshake)
	}
	if why := j.cannot(p); why != "" && !j.explained[p.Name] {
		evidence = append(evidence, p.Name+": "+why)
	}
	evidence = slices.DeleteFunc(evidence, func(s string) bool { return s == "" })
	if len(evidence) == 0 {
		return
	}
	j.explained[s.Name] = true
	j.found(Finding{
		Code: ChaincodeGone, Subject: s.Name,
		What: Text{fmt.Sprintf("%s 的 peer 连不上合约 %s：该单位不能背书", p.MSP, j.Contract),
			fmt.Sprintf("the peer of %s does not reach the contract %s: the organisation cannot endorse", p.MSP, j.Contract)},
		Evidence: evidence, Cure: cure,
	})
}

// policy judges whether the peers that can run the contract suffice for an endorsement.
func (j *judge) policy() {
	d := j.definition()
	if d == nil || d.Policy == nil || d.Sequence == 0 {
		return
	}
	able := map[string]int{}
	var without []string
	for _, p := range j.of(fabric.KindPeer) {
		if p.Pid != 0 && !p.Frozen && p.Silent == "" && p.Peer != nil && j.cannot(p) == "" {
			able[p.MSP]++
		} else {
			without = append(without, p.MSP)
		}
	}
	ok, err := j.Channel.satisfiable(d.Policy, able)
	if err != nil {
		j.note("背书策略的形式无法在这里判断："+describe(d.Policy), "the endorsement policy is of a kind that cannot be judged here: "+describe(d.Policy))
		return
	}
	if !ok {
		j.found(Finding{
			Code: PolicyUnsatisfiable, Subject: j.Contract,
			What:     Text{"背书策略现在无法满足：没有操作能写入", "the endorsement policy cannot be satisfied: nothing can be written"},
			Evidence: []string{"policy: " + describe(d.Policy), "can endorse: " + or(strings.Join(sorted(able), ", "), "nobody"), "cannot: " + strings.Join(without, ", ")},
			Cure:     Cure{Text{"先处理上面各单位的故障；它们恢复后策略即可满足", "cure the faults of these organisations first; the policy follows"}, j.command("up")},
		})
		return
	}
	for _, org := range sorted(able) {
		fewer := map[string]int{}
		for other, n := range able {
			if other != org {
				fewer[other] = n
			}
		}
		if ok, err := j.Channel.satisfiable(d.Policy, fewer); err == nil && !ok && len(without) > 0 {
			j.note("背书已没有余量：再少一个单位就无法写入", "endorsement has nothing to spare: without one more organisation nothing can be written")
			return
		}
	}
}

// nodes judges the organisations' nodes by what they say of themselves.
func (j *judge) nodes() {
	all := j.of(fabric.KindNode)
	if j.Idle && !slices.ContainsFunc(all, func(p *Program) bool { return p.Pid != 0 }) {
		if len(all) > 0 {
			j.note("节点已建立但没有启动", "the nodes were founded and left stopped")
		}
		return
	}
	for _, p := range all {
		if j.down(p, NodeDown, "节点", "node") || j.explained[p.Name] || p.Node == nil {
			continue
		}
		j.components(p)
	}
}

// components judges one node. What its follower found explains what else of it is not well.
func (j *judge) components(p *Program) {
	var unwell []sdk.Component
	stopped := false
	for _, c := range p.Node.Readiness.Components {
		if c.Status == sdk.OK {
			continue
		}
		f := Finding{Subject: p.Name, Evidence: evidenceOf(c)}
		switch {
		case c.Name == "follower" && c.Code == model.CodeFollowerStopped:
			stopped = true
			f.Code = NodeFinding
			f.What = Text{fmt.Sprintf("%s 的跟随者发现账本有误，已停止", p.Name), fmt.Sprintf("the follower of %s found a fault of the ledger and stopped", p.Name)}
			f.Cure = Cure{Text{"保全证据并通知各单位：peer 或合约版本不可信；查明后清除记录并重启", "keep the evidence and tell the other organisations: a peer lied or a contract is of another version; once it is understood, clear the finding and restart"},
				"zhenglian finding --dir " + quote(p.Node.Dir) + " --clear && " + j.command("restart", p.Name)}
			j.found(f)
		case c.Name == "gateways" && strings.Contains(c.Detail, "refused"):
			f.Code = NodePeerRefused
			f.What = Text{fmt.Sprintf("%s 不再使用某个 peer：它给出的内容与验证不符", p.Name), fmt.Sprintf("%s does not use a peer any more: what it gave does not check", p.Name)}
			f.Cure = Cure{Text{"让该单位检查它的 peer，再重启节点", "have the organisation look at its peer, then restart the node"}, j.command("restart", p.Name)}
			j.found(f)
		default:
			unwell = append(unwell, c)
		}
	}
	var names, evidence []string
	for _, c := range unwell {
		if !j.consequence(c, stopped) {
			names, evidence = append(names, c.Name), append(evidence, evidenceOf(c)...)
		}
	}
	if len(names) == 0 {
		return
	}
	which := strings.Join(names, ", ")
	j.found(Finding{
		Code: NodeNotReady, Subject: p.Name, Evidence: evidence,
		What: Text{fmt.Sprintf("%s 不正常：%s", p.Name, which), fmt.Sprintf("%s is not well: %s", p.Name, which)},
		Cure: Cure{Text{"别的故障刚排除时，节点要过一会儿才恢复：一分钟后再看；仍不正常，就按证据里的原因处理，再重启节点",
			"after a cure elsewhere a node needs a moment: look again in a minute; if it stays so, see to the cause in the evidence, then restart the node"}, j.command("restart", p.Name)},
	})
}

func evidenceOf(c sdk.Component) []string {
	return []string{fmt.Sprintf("%s: %s", c.Name, c.Status), string(c.Code), short(c.Detail, 1000)}
}

// consequence tells whether a node's component cannot be well, whatever the node does: its own follower has stopped, or
// the network is in a state that has a finding. What a node has for itself, its outbox, its disk, an open import, is no
// consequence of either.
func (j *judge) consequence(c sdk.Component, stopped bool) bool {
	ofNetwork := c.Name == "follower" || c.Name == "writes" || c.Name == "gateways"
	if !ofNetwork || c.Code == model.CodeImportOpen {
		return false
	}
	if c.Code == model.CodeStorageFull {
		return j.has(DiskNearlyFull)
	}
	return stopped || j.has(NoLeader, PolicyUnsatisfiable, OrdererDown, OrdererHung, PeerDown, PeerBehind, ClockSkew, ChaincodeMixed, ChaincodeGone)
}

// has tells whether one of the codes was found.
func (j *judge) has(codes ...Code) bool {
	return slices.ContainsFunc(j.report.Findings, func(f Finding) bool { return slices.Contains(codes, f.Code) })
}
