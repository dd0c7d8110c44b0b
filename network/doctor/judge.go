package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/network/fabric"
)

// Judge makes findings of facts. What follows from a fault that is named already is not named again.
func Judge(f *Facts, o Options) *Report {
	j := &judge{Facts: f, o: o.filled(), explained: map[string]bool{}, report: &Report{Findings: []Finding{}, Notes: []Text{}}}
	for _, check := range []func(){
		j.disks, j.clocks, j.ports, j.certificates, j.orderers, j.peers, j.channel, j.contract, j.policy, j.nodes, j.advice,
	} {
		check()
	}
	j.report.sort()
	j.report.Checked = len(f.Programs)
	j.report.Healthy = len(j.report.Findings) == 0
	return j.report
}

type judge struct {
	*Facts
	o         Options
	report    *Report
	explained map[string]bool // programs whose trouble has a name
}

func (j *judge) found(f Finding) {
	f.Evidence = slices.DeleteFunc(f.Evidence, func(s string) bool { return s == "" })
	if f.Evidence == nil {
		f.Evidence = []string{}
	}
	j.report.Findings = append(j.report.Findings, f)
}

func (j *judge) note(zh, en string) { j.report.Notes = append(j.report.Notes, Text{zh, en}) }

// command is a zl-network command for this network.
func (j *judge) command(verb string, args ...string) string {
	return "zl-network " + strings.Join(append([]string{verb, "--dir", quote(j.Dir)}, args...), " ")
}

// quote makes a word that a shell takes as it is.
func quote(s string) string {
	if strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") == "" && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func (j *judge) of(kind fabric.Kind) []*Program {
	var out []*Program
	for _, p := range j.Programs {
		if p.Kind == kind {
			out = append(out, p)
		}
	}
	return out
}

func (j *judge) disks() {
	for _, d := range j.Disks {
		least := j.o.MinFree
		if least == 0 {
			least = min(max(d.Total/20, 1<<30), 10<<30)
		}
		if d.Free >= least {
			continue
		}
		free, of := size(d.Free), size(d.Total)
		j.found(Finding{
			Code: DiskNearlyFull, Subject: d.Path,
			What: Text{fmt.Sprintf("%s 所在磁盘只剩 %s：账本写满后节点停止受理，peer 和排序节点会退出", d.Path, free),
				fmt.Sprintf("only %s are left on the disk under %s: when it is full, nodes accept nothing and peers and orderers end", free, d.Path)},
			Evidence: []string{fmt.Sprintf("%s free of %s, wanted %s", free, of, size(least))},
			Cure:     Cure{Text{"看看是什么占了空间，删除或移走它，或扩大磁盘", "see what takes the room, and move or delete it, or enlarge the disk"}, "du -xh -d 3 " + quote(d.Path) + " | sort -h | tail -20"},
		})
	}
}

func size(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	default:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
}

// maxSkew is half of what the contract tolerates between a proposal's time and its own clock.
const maxSkew = 150 * time.Second

// clocks compares the clocks of all programs that told the time, and this machine's. Whoever is far from the median
// is wrong: with most of them wrong the same way, it is this machine.
func (j *judge) clocks() {
	var offsets []time.Duration
	for _, p := range j.Programs {
		if p.Slack > 0 {
			offsets = append(offsets, p.Clock)
		}
	}
	if len(offsets) == 0 {
		return
	}
	slices.Sort(offsets)
	median := offsets[len(offsets)/2]
	skewed := func(subject string, off, slack time.Duration) {
		if off.Abs() <= maxSkew+slack {
			return
		}
		zh, en := "慢", "behind"
		if off > 0 {
			zh, en = "快", "ahead"
		}
		by := off.Abs().Round(time.Second)
		j.found(Finding{
			Code: ClockSkew, Subject: subject,
			What: Text{fmt.Sprintf("%s 的时钟比其他机器%s %s：相差超过 5 分钟，合约就拒绝背书", subject, zh, by),
				fmt.Sprintf("the clock of %s is %s %s of the others: beyond 5 minutes the contract declines to endorse", subject, by, en)},
			Evidence: []string{fmt.Sprintf("offset %s, uncertainty %s, %d clocks compared", off.Round(time.Second), slack.Round(time.Millisecond), len(offsets)+1)},
			Cure:     Cure{Text{"在那台机器上校准时钟", "set the clock on that machine"}, "chronyc makestep || timedatectl set-ntp true"},
		})
	}
	for _, p := range j.Programs {
		if p.Slack > 0 {
			skewed(p.Name, p.Clock-median, p.Slack)
		}
	}
	skewed("this machine", -median, time.Second)
}

// ports looks for sockets that a program of the network cannot have because another holds them.
func (j *judge) ports() {
	for _, p := range j.Programs {
		var taken, seen []string
		pid := 0
		for _, s := range p.Sockets {
			if !s.Open || p.Pid != 0 && (s.Holder == p.Pid || s.Holder == 0) {
				continue
			}
			who := "a process of another user"
			if s.Holder != 0 {
				pid, who = s.Holder, fmt.Sprintf("process %d (%s)", s.Holder, s.Command)
			}
			taken = append(taken, s.Address)
			seen = append(seen, s.Address+" is held by "+who)
		}
		if len(taken) == 0 {
			continue
		}
		j.explained[p.Name] = true
		command := "ss -ltnp | grep -F " + taken[0]
		if pid != 0 {
			command = fmt.Sprintf("kill %d && sleep 2 && %s", pid, j.command("up"))
		}
		at := strings.Join(taken, ", ")
		j.found(Finding{
			Code: PortTaken, Subject: p.Name,
			What:     Text{fmt.Sprintf("%s 的端口被别的程序占用：%s", p.Name, at), fmt.Sprintf("another program has taken the port of %s: %s", p.Name, at)},
			Evidence: append(seen, p.LastLog),
			Cure: Cure{Text{"结束占用端口的程序（先确认它可以结束），再启动网络", "end the program that holds the port, if it may be ended, and start the network again"},
				command},
		})
	}
}

// soon is how long before its end a certificate is a finding.
const soon = 30 * 24 * time.Hour

// certificates judges every certificate that was met, each once, with all places where it stands.
func (j *judge) certificates() {
	type met struct {
		Certificate
		places   []string
		programs map[string]bool
	}
	all := map[string]*met{}
	var order []string
	add := func(c Certificate) {
		key := string(c.Cert.Raw)
		m := all[key]
		if m == nil {
			m = &met{Certificate: c, programs: map[string]bool{}}
			all[key] = m
			order = append(order, key)
		}
		m.places = append(m.places, c.Where)
		m.Channel = m.Channel || c.Channel
		if m.Renew == "" {
			m.Renew = c.Renew
		}
		if c.Program != "" {
			m.programs[c.Program] = true
		}
	}
	for _, c := range j.Files {
		add(c)
	}
	for _, p := range j.Programs {
		for _, c := range p.Served {
			add(c)
		}
	}
	if j.Channel != nil {
		for _, c := range j.Channel.Authorities {
			add(c)
		}
	}
	for _, key := range order {
		m := all[key]
		f := Finding{Subject: m.Cert.Subject.CommonName}
		name, end := m.Cert.Subject.CommonName, m.Cert.NotAfter.Local().Format("2006-01-02 15:04")
		switch {
		case !j.Now.Before(m.Cert.NotAfter):
			f.Code = CertificateExpired
			f.What = Text{fmt.Sprintf("证书 %s 已于 %s 过期", name, end), fmt.Sprintf("the certificate of %s expired on %s", name, end)}
		case j.Now.Before(m.Cert.NotBefore):
			from := m.Cert.NotBefore.Local().Format("2006-01-02 15:04")
			f.Code = CertificateEarly
			f.What = Text{fmt.Sprintf("证书 %s 从 %s 起才有效", name, from), fmt.Sprintf("the certificate of %s is valid only from %s on", name, from)}
		case m.Cert.NotAfter.Sub(j.Now) < soon:
			left := max(m.Cert.NotAfter.Sub(j.Now)/(24*time.Hour), 0)
			f.Code = CertificateExpiring
			f.What = Text{fmt.Sprintf("证书 %s 还有 %d 天过期（%s）", name, left, end), fmt.Sprintf("the certificate of %s expires in %d days, on %s", name, left, end)}
		default:
			continue
		}
		if f.Code != CertificateExpiring {
			for p := range m.programs {
				j.explained[p] = true
			}
			// What an administrator's certificate opens could not be asked.
			j.explained[m.Renew] = true
		}
		for _, place := range slices.Compact(slices.Sorted(slices.Values(m.places))) {
			f.Evidence = append(f.Evidence, "in "+place)
		}
		f.Cure = j.renewal(m.Certificate)
		j.found(f)
	}
}

func (j *judge) renewal(c Certificate) Cure {
	switch {
	case c.Cert.IsCA || c.Renew == "" && c.Channel:
		return Cure{Text{"签发机构的证书要通过通道配置更换：见运维手册“更换证书”", "an authority is exchanged by updating the channel: runbook \"Renew certificates\""},
			j.command("config show")}
	case c.Renew == "chaincode-client":
		return Cure{Text{"续期后发布新版本：peer 的客户端证书在合约包里", "renew it and roll out a version: the peer's client certificate is part of the package"},
			j.command("renew", j.serviceOrg(c.Program)) + " && " + j.command("upgrade", "--version", next(j.version()))}
	case strings.HasPrefix(c.Renew, "peer-"), strings.HasPrefix(c.Renew, "orderer-"):
		return Cure{Text{"续期并重启：它只在启动时读取证书", "renew it and restart: it reads its certificates when it starts"},
			j.command("renew", c.Renew) + " && " + j.command("restart", c.Renew)}
	case c.Renew != "":
		name := c.Renew
		if org := j.serviceOrg(name); org != "" {
			name = org
		}
		return Cure{Text{"续期：不需要重启", "renew it: no restart is needed"}, j.command("renew", name)}
	}
	return Cure{Text{"向签发机构申请新证书并替换文件", "have its authority issue a new one and replace the file"}, "openssl x509 -noout -subject -issuer -dates -in " + quote(c.Where)}
}

// serviceOrg is the name under which a service's certificates are renewed, "" for what is no service.
func (j *judge) serviceOrg(program string) string {
	for _, p := range j.of(fabric.KindChaincode) {
		if p.Name == program {
			return "chaincode-" + p.Org
		}
	}
	return ""
}

// version is the newest version that any peer has committed.
func (j *judge) version() string {
	d := j.definition()
	if d == nil {
		return ""
	}
	return d.Version
}

// definition is what the peer furthest ahead says of the contract; nil when none could be asked.
func (j *judge) definition() *PeerFacts {
	var out *PeerFacts
	for _, p := range j.of(fabric.KindPeer) {
		if p.Peer != nil && p.Peer.Trouble == "" && (out == nil || p.Peer.Sequence > out.Sequence) {
			out = p.Peer
		}
	}
	return out
}

// next is the name of the version after one.
func next(version string) string {
	digits := len(version)
	for digits > 0 && version[digits-1] >= '0' && version[digits-1] <= '9' {
		digits--
	}
	if digits == len(version) || len(version)-digits > 9 {
		return version + ".1"
	}
	n := 0
	for _, d := range version[digits:] {
		n = n*10 + int(d-'0')
	}
	return fmt.Sprintf("%s%d", version[:digits], n+1)
}

// down is the finding of a program that does not run or does not answer; ok is false when it is well, or its trouble
// has another name.
func (j *judge) down(p *Program, code Code, zh, en string) bool {
	if j.explained[p.Name] || p.Pid != 0 && p.Silent == "" && !p.Frozen {
		return false
	}
	j.explained[p.Name] = true
	f := Finding{Code: code, Subject: p.Name}
	switch {
	case p.Pid == 0:
		f.What = Text{fmt.Sprintf("%s %s 没有运行", zh, p.Name), fmt.Sprintf("the %s %s does not run", en, p.Name)}
		f.Evidence = []string{"no process", p.LastLog}
		f.Cure = Cure{Text{"启动它", "start it"}, j.command("up")}
	case p.Frozen:
		f.What = Text{fmt.Sprintf("%s %s 被信号暂停", zh, p.Name), fmt.Sprintf("the %s %s is stopped by a signal", en, p.Name)}
		f.Evidence = []string{fmt.Sprintf("process %d is stopped (SIGSTOP or SIGTSTP)", p.Pid), p.Silent}
		f.Cure = Cure{Text{"让它继续运行", "let it go on"}, fmt.Sprintf("kill -CONT %d", p.Pid)}
	default:
		f.What = Text{fmt.Sprintf("%s %s 没有响应", zh, p.Name), fmt.Sprintf("the %s %s does not answer", en, p.Name)}
		f.Evidence = []string{fmt.Sprintf("process %d runs", p.Pid), p.Silent}
		f.Cure = Cure{Text{"重启它", "restart it"}, j.command("restart", p.Name)}
	}
	j.found(f)
	return true
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
