package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/importer"
	"github.com/zhenglian/zhenglian/sdk"
)

// teller tells the story. Each step is a real call on a node, says how long that took, and fails the demo
// if the answer is not the one that the story needs.
type teller struct {
	*stage
	step int
}

// as is a node's client in a role.
func (s *stage) as(node model.NodeID, role string) *sdk.Client {
	for _, n := range s.d.Nodes {
		if n.Name == node {
			return &sdk.Client{BaseURL: n.URL, Key: n.Keys[role]}
		}
	}
	return &sdk.Client{}
}

// say picks the language.
func (s *stage) say(zh, en string) string {
	if s.o.Lang == "zh" {
		return zh
	}
	return en
}

func (s *stage) print(format string, args ...any) { fmt.Fprintf(s.o.Out, format+"\n", args...) }

// line prints a step: what was done, what came of it, how long it took.
func (t *teller) line(what, outcome string, took time.Duration) {
	t.step++
	what = text.Pad(what, 58, ' ')
	t.print("%2d  %s %s  %s", t.step, what, text.AlignRight.Apply(fmt.Sprintf("%.1f ms", ms(took)), 9), outcome)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (s *stage) tell(ctx context.Context, fresh bool) error {
	t := &teller{stage: s}
	t.print("")
	t.print("%s", t.say("证链演示：北京、天津、河北市场监管部门与海关，共用一个账本",
		"Zhenglian: the market regulators of Beijing, Tianjin and Hebei, and Customs, share one ledger"))
	t.print("%s", t.say(fmt.Sprintf("四个节点和账本已就绪，用时 %.1f 秒", time.Since(s.begun).Seconds()),
		fmt.Sprintf("four nodes and their ledger are up after %.1f s", time.Since(s.begun).Seconds())))
	t.print("")
	if fresh {
		if err := t.delegations(ctx); err != nil {
			return err
		}
		if err := t.samples(ctx); err != nil {
			return err
		}
	}
	if err := t.enterprise(ctx); err != nil {
		return fmt.Errorf("demo: step %d: %w", t.step+1, err)
	}
	if err := t.ending(ctx); err != nil {
		return fmt.Errorf("demo: step %d: %w", t.step+1, err)
	}
	if err := t.person(ctx); err != nil {
		return fmt.Errorf("demo: step %d: %w", t.step+1, err)
	}
	return nil
}

// approve is the second person: what was drafted waits (that is the error), the approver looks and agrees.
func (t *teller) approve(ctx context.Context, node model.NodeID, drafted error) (sdk.DecidedDraft, error) {
	held, ok := sdk.Held(drafted)
	if !ok {
		return sdk.DecidedDraft{}, fmt.Errorf("it should have waited for another person's approval, but: %w", orNothing(drafted))
	}
	approver := t.as(node, "approver")
	seen, err := approver.Draft(ctx, held.ID, 0)
	if err != nil {
		return sdk.DecidedDraft{}, err
	}
	return approver.ApproveDraft(ctx, held.ID, seen.Draft.Content, sdk.Write{})
}

// ending is what one person cannot do alone.
func (t *teller) ending(ctx context.Context) error {
	today := model.DateOf(time.Now())
	act := sdk.LicenceAct{Agency: "bj-scjg", Effective: today, Reason: "closed-down", Decision: model.Decision{Number: "京市监〔2026〕15号", Date: today}}
	start := time.Now()
	drafter := t.as("beijing", "drafter")
	_, drafted := drafter.Act(ctx, t.record, model.LicenceCancel, act, sdk.Write{})
	held, ok := sdk.Held(drafted)
	if !ok {
		return fmt.Errorf("the cancellation should have waited for another person's approval, but: %w", orNothing(drafted))
	}
	t.line(t.say("北京经办人提出注销该证照", "a drafter in Beijing asks to cancel it"), text.FgYellow.Sprint(t.say(held.Zh, held.En)), time.Since(start))
	start = time.Now()
	_, err := drafter.ApproveDraft(ctx, held.ID, held.Content, sdk.Write{})
	var refused *model.Error
	if !errors.As(err, &refused) || refused.Code != model.CodeOwnDraft {
		return fmt.Errorf("the drafter's own approval should have been refused as %s, but: %w", model.CodeOwnDraft, orNothing(err))
	}
	t.line(t.say("经办人自己复核", "the drafter approves it himself"), text.FgRed.Sprint(t.say("被拒绝："+refused.Zh(), "refused: "+refused.En())), time.Since(start))
	start = time.Now()
	d, err := t.approve(ctx, "beijing", drafted)
	if err != nil {
		return err
	}
	if len(d.Outcomes) != 1 || d.Outcomes[0].Receipt == nil {
		return fmt.Errorf("the approved cancellation has the outcomes %+v", d.Outcomes)
	}
	t.line(t.say("复核人核对后同意，注销上链", "an approver looks and agrees: it is cancelled"), fmt.Sprintf("v%d", d.Outcomes[0].Version), time.Since(start))
	query := model.Query{Number: t.number, Type: BusinessLicence}
	return t.verify(ctx, "tianjin", t.say("天津再次核验", "Tianjin verifies it again"), query, d.Outcomes[0].Receipt, model.NotValid, model.Reason(model.Cancelled))
}

func (t *teller) delegations(ctx context.Context) error {
	start, n := time.Now(), 0
	today := model.DateOf(time.Now())
	for node, list := range districts {
		client := t.as(node, "drafter")
		for _, d := range list {
			region, err := t.region(ctx, client, d.to)
			if err != nil {
				return err
			}
			_, err = client.Delegate(ctx, sdk.NewDelegation{Agency: d.from, Value: model.Delegation{
				From: d.from, To: d.to, Type: BusinessLicence, Region: region, Window: model.Window{From: today},
			}}, sdk.Write{})
			if _, err := t.approve(ctx, node, err); err != nil {
				return err
			}
			n++
		}
	}
	t.line(t.say("市级部门委托各区签发营业执照", "the cities delegate business licences to their districts"),
		t.say(fmt.Sprintf("%d 项委托", n), fmt.Sprintf("%d delegations", n)), time.Since(start))
	return nil
}

// samples imports the file of invented holders that comes with the program, with the program's own command.
func (t *teller) samples(ctx context.Context) error {
	file, _, err := importer.Sample()
	if err != nil {
		return err
	}
	path := filepath.Join(t.o.Dir, "sample.csv")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		return err
	}
	start := time.Now()
	c := exec.CommandContext(ctx, t.o.Program, "import", "licences", path, "--map", "sample", "--demo", t.o.Dir, "--json")
	var problem bytes.Buffer
	c.Stderr = &problem
	out, err := c.Output()
	if err != nil {
		return fmt.Errorf("demo: importing the sample: %w\n%s%s", err, out, problem.String())
	}
	var imported struct {
		Result struct {
			Issued int `json:"issued"`
		} `json:"result"`
	}
	if err := json.Unmarshal(out, &imported); err != nil || imported.Result.Issued == 0 {
		return fmt.Errorf("demo: importing the sample issued %d licences: %s", imported.Result.Issued, out)
	}
	issued := imported.Result.Issued
	t.line(t.say("三地导入样例营业执照（CSV）", "the three import a sample of business licences (CSV)"),
		t.say(fmt.Sprintf("%d 张证照", issued), fmt.Sprintf("%d licences", issued)), time.Since(start))
	return nil
}

func (t *teller) region(ctx context.Context, c *sdk.Client, id model.AgencyID) (model.Region, error) {
	r, err := c.Entry(ctx, model.KindAgency, model.RecordID(id))
	if err != nil {
		return "", err
	}
	var a model.Agency
	err = model.DecodeCanonical(r.Record.Public, &a)
	return a.Region, err
}

// enterprise is the life of a business licence across four organisations.
func (t *teller) enterprise(ctx context.Context) error {
	now := time.Now()
	today, yesterday := model.DateOf(now), model.DateOf(now.AddDate(0, 0, -1))
	issued := model.DateOf(now.AddDate(0, 0, -30))
	number := fmt.Sprintf("BJ%d", now.UnixMilli())
	t.number = number
	uscc, err := model.InventUSCC("91110105X", int(now.UnixMilli()%10_000_000))
	if err != nil {
		return err
	}
	start := time.Now()
	o, err := t.as("beijing", "drafter").Issue(ctx, sdk.NewLicence{
		Agency: "bj-scjg", Type: BusinessLicence, Number: number, IssuedOn: issued, ValidFrom: issued, ValidUntil: model.DateOf(now.AddDate(20, 0, 0)),
		Holder:           sdk.Holder{Code: string(uscc), Name: "北京样例科技有限公司"},
		Face:             map[string]any{"entity_type": "有限责任公司", "capital": "1000万元人民币", "scope": "技术开发、技术服务；软件开发"},
		ConfidentialFace: map[string]any{"representative": "张样例"},
	}, sdk.Write{})
	if err != nil {
		return err
	}
	t.line(t.say("北京市市场监管局签发营业执照", "Beijing issues a business licence"), string(o.Record), time.Since(start))
	t.record = o.Record
	query := model.Query{Number: number, Type: BusinessLicence}
	if err := t.verify(ctx, "tianjin", t.say("天津核验：", "Tianjin verifies it"), query, o.Receipt, model.Valid, model.ReasonInForce); err != nil {
		return err
	}
	start = time.Now()
	act := sdk.LicenceAct{Agency: "bj-scjg", Effective: today, Reason: "under-investigation", Decision: model.Decision{Number: "京市监〔2026〕12号", Date: today}}
	if o, err = t.as("beijing", "drafter").Act(ctx, o.Record, model.LicenceSuspend, act, sdk.Write{}); err != nil {
		return err
	}
	t.line(t.say("北京暂停该证照", "Beijing suspends it"), fmt.Sprintf("v%d", o.Version), time.Since(start))
	if err := t.verify(ctx, "tianjin", t.say("天津再次核验", "Tianjin verifies it again"), query, o.Receipt, model.NotValid, model.Reason(model.Suspended)); err != nil {
		return err
	}
	past := query
	past.At = yesterday
	if err := t.verify(ctx, "tianjin", t.say("天津查询：昨天是否有效", "Tianjin asks: was it valid yesterday?"), past, o.Receipt, model.Valid, model.ReasonInForce); err != nil {
		return err
	}
	unknown := model.Query{Number: "BJ0000000000000", Type: BusinessLicence}
	if err := t.verify(ctx, "customs", t.say("海关核验一个不存在的编号", "Customs verifies a number that nobody issued"), unknown, o.Receipt, model.NotValid, model.ReasonNotFound); err != nil {
		return err
	}
	start = time.Now()
	act.Agency = "he-scjg"
	_, err = t.as("hebei", "drafter").Act(ctx, o.Record, model.LicenceCancel, act, sdk.Write{})
	var refused *model.Error
	if !errors.As(err, &refused) || refused.Code != model.CodeNotOwner {
		return fmt.Errorf("the attempt by Hebei should have been refused as %s, but: %w", model.CodeNotOwner, orNothing(err))
	}
	t.line(t.say("河北试图注销北京的证照", "Hebei tries to cancel Beijing's licence"),
		text.FgRed.Sprint(t.say("被拒绝："+refused.Zh(), "refused: "+refused.En())), time.Since(start))
	return t.history(ctx, o.Record)
}

func orNothing(err error) error {
	if err == nil {
		return errors.New("it was accepted")
	}
	return err
}

// person is a licence whose holder is on the ledger only as a commitment.
func (t *teller) person(ctx context.Context) error {
	now := time.Now()
	id := inventedCitizenID(now)
	start := time.Now()
	o, err := t.as("tianjin", "drafter").Issue(ctx, sdk.NewLicence{
		Agency: "tj-scjg", Type: OperatorPermit, Number: fmt.Sprintf("TJ%d", now.UnixMilli()), ValidUntil: model.DateOf(now.AddDate(4, 0, 0)),
		Holder: sdk.Holder{Kind: model.HolderPerson, Code: id, Name: "李样例"}, Face: map[string]any{"work_item": "叉车司机 N1", "grade": "一级"},
	}, sdk.Write{})
	if err != nil {
		return err
	}
	if len(o.Presentation) == 0 {
		return errors.New("the issuer got no salts for the holder")
	}
	t.line(t.say("天津签发个人证照（身份信息不上链）", "Tianjin issues a person's permit (no identity on the ledger)"), string(o.Record), time.Since(start))
	query := model.Query{Record: o.Record}
	if err := t.verify(ctx, "hebei", t.say("河北核验，未出示验证码", "Hebei verifies it without the holder's salt"), query, o.Receipt, model.Undetermined, model.ReasonSaltNeeded); err != nil {
		return err
	}
	query.Presentation = o.Presentation
	return t.verify(ctx, "hebei", t.say("河北核验，持证人出示验证码", "Hebei verifies it with the salt that the holder shows"), query, o.Receipt, model.Valid, model.ReasonInForce)
}

// inventedCitizenID is a well-formed number of nobody: its district has never existed.
func inventedCitizenID(now time.Time) string {
	body := fmt.Sprintf("12019919900101%03d", now.UnixMilli()%1000)
	for _, c := range "0123456789X" {
		if _, err := model.ParseCitizenID(body + string(c)); err == nil {
			return body + string(c)
		}
	}
	return ""
}

// verify asks a node for a verdict as soon as the node has what the receipt is for. The latency is of the
// answer that had it; how long the node took to get there is told beside it.
func (t *teller) verify(ctx context.Context, node model.NodeID, what string, q model.Query, after *model.Receipt, want model.Word, reason model.Reason) error {
	client := t.as(node, "verifier")
	begun := time.Now()
	for {
		start := time.Now()
		v, err := client.Verify(ctx, q)
		took := time.Since(start)
		if err != nil {
			return err
		}
		if after != nil && v.Position <= after.Position {
			if time.Since(begun) > 10*time.Second {
				return fmt.Errorf("%s has not seen position %d after 10 s", node, after.Position)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Millisecond):
			}
			continue
		}
		if v.Verdict != want || v.Reason != reason {
			return fmt.Errorf("%s says %s (%s), and not %s (%s)", node, v.Verdict, v.Reason, want, reason)
		}
		outcome := t.verdict(v)
		if waited := start.Sub(begun); waited > time.Millisecond {
			outcome += t.say(fmt.Sprintf("（该节点 %.1f 毫秒后同步到此）", ms(waited)), fmt.Sprintf("  [there after %.1f ms]", ms(waited)))
		}
		t.line(what, outcome, took)
		return nil
	}
}

func (t *teller) verdict(v model.Verdict) string {
	colour, word := text.FgGreen, map[model.Word]string{model.Valid: "有效", model.NotValid: "无效", model.Undetermined: "无法判定", model.Stale: "数据过时"}[v.Verdict]
	switch v.Verdict {
	case model.NotValid:
		colour = text.FgRed
	case model.Undetermined, model.Stale:
		colour = text.FgYellow
	}
	out := colour.Sprint(t.say(word+"："+v.Zh, string(v.Verdict)+": "+v.En))
	if v.Since != "" && v.Verdict == model.NotValid {
		out += t.say("（自 "+string(v.Since)+" 起）", " (since "+string(v.Since)+")")
	}
	return out
}

func (t *teller) history(ctx context.Context, id model.RecordID) error {
	start := time.Now()
	var entries []model.HistoryEntry
	for e, err := range t.as("customs", "auditor").History(ctx, model.KindLicence, id) {
		if err != nil {
			return err
		}
		entries = append(entries, e)
	}
	if len(entries) != 2 {
		return fmt.Errorf("the history has %d versions, and not 2", len(entries))
	}
	t.line(t.say("海关查看经过：谁做了什么", "Customs reads the history: who did what"), t.say(fmt.Sprintf("%d 个版本", len(entries)), fmt.Sprintf("%d versions", len(entries))), time.Since(start))
	for _, e := range entries {
		what := t.say(model.Types[e.Type].Zh, model.Types[e.Type].En)
		person := t.say("人员", "person") + " " + string(e.Person[:min(8, len(e.Person))])
		t.print("      v%d  %s  %s  %s  %s  %s", e.Version, e.Time.Time().In(model.Shanghai).Format("2006-01-02 15:04:05"), text.Pad(string(e.Agency), 10, ' '), person, text.Pad(what, 10, ' '), e.State)
	}
	return nil
}

// next prints what to try.
func (s *stage) next() {
	tj := s.d.Nodes[1]
	s.print("")
	s.print("%s", s.say("运行中，按 Ctrl-C 结束。接下来可以试试：", "Running; Ctrl-C ends it. Three things to try:"))
	s.print("  export ZHENGLIAN_URL=%s ZHENGLIAN_KEY=%s", tj.URL, tj.Keys["verifier"])
	s.print("  %s verify %s", s.o.Program, s.number+" --type "+string(BusinessLicence))
	s.print("  %s history licence %s", s.o.Program, s.record)
	s.print("  curl -s -H \"Authorization: Bearer $ZHENGLIAN_KEY\" %s/v1/registry/agency | head -c 400", tj.URL)
	s.print("")
	s.print("%s %s/", s.say("用浏览器核验：", "verify in a browser:"), tj.URL)
	s.print("%s", strings.TrimSpace(s.say("连接信息（含密钥）：", "addresses and keys: ")+s.o.Dir+"/"+DescriptionFile))
}
