package doctor

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/zhenglian/zhenglian/network/fabric"
)

// orderers judges the ordering service: who is down, whether there is a leader, who hangs.
func (j *judge) orderers() {
	all := j.of(fabric.KindOrderer)
	able, members := j.voters(all)
	needed := quorum(members, j.BFT)
	leads := j.BFT && able >= needed
	var beat bool
	var top [2]uint64
	for _, p := range all {
		if !j.down(p, OrdererDown, "排序节点", "orderer") {
			j.outside(p, OrdererDown)
		}
		for i, look := range p.Looks {
			if look.Known {
				top[i] = max(top[i], look.Height)
			}
		}
		leads = leads || !j.BFT && (p.Looks[0].Leads || p.Looks[1].Leads)
		beat = beat || p.Looks[1].Beats > p.Looks[0].Beats && p.Looks[0].Beats >= 0
	}
	if !leads {
		var evidence []string
		for _, p := range all {
			switch look := p.Looks[1]; {
			case look.Known:
				evidence = append(evidence, fmt.Sprintf("%s: status %s, height %d", p.Name, look.Status, look.Height))
			default:
				evidence = append(evidence, p.Name+": does not answer")
			}
		}
		j.found(Finding{
			Code: NoLeader, Subject: "orderers",
			What: Text{fmt.Sprintf("排序节点没有主节点：%d 个中有 %d 个可用，至少需要 %d 个；现在无法写入", members, able, needed),
				fmt.Sprintf("the orderers have no leader: %d of %d can vote and %d are needed; nothing can be written", able, members, needed)},
			Evidence: evidence,
			Cure:     Cure{Text{"启动停下的排序节点；如果都在运行，逐个重启", "start the orderers that are down; if all run, restart them one after another"}, j.command("up")},
		})
	}
	for _, p := range all {
		if j.Channel == nil || j.explained[p.Name] || len(p.Sockets) == 0 || len(p.Served) == 0 {
			continue
		}
		key, ok := j.Channel.Consenters[p.Sockets[0].Address]
		if ok && slices.ContainsFunc(p.Served, func(c Certificate) bool { return bytes.Equal(c.Cert.RawSubjectPublicKeyInfo, key) }) {
			continue
		}
		what := "the channel's configuration names another key at " + p.Sockets[0].Address
		if !ok {
			what = "the channel's configuration names no orderer at " + p.Sockets[0].Address
		}
		j.explained[p.Name] = true
		j.found(Finding{
			Code: OrdererUnknown, Subject: p.Name,
			What: Text{fmt.Sprintf("其他排序节点不认识 %s：它的 TLS 密钥不在通道配置里", p.Name),
				fmt.Sprintf("the other orderers do not know %s: its TLS key is not in the channel's configuration", p.Name)},
			Evidence: []string{what},
			Cure: Cure{Text{"换回原来的密钥和证书，或先把新证书写入通道配置，再重启", "put the earlier key and certificate back, or bring the new certificate into the channel's configuration, then restart"},
				j.command("restart", p.Name)},
		})
	}
	// Without a leader nobody sends heartbeats: silence says nothing then.
	j.hung(all, beat && leads && j.Between >= 4*j.Tick, top)
}

// voters counts the orderers of the channel, and those of them that can take part in ordering.
func (j *judge) voters(all []*Program) (able, members int) {
	members = len(all)
	if j.Channel != nil {
		members = len(j.Channel.Consenters)
		all = slices.DeleteFunc(slices.Clone(all), func(p *Program) bool { return j.Channel.Consenters[p.Sockets[0].Address] == nil })
	}
	for _, p := range all {
		look := p.Looks[1]
		if !look.Known {
			look = p.Looks[0]
		}
		// One that could not be asked for want of an administrator's certificate is not known to be unable.
		if p.Pid != 0 && !p.Frozen && p.Silent == "" && (look.Status == "active" || !look.Known && j.explained["admin-"+p.Org]) {
			able++
		}
	}
	return able, members
}

// quorum is how many of n orderers must agree: with BFT, so many that two quorums share an honest one.
func quorum(n int, bft bool) int {
	if !bft {
		return n/2 + 1
	}
	traitors := (n - 1) / 3
	return (n + traitors + 2) / 2
}

// outside is the finding of a peer or orderer that answers and has no ledger of the channel.
func (j *judge) outside(p *Program, code Code) bool {
	if j.explained[p.Name] || j.explained["admin-"+p.Org] || p.Looks[0].Known || p.Looks[1].Known {
		return false
	}
	j.explained[p.Name] = true
	j.found(Finding{
		Code: code, Subject: p.Name,
		What:     Text{fmt.Sprintf("%s 在运行，但没有加入通道", p.Name), fmt.Sprintf("%s runs, but is not in the channel", p.Name)},
		Evidence: []string{fmt.Sprintf("process %d answers and shows no height of the channel", p.Pid), p.Sick},
		Cure:     Cure{Text{"让它加入通道", "have it join"}, j.command("up")},
	})
	return true
}

// hung looks for orderers that answer and stand still. A live Raft member stores something with every heartbeat,
// whether anybody writes or not; and its height follows the others'.
func (j *judge) hung(all []*Program, beat bool, top [2]uint64) {
	for _, p := range all {
		a, b := p.Looks[0], p.Looks[1]
		if j.explained[p.Name] || !a.Known || !b.Known || b.Height > a.Height || b.Status == "onboarding" {
			continue
		}
		still := beat && a.Beats >= 0 && b.Beats == a.Beats
		behind := b.Height < top[0] && (a.Beats < 0 || still)
		if !still && !behind {
			continue
		}
		j.explained[p.Name] = true
		evidence := []string{
			fmt.Sprintf("height %d at both looks, %s apart; the others: %d, then %d", b.Height, j.Between, top[0], top[1]),
			fmt.Sprintf("/healthz: %s; participation: %s", or(p.Sick, "OK"), b.Status),
		}
		if a.Beats >= 0 {
			evidence = append(evidence, fmt.Sprintf("its Raft loop stored %.0f times by the first look, %.0f by the second", a.Beats, b.Beats))
		}
		f := Finding{
			Code: OrdererHung, Subject: p.Name, Evidence: evidence,
			What: Text{fmt.Sprintf("排序节点 %s 卡住了：自称正常，但高度不动", p.Name),
				fmt.Sprintf("the orderer %s hangs: it says that it is well, but stands still", p.Name)},
			Cure: Cure{Text{"重启它，必要时多次；这是 Fabric 2.5.0–2.5.2 的缺陷，彻底解决用 2.5.3 以上（up --fabric-bin）", "restart it, again if need be; Fabric 2.5.0 to 2.5.2 have this fault, for good only 2.5.3 or newer helps (up --fabric-bin)"}, j.command("restart", p.Name)},
		}
		j.found(f)
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// peers judges who is down and who does not keep up.
func (j *judge) peers() {
	var top uint64 // what somebody had at the first look
	for _, p := range j.Programs {
		if p.Looks[0].Known {
			top = max(top, p.Looks[0].Height)
		}
	}
	for _, p := range j.of(fabric.KindPeer) {
		if j.down(p, PeerDown, "peer", "peer") || j.outside(p, PeerDown) || j.explained[p.Name] {
			continue
		}
		a, b := p.Looks[0], p.Looks[1]
		if !b.Known {
			continue
		}
		if b.Height >= top {
			continue
		}
		f := Finding{
			Code: PeerBehind, Subject: p.Name,
			What:     Text{fmt.Sprintf("%s 落后 %d 个区块", p.Name, top-b.Height), fmt.Sprintf("%s is %d blocks behind", p.Name, top-b.Height)},
			Evidence: []string{fmt.Sprintf("height %d, then %d %s later; others had %d before that", a.Height, b.Height, j.Between, top), p.Sick},
			Cure:     Cure{Text{"它收不到排序节点的区块：查看日志里的 deliver 错误，重启它", "it gets no blocks from the orderers: see its log for errors of deliver, and restart it"}, j.command("restart", p.Name)},
		}
		if b.Height > a.Height {
			f.Cure = Cure{Text{"它正在追赶：等一会儿再看", "it is catching up: look again in a while"}, j.command("doctor")}
		}
		j.found(f)
	}
}

// needed are the capabilities without which the contract's life cycle or the follower's rules do not hold.
var needed = map[string]string{"channel": "V2_0", "orderer": "V2_0", "application": "V2_0"}

func (j *judge) channel() {
	if j.Channel == nil {
		if len(j.of(fabric.KindPeer)) > 0 {
			j.note("没有 peer 能给出通道配置：能力、签发机构和排序节点密钥没有检查", "no peer could show the channel's configuration: capabilities, authorities and orderers' keys were not checked")
		}
		return
	}
	for _, group := range sorted(needed) {
		have := j.Channel.Capabilities[group]
		if slices.ContainsFunc(have, func(c string) bool { return strings.Compare(c, needed[group]) >= 0 }) {
			continue
		}
		j.found(Finding{
			Code: ChannelCapabilities, Subject: group,
			What: Text{fmt.Sprintf("通道配置的 %s 能力低于 %s：合约的生命周期和校验规则不成立", group, needed[group]),
				fmt.Sprintf("the channel's %s capabilities are below %s: the contract's life cycle and validation do not hold", group, needed[group])},
			Evidence: []string{fmt.Sprintf("capabilities of %s: %v", group, have)},
			Cure: Cure{Text{"由多数单位的管理员签名，更新通道配置", "have a majority of the organisations' administrators update the channel's configuration"},
				j.command("config set-capability", group, needed[group])},
		})
	}
}

// advice says what is no fault.
func (j *judge) advice() {
	if !j.BFT && strings.HasPrefix(j.Fabric, "2.5.") && slices.Contains([]string{"2.5.0", "2.5.1", "2.5.2"}, j.Fabric) {
		j.note("Fabric "+j.Fabric+" 的排序节点重启后可能卡住，2.5.3 已修复：生产环境请用 2.5.3 以上",
			"Fabric "+j.Fabric+": a restarted orderer may hang, which 2.5.3 fixed: use 2.5.3 or newer in production")
	}
	var former []string
	for _, p := range j.Programs {
		if p.Former {
			former = append(former, p.Name)
		}
	}
	if len(former) > 0 {
		names := strings.Join(former, ", ")
		j.note(names+" 仍在运行更换前的程序：逐个重启，"+j.command("restart", former[0]),
			names+" still run the program from before it was replaced: restart one after another, "+j.command("restart", former[0]))
	}
}
