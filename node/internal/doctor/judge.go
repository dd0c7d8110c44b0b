package doctor

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// Judge makes findings of facts. What follows from a fault that is named already is not named again.
func Judge(f *Facts) *Report {
	j := &judge{Facts: f, report: &Report{Running: f.Running != nil, Findings: []Finding{}, Notes: []Text{}}}
	for _, check := range []func(){j.files, j.room, j.clocks, j.ports, j.certificates, j.keys, j.restored, j.ledger, j.stores, j.node} {
		check()
	}
	j.report.sort()
	j.report.Healthy = len(j.report.Findings) == 0
	return j.report
}

// Unreadable is the report on a folder whose configuration cannot be used.
func Unreadable(dir string, err error) *Report {
	return &Report{Notes: []Text{}, Findings: []Finding{{
		Code: ConfigBad, Subject: dir, Evidence: []string{err.Error()},
		What: Text{"节点配置无法使用，节点不能启动", "the node's configuration cannot be used, so it does not start"},
		Cure: Cure{Text{"按证据所述修改 zhenglian.yaml；配置遗失时从备份恢复", "correct zhenglian.yaml as the evidence says; where it is lost, restore it from a backup"}, ""},
	}}}
}

type judge struct {
	*Facts
	report *Report
	causes bool // the trouble of the ledger has a name
}

func (j *judge) found(code Code, subject string, what Text, cure Cure, evidence ...string) {
	evidence = slices.DeleteFunc(evidence, func(s string) bool { return s == "" })
	if evidence == nil {
		evidence = []string{}
	}
	j.report.Findings = append(j.report.Findings, Finding{code, subject, what, evidence, cure})
}

func (j *judge) note(zh, en string) { j.report.Notes = append(j.report.Notes, Text{zh, en}) }

func (j *judge) command(verb string, args ...string) string {
	return "zhenglian " + strings.Join(append([]string{verb, "--dir", quote(j.Dir)}, args...), " ")
}

// quote makes a word that a shell takes as it is.
func quote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._:-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func (j *judge) files() {
	switch {
	case j.Upgrade == nil:
	case j.Newer:
		j.found(StoreNewer, j.Dir, Text{"节点数据由更新版本的程序写入，本版本不能使用（不支持降级）", "a newer version wrote the node's folder, and this one cannot use it"},
			Cure{Text{"安装并运行原来的或更新的版本", "install the version that wrote it, or a newer one"}, "zhenglian version"}, j.Upgrade.Error())
	default:
		j.found(StoreOlder, j.Dir, Text{"节点数据属于旧版本，启动前需要升级", "the node's folder is of an older version and is to be upgraded before the node starts"},
			Cure{Text{"停止节点，先备份，再升级", "stop the node, take a backup, then upgrade"}, j.command("upgrade")}, j.Upgrade.Error())
		return // what is missing is what the upgrade makes
	}
	for _, path := range j.Missing {
		j.found(FileMissing, path,
			Text{"缺少无法重新生成的文件，节点不会在缺少它的情况下启动", "it cannot be made anew, and the node does not start without it"},
			Cure{Text{"从备份恢复节点", "restore the node from a backup"}, "zhenglian restore FILE --dir NEW"})
	}
	for _, path := range j.Exposed {
		j.found(FileExposed, path, Text{"其他用户可以读取该机密文件", "other users can read this secret"},
			Cure{Text{"改为仅本用户可读；若可能已泄露，更换其中的密钥", "let this user alone read it; where it may have leaked, change what is in it"}, "chmod 600 " + quote(path)})
	}
}

func (j *judge) room() {
	if j.DiskError != nil {
		j.note("无法查询磁盘剩余空间："+j.DiskError.Error(), "the disk's free space cannot be read: "+j.DiskError.Error())
		return
	}
	d := j.Disk
	least := max(min(max(d.Total/20, 1<<30), 10<<30), 2*j.Reserve)
	look := Cure{Text{"查明占用空间的内容，清理或移走，或扩大磁盘", "see what takes the room, and move or delete it, or enlarge the disk"}, "du -xh -d 2 " + quote(j.Dir) + " | sort -h | tail -20"}
	grows := ""
	if d.PerDay > 0 {
		grows = fmt.Sprintf("the folder has %s and grows by about %s a day", size(d.Used), size(d.PerDay))
	}
	switch {
	case d.Free < j.Reserve:
		j.found(DiskNearlyFull, j.Dir,
			Text{fmt.Sprintf("磁盘只剩 %s，节点现在不受理任何操作（读取和核验继续）", size(d.Free)), fmt.Sprintf("only %s are left: the node accepts nothing now; reading and verifying go on", size(d.Free))}, look,
			fmt.Sprintf("%s free of %s, reserve %s", size(d.Free), size(d.Total), size(j.Reserve)), grows)
	case d.Free < least:
		j.found(DiskNearlyFull, j.Dir,
			Text{fmt.Sprintf("磁盘只剩 %s；低于 %s 时节点停止受理", size(d.Free), size(j.Reserve)), fmt.Sprintf("only %s are left; below %s the node accepts nothing", size(d.Free), size(j.Reserve))}, look,
			fmt.Sprintf("%s free of %s, wanted %s", size(d.Free), size(d.Total), size(least)), grows)
	case d.PerDay > 0 && (d.Free-j.Reserve)/d.PerDay < 30:
		days := (d.Free - j.Reserve) / d.PerDay
		j.found(DiskFilling, j.Dir,
			Text{fmt.Sprintf("按最近的增长，磁盘约 %d 天后写满", days), fmt.Sprintf("as it grows now, the disk is full in about %d days", days)}, look,
			fmt.Sprintf("%s free of %s", size(d.Free), size(d.Total)), grows)
	}
	if d.PerMillion > 0 {
		j.note(fmt.Sprintf("每百万条操作约占 %s（现有 %s，磁盘剩余 %s）", size(d.PerMillion), size(d.Used), size(d.Free)),
			fmt.Sprintf("a million operations take about %s here (%s used, %s free)", size(d.PerMillion), size(d.Used), size(d.Free)))
	}
}

func size(n uint64) string {
	if n >= 1<<30 {
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// maxSkew is half of what the contract tolerates between a proposal's time and its own clock.
const maxSkew = 150 * time.Second

var setClock = Cure{Text{"校准本机时钟并启用时间服务", "set this machine's clock and have a time service keep it"}, "chronyc makestep || timedatectl set-ntp true"}

func (j *judge) clocks() {
	var offsets []time.Duration
	for _, c := range j.Clocks {
		if c.Err != nil {
			j.note("无法向 "+c.Who+" 询问时间："+c.Err.Error(), "the time could not be asked of "+c.Who+": "+c.Err.Error())
			continue
		}
		offsets = append(offsets, c.Offset)
	}
	at := j.At.Ledger
	if j.Running != nil {
		at = j.Running.Ledger
	}
	ahead := time.Duration(0)
	if !at.IsZero() {
		ahead = at.Time().Sub(j.Now)
	}
	slices.Sort(offsets)
	switch {
	case len(offsets) > 0 && offsets[len(offsets)/2].Abs() > maxSkew:
		off := offsets[len(offsets)/2].Round(time.Second)
		zh, en := "快", "ahead"
		if off < 0 {
			zh, en = "慢", "behind"
		}
		j.found(ClockSkew, "this machine", Text{fmt.Sprintf("本机时钟比其他节点%s %s：相差超过 5 分钟，合约就拒绝背书", zh, off.Abs()),
			fmt.Sprintf("this machine's clock is %s %s of the other nodes': beyond 5 minutes the contract declines to endorse", off.Abs(), en)},
			setClock, fmt.Sprintf("%d other clocks, offsets %v", len(offsets), offsets))
	case ahead > maxSkew:
		j.found(ClockSkew, "this machine", Text{fmt.Sprintf("账本最新交易的时间比本机时钟晚 %s：本机时钟慢", ahead.Round(time.Second)),
			fmt.Sprintf("the ledger's latest transaction is %s ahead of this machine's clock: the clock is behind", ahead.Round(time.Second))},
			setClock, "ledger time "+at.String())
	case len(offsets) == 0:
		j.note("没有可比对的其他节点时钟，只比对了账本时间", "no other node's clock could be compared, only the ledger's time")
	}
	if j.Running != nil && (j.Running.Stepped > 60 || j.Running.Stepped < -60) {
		j.found(ClockStepped, "this machine", Text{fmt.Sprintf("节点启动以来本机时钟被拨动 %.0f 秒", j.Running.Stepped), fmt.Sprintf("the clock was set by %.0f s since the node started", j.Running.Stepped)},
			Cure{Text{"确认时钟现在正确，然后重启节点", "see that the clock is right now, then restart the node"}, "systemctl restart zhenglian"})
	}
	switch j.InStep {
	case SyncNone:
		j.note("内核报告时钟未被任何时间服务同步", "the kernel says that no time service keeps the clock in step")
	case SyncUnknown:
		j.note("无法得知时钟是否被时间服务同步", "whether a time service keeps the clock in step cannot be told")
	}
}

func (j *judge) ports() {
	for _, p := range j.Ports {
		switch _, port, _ := strings.Cut(p.Address, ":"); {
		case errors.Is(p.Err, syscall.EADDRINUSE):
			if i := strings.LastIndex(p.Address, ":"); i >= 0 {
				port = p.Address[i+1:]
			}
			j.found(PortTaken, p.Address, Text{fmt.Sprintf("%s 的端口被其他程序占用", p.Key), fmt.Sprintf("another program holds the port of %s", p.Key)},
				Cure{Text{"查明并停止该程序，或在 zhenglian.yaml 中改用其他端口", "see which and end it, or give another port in zhenglian.yaml"}, "ss -ltnp 'sport = :" + port + "'"}, p.Err.Error())
		default:
			j.found(PortForeign, p.Address, Text{fmt.Sprintf("不能在 %s 的地址上监听", p.Key), fmt.Sprintf("the address of %s cannot be listened on", p.Key)},
				Cure{Text{"在 zhenglian.yaml 中填写本机拥有的地址；1024 以下的端口需要授权", "give an address of this machine in zhenglian.yaml; ports below 1024 need a right"}, "ip -brief address"}, p.Err.Error())
		}
	}
}

// soon is when a certificate is to be renewed.
const soon = 30

func (j *judge) certificates() {
	for _, c := range j.Certs {
		days := int(c.Until.Sub(j.Now).Hours() / 24)
		switch at := filepath.Base(c.Cert); {
		case c.Err != nil:
			j.found(CertificateBad, c.Cert, Text{c.Name.Zh + "：证书或私钥无法使用", c.Name.En + ": the certificate or its key cannot be used"},
				Cure{c.Renew, ""}, c.Err.Error())
		case j.Now.Before(c.From):
			j.found(CertificateEarly, c.Cert, Text{c.Name.Zh + "：证书尚未生效", c.Name.En + ": the certificate is not valid yet"},
				Cure{Text{"检查本机时钟，或重新签发证书", "look at this machine's clock, or have it issued again"}, ""}, at+" is valid from "+c.From.UTC().Format(time.RFC3339))
		case j.Now.After(c.Until):
			j.found(CertificateExpired, c.Cert, Text{c.Name.Zh + "：证书已过期", c.Name.En + ": the certificate has expired"}, Cure{c.Renew, ""}, at+" ended "+c.Until.UTC().Format(time.RFC3339))
		case days < soon:
			j.found(CertificateExpiring, c.Cert, Text{fmt.Sprintf("%s：证书 %d 天后过期", c.Name.Zh, days), fmt.Sprintf("%s: the certificate expires in %d days", c.Name.En, days)},
				Cure{c.Renew, ""}, at+" ends "+c.Until.UTC().Format(time.RFC3339))
		default:
			j.note(fmt.Sprintf("%s：证书还有 %d 天", c.Name.Zh, days), fmt.Sprintf("%s: %d days left", c.Name.En, days))
		}
	}
}

func (j *judge) keys() {
	for _, k := range j.Keys {
		if k.Expires.IsZero() || j.Now.After(k.Expires) {
			continue // one that has ended lets nobody in, and is nobody's surprise any more
		}
		if days := int(k.Expires.Sub(j.Now).Hours() / 24); days < soon {
			j.found(KeyExpiring, k.ID, Text{fmt.Sprintf("API 密钥 %d 天后过期", days), fmt.Sprintf("the API key expires in %d days", days)},
				Cure{Text{"换发新密钥；旧密钥在重叠期内继续有效", "issue its successor; the old one goes on for the overlap"}, j.command("keys rotate", k.ID, "--overlap-days 7")})
		}
	}
}

// restored keeps naming that rights are those of a backup, until the operator says that he has looked through them.
func (j *judge) restored() {
	if j.Restored.IsZero() {
		return
	}
	at := j.Restored.In(model.Shanghai).Format(time.DateTime)
	what := Text{"节点由备份恢复：人员、角色和本地策略是 " + at + "（北京时间）的，此后停用、收回的重新有效",
		"the node was restored from a backup: people, roles and its own policies are those of " + at + " (Beijing); what was disabled or taken away since is in force again"}
	also := func(zh, en string) { what.Zh, what.En = what.Zh+"；"+zh, what.En+"; "+en }
	if j.KeysKept {
		also("API 密钥保留：备份之后吊销的也重新有效", "API keys were kept: those too that were revoked after the backup are in force")
	} else {
		also("备份中的 API 密钥已全部终止", "all API keys of the backup were ended")
	}
	also("等待复核的草稿已过期，尚未领取的密钥须重新申请，进行中的批次已关闭",
		"drafts that waited have expired, a key that was not drawn is asked for again, open batches are closed")
	if j.Differs {
		also("由区块重建的记录与备份时节点的记录不一致：两者之一曾被改动",
			"the records made from the backup's blocks are not those that the saved node had: one of the two had been changed")
	}
	j.found(RestoreUnconfirmed, j.Dir, what,
		Cure{Text{"核对人员（zhenglian people list）、角色、policies/ 和 webhook 密钥，重做备份之后的变更，换发 API 密钥，请经办重新提交仍需办理的事项，然后确认",
			"look through people (zhenglian people list), roles, policies/ and the webhooks' secrets, make the changes since again, issue API keys, have the drafters send again what is still wanted, then confirm"}, j.command("restore", "--confirm")})
}

func (j *judge) ledger() {
	failed := 0
	for _, d := range j.Dialled {
		switch {
		case d.TCP != nil:
			failed++
			j.found(LedgerUnreachable, d.Address, Text{"无法连接账本网关", "the ledger's gateway cannot be reached"},
				Cure{Text{"检查对方程序、本机到该地址的网络和防火墙", "look at that program, and at the network and firewall between"}, "nc -vz " + strings.ReplaceAll(quote(d.Address), ":", " ")}, d.TCP.Error())
		case d.TLS != nil:
			failed++
			j.found(LedgerTLS, d.Address, Text{"账本网关的 TLS 证书不被接受", "the TLS certificate of the ledger's gateway is not accepted"},
				Cure{Text{"向该网关的单位索取现用的 TLS 根证书，替换 " + d.Roots + "；或校准时钟", "get the TLS authority in use from that gateway's organisation and put it in the place of " + d.Roots + "; or set the clock"}, ""}, d.TLS.Error())
		case d.Until.Sub(j.Now) < soon*24*time.Hour:
			j.note(fmt.Sprintf("网关 %s 的 TLS 证书将于 %s 过期，请通知其单位", d.Address, d.Until.Format(time.DateOnly)),
				fmt.Sprintf("the gateway %s has a TLS certificate that ends on %s: tell its organisation", d.Address, d.Until.Format(time.DateOnly)))
		}
	}
	j.causes = failed > 0 && failed == len(j.Dialled)
}

func (j *judge) stores() {
	if j.Finding != "" {
		j.found(NodeFinding, string(j.Node), Text{"节点发现账本有误，已停止同步", "the node found the ledger at fault and follows it no more"},
			Cure{Text{"与其他单位查明原因后清除记录并重启", "find the cause together with the other organisations, then clear it and restart"}, j.command("finding", "--clear")}, j.Finding)
	}
	blocks, archived := j.At.Blocks, j.At.Archived
	if j.Running != nil {
		blocks, archived = j.Running.Blocks, j.Running.Archived
	} else {
		if j.At.InUse {
			return
		}
		if j.At.Archive != nil {
			j.found(StoreDamaged, j.Archive, Text{"区块归档损坏或有缺口", "the archive of blocks is damaged or has a gap"},
				Cure{Text{"用其他成员归档中的同名文件替换损坏的文件，再重建记录（docs/ops/node-from-archive）", "put the file of the same name from another member's archive in its place, then rebuild the records (docs/ops/node-from-archive)"}, j.command("reindex")}, j.At.Archive.Error())
			return
		}
		if j.At.Records != nil {
			j.found(StoreDamaged, j.Records, Text{"记录库无法读取", "the records cannot be read"},
				Cure{Text{"从归档重建记录", "rebuild the records from the archive"}, j.command("reindex")}, j.At.Records.Error())
			return
		}
	}
	if blocks > archived {
		j.found(StoreGap, j.Archive, Text{fmt.Sprintf("记录已到区块 %d，归档只到 %d：归档缺少区块", blocks, archived), fmt.Sprintf("the records have %d blocks and the archive %d: the archive lacks some", blocks, archived)},
			Cure{Text{"节点运行后会从账本取回缺少的区块；若长时间不变，用其他成员的归档补齐", "a running node fetches them from the ledger; where that does not happen, fill the archive from another member's"}, "systemctl restart zhenglian"})
	} else if j.Running == nil && archived > blocks {
		j.note(fmt.Sprintf("归档比记录多 %d 个区块，启动时补上", archived-blocks), fmt.Sprintf("the archive has %d blocks more than the records, which the next start applies", archived-blocks))
	}
}

const (
	lagging = 15 // seconds without having been at the head
	waiting = 60 // seconds that an accepted operation may wait
)

func (j *judge) node() {
	s := j.Running
	if s == nil {
		evidence := ""
		if j.Down != nil {
			evidence = j.Down.Error()
		}
		if j.At.InUse {
			j.found(NodeHung, j.Admin, Text{"有进程占用节点的数据，但管理端口不应答", "a process holds the node's stores, but its admin listener does not answer"},
				Cure{Text{"节点可能正在启动或停止；若持续如此，重启节点", "the node may be starting or stopping; where it stays so, restart it"}, "systemctl restart zhenglian"}, evidence)
			return
		}
		cure := Text{"启动节点", "start it"}
		if len(j.report.Findings) > 0 {
			cure = Text{"先处理上面的故障，再启动节点", "cure what stands above, then start it"}
		}
		j.found(NodeDown, string(j.Node), Text{"节点没有运行", "the node does not run"}, Cure{cure, "systemctl start zhenglian || " + j.command("serve")}, evidence)
		return
	}
	explained := map[string]bool{}
	if j.causes || j.Finding != "" || slices.ContainsFunc(j.report.Findings, func(f Finding) bool { return f.Code == ClockSkew || f.Code == DiskNearlyFull }) {
		explained = map[string]bool{"follower": true, "writes": true, "gateways": true}
	}
	if !explained["follower"] && (s.Age > lagging || s.Age < 0) && s.Position > 0 {
		age := "never yet"
		if s.Age >= 0 {
			age = time.Duration(s.Age * float64(time.Second)).Round(time.Second).String()
		}
		j.found(NodeLagging, string(s.Node), Text{"节点落后于账本", "the node is behind the ledger"},
			Cure{Text{"查看节点日志中 part=follow 的记录", "see what the log says of part=follow"}, "journalctl -u zhenglian -n 100 | grep follow"},
			fmt.Sprintf("at the head before: %s; %d blocks applied; behind: %v", age, s.Blocks, s.Behind))
		explained["follower"] = true
	}
	if !explained["writes"] && s.Oldest > waiting {
		j.found(WritesWaiting, string(s.Node), Text{fmt.Sprintf("%d 个已受理的操作在等待上链，最早的已等 %.0f 秒", s.Waiting, s.Oldest), fmt.Sprintf("%d accepted operations wait for the ledger, the oldest for %.0f s", s.Waiting, s.Oldest)},
			Cure{Text{"不会丢失；查看 /readyz 中 writes 的原因", "nothing is lost; see what /readyz says of writes"}, "curl -s http://" + j.Admin + "/readyz"})
	}
	for _, c := range s.Ready.Components {
		if c.Status == sdk.OK || explained[c.Name] {
			continue
		}
		j.found(NodeNotReady, c.Name, Text{fmt.Sprintf("组件 %s 状态为 %s", c.Name, c.Status), fmt.Sprintf("the component %s is %s", c.Name, c.Status)},
			Cure{Text{"按所述原因处理（docs/spec/errors.md）", "by the cause that it names (docs/spec/errors.md)"}, "curl -s http://" + j.Admin + "/readyz"}, string(c.Code), c.Detail)
	}
	if j.Backup.IsZero() {
		j.note("还没有做过备份（zhenglian backup）", "no backup has been made yet (zhenglian backup)")
	} else {
		days := int(j.Now.Sub(j.Backup).Hours() / 24)
		j.note(fmt.Sprintf("最近一次备份在 %d 天前", days), fmt.Sprintf("the last backup is %d days old", days))
	}
}
