package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/emmansun/gmsm/sm3"
	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/importer"
	"github.com/zhenglian/zhenglian/sdk"
)

func licenceCommand() *cobra.Command {
	c := &cobra.Command{Use: "licence", Short: "issue, show, change, suspend and end licences"}
	c.AddCommand(issueCommand(), showCommand())
	for _, a := range acts {
		c.AddCommand(actCommand(a))
	}
	return c
}

func showCommand() *cobra.Command {
	var o client
	c := &cobra.Command{
		Use: "show RECORD", Short: "a licence as it stands", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := recordArgument(args[0])
			if err != nil {
				return err
			}
			node, err := o.open("verifier")
			if err != nil {
				return err
			}
			r, err := node.Record(c.Context(), model.KindLicence, id)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(c.OutOrStdout(), r)
			}
			facts(c.OutOrStdout(), "", append(o.licenceFacts(&r.Record),
				[2]string{o.say("日志位置", "position"), strconv.FormatUint(r.Record.Position, 10)},
				[2]string{o.say("区块高度", "height"), strconv.FormatUint(r.At.Height, 10)}))
			return nil
		},
	}
	o.flags(c)
	return c
}

func recordArgument(s string) (model.RecordID, error) {
	if !isRecord(s) {
		return "", useError("%q 不是证照的记录编号（<机关>.<序号>）", "%q is no record id of a licence (<agency>.<serial>)", s)
	}
	return model.RecordID(s), nil
}

type issueFlags struct {
	writing
	agency, under, typ, number, holderCode, holderName, region string
	issued, from, until, file, draft, keep, kind               string
	face                                                       []string
	sealed, person                                             bool
}

func issueCommand() *cobra.Command {
	var o issueFlags
	c := &cobra.Command{
		Use: "issue", Short: "issue a licence", Args: cobra.NoArgs,
		Long: "issue asks the node to issue and sign a licence, and returns when it is committed. While the ledger is away it says\n" +
			"that the node has accepted, and waits on; --no-wait returns then.\n\n" +
			"Of a person's licence (--person, --holder-kind) neither the number of the identity document nor the name reaches the ledger: the node commits to\n" +
			"them, and prints once what opens the commitments. The holder needs it to be verified: keep it (--keep FILE).",
		RunE: func(c *cobra.Command, _ []string) error { return o.run(c) },
	}
	o.flags(c)
	f := c.Flags()
	f.StringVar(&o.agency, "agency", "", "issuing agency (default: the key's own)")
	f.StringVar(&o.under, "under", "", "the delegation that it issues under (default: found in the registry)")
	f.StringVar(&o.typ, "type", "", "licence type, 21 characters")
	f.StringVar(&o.number, "number", "", "number (证照编号)")
	f.StringVar(&o.holderCode, "holder-code", "", "USCC; of a person the number of the identity document, better through --holder-code=- from standard input")
	f.StringVar(&o.holderName, "holder-name", "", "the holder's name")
	f.BoolVar(&o.person, "person", false, "the holder is a person with an identity card, as --holder-kind 111: code and name stay confidential")
	f.StringVar(&o.kind, "holder-kind", "", "001 enterprise (default); persons: 111 identity card, 414 passport, 511 Taiwan permit, 516 Hong Kong and Macao permit, 553 foreigner's permanent residence, 554 residence permit")
	f.StringVar(&o.region, "region", "", "region (default: the agency's)")
	f.StringArrayVar(&o.face, "face", nil, "face field as NAME=VALUE; repeat for more")
	f.StringVar(&o.issued, "issued-on", "", "day of issue (default: today)")
	f.StringVar(&o.from, "from", "", "first day of validity (default: the day of issue)")
	f.StringVar(&o.until, "until", "", "last day of validity (default: none, 长期)")
	f.StringVar(&o.file, "file", "", "the licence's file; its digests go with the licence")
	f.BoolVar(&o.sealed, "sealed", false, "the file carries an electronic seal, so its digests may be public; else one is committed to")
	f.StringVar(&o.draft, "json-file", "", "take the licence from this JSON file (the body of POST /v1/licences); flags override it")
	f.StringVar(&o.keep, "keep", "", "write what opens the commitments to this new file (0600) instead of printing it")
	return c
}

func (o *issueFlags) run(c *cobra.Command) error {
	l, err := o.licence(c.InOrStdin())
	if err != nil {
		return err
	}
	node, err := o.open("drafter")
	if err != nil {
		return err
	}
	if err := o.resolve(c.Context(), node, &l); err != nil {
		return err
	}
	var keep *os.File
	if o.keep != "" {
		// Before the licence is issued: afterwards there is no second chance to be given the openings.
		if keep, err = os.OpenFile(o.keep, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return err
		}
		defer keep.Close()
	}
	out, err := node.Issue(c.Context(), l, o.write(c.ErrOrStderr()))
	switch {
	case keep == nil:
	case !known(out):
		_ = os.Remove(o.keep)
	case out.Presentation != nil:
		if err := printJSON(keep, out.Presentation); err != nil {
			return err
		}
		if err := keep.Sync(); err != nil {
			return err
		}
		out.Presentation = nil
	}
	return o.settled(c.OutOrStdout(), out, err)
}

// licence puts the request together from the file and the flags.
func (o *issueFlags) licence(in io.Reader) (l sdk.NewLicence, err error) {
	if o.draft != "" {
		raw, err := readBounded(o.draft, 1<<20)
		if err != nil {
			return l, err
		}
		if _, err := model.DecodeStrict(raw, &l); err != nil {
			return l, fmt.Errorf("%s: %w", o.draft, err)
		}
	}
	if o.holderCode == "-" {
		raw, err := io.ReadAll(io.LimitReader(in, 256))
		if err != nil {
			return l, err
		}
		o.holderCode = strings.TrimSpace(string(raw))
	}
	for _, x := range []struct {
		given string
		set   *string
	}{
		{o.agency, (*string)(&l.Agency)}, {o.under, (*string)(&l.Under)}, {o.typ, (*string)(&l.Type)}, {o.number, &l.Number},
		{o.holderCode, &l.Holder.Code}, {o.holderName, &l.Holder.Name}, {o.region, (*string)(&l.Region)},
		{o.issued, (*string)(&l.IssuedOn)}, {o.from, (*string)(&l.ValidFrom)}, {o.until, (*string)(&l.ValidUntil)},
	} {
		if x.given != "" {
			*x.set = x.given
		}
	}
	for _, d := range [][2]string{{"--issued-on", o.issued}, {"--from", o.from}, {"--until", o.until}} {
		if _, err := day(d[0], d[1]); err != nil {
			return l, err
		}
	}
	switch kind := model.HolderKind(o.kind); {
	case kind != "" && !kind.Known():
		return l, useError("--holder-kind：没有 %q；有 001、111、414、511、516、553、554", "--holder-kind: there is no %q; there are 001, 111, 414, 511, 516, 553, 554", o.kind)
	case o.person && kind != "" && kind != model.HolderPerson:
		return l, useError("--person 即 --holder-kind 111", "--person is --holder-kind 111")
	case o.person:
		l.Holder.Kind = model.HolderPerson
	case kind != "":
		l.Holder.Kind = kind
	}
	for _, m := range [][2]string{{"--type", string(l.Type)}, {"--number", l.Number}, {"--holder-code", l.Holder.Code}, {"--holder-name", l.Holder.Name}} {
		if m[1] == "" {
			return l, useError("缺少 %s", "%s is missing", m[0])
		}
	}
	if l.Holder.Kind.Personal() && !l.Holder.Kind.Checks(l.Holder.Code) { // the node would say so, having been told the number
		return l, model.E(l.Holder.Kind.Fault(), "--holder-code")
	}
	if o.file != "" {
		d, err := fileDigest(o.file)
		if err != nil {
			return l, err
		}
		if o.sealed {
			d.Sealed = true
			l.File = &d
		} else {
			l.UnsealedFile = d.SHA256.String()
		}
	}
	return l, nil
}

// fileDigest reads a file once for both digests.
func fileDigest(path string) (d model.FileDigest, err error) {
	f, err := os.Open(path)
	if err != nil {
		return d, err
	}
	defer f.Close()
	a, b := sha256.New(), sm3.New()
	if _, err := io.Copy(io.MultiWriter(a, b), f); err != nil {
		return d, err
	}
	return model.FileDigest{SHA256: model.Digest(a.Sum(nil)), SM3: model.Digest(b.Sum(nil))}, nil
}

// resolve asks the registry what the face fields are and by what right the agency issues.
func (o *issueFlags) resolve(ctx context.Context, node *sdk.Client, l *sdk.NewLicence) error {
	dir := importer.NewDirectory(remote{node})
	if len(o.face) == 0 && (l.Agency == "" || l.Under != "") {
		return nil
	}
	t, err := dir.Type(ctx, l.Type)
	if err != nil {
		return err
	}
	for _, f := range o.face {
		name, v, decl, err := faceFlag(t, f)
		if err != nil {
			return err
		}
		into := &l.Face
		if decl.Visibility == model.Confidential {
			into = &l.ConfidentialFace
		}
		if *into == nil {
			*into = map[string]any{}
		}
		(*into)[name] = v
	}
	if l.Agency != "" && l.Under == "" {
		i, err := dir.Issuer(ctx, l.Agency, t, model.DateOf(time.Now()))
		if err != nil {
			return err
		}
		l.Under = i.Under // where there is no right at all, the node says so
	}
	return nil
}

// faceFlag reads NAME=VALUE as the type declares the field.
func faceFlag(t *model.LicenceType, s string) (name string, v any, decl model.FaceField, err error) {
	name, value, ok := strings.Cut(s, "=")
	if !ok {
		return "", nil, decl, useError("--face：写成 NAME=VALUE，不能是 %q", "--face: write NAME=VALUE, not %q", s)
	}
	if decl, ok = t.Face[name]; !ok {
		return "", nil, decl, useError("--face：该类型没有字段 %q；有 %s", "--face: the type has no field %q; it has %s", name, strings.Join(t.FaceNames(), ", "))
	}
	switch decl.Type {
	case "integer":
		n, err := strconv.ParseInt(value, 10, 54)
		if err != nil {
			return "", nil, decl, useError("--face：%s 是整数", "--face: %s is an integer", name)
		}
		v = float64(n)
	case "boolean":
		b, err := strconv.ParseBool(value)
		if err != nil {
			return "", nil, decl, useError("--face：%s 是 true 或 false", "--face: %s is true or false", name)
		}
		v = b
	default:
		v = value
	}
	return name, v, decl, decl.CheckValue("face."+name, v)
}

func (o *client) outcome(w io.Writer, out model.Outcome) error {
	if o.json {
		return printJSON(w, out)
	}
	rows := [][2]string{
		{o.say("记录", "record"), string(out.Record)},
		{o.say("版本", "version"), strconv.FormatUint(out.Version, 10)},
		{o.say("操作号", "operation"), out.Operation.String()},
	}
	if r := out.Receipt; r != nil {
		rows = append(rows,
			[2]string{o.say("状态", "state"), o.stateName(r.State)},
			[2]string{o.say("日志位置", "position"), strconv.FormatUint(r.Position, 10)},
			[2]string{o.say("区块", "block"), strconv.FormatUint(r.Block, 10)},
			[2]string{o.say("时间", "time"), moment(r.Time)},
		)
	}
	title := o.say("已上链", "committed")
	if out.Status == model.Pending {
		title = o.say("已受理，尚未上链", "accepted, not yet committed")
	}
	facts(w, title, rows)
	if out.Presentation != nil {
		fmt.Fprintln(w, o.say("\n出示材料（只显示这一次，请妥善保存并交给持证人）：", "\nPresentation (shown this once; keep it and give it to the holder):"))
		return printJSON(w, out.Presentation)
	}
	return nil
}

type actFlags struct {
	writing
	agency, number, date, effective, reason string
	how, to, holderName, until, valueFile   string
	face                                    []string
	fromStart                               bool
}

// acts are the acts on licences by their names on the command line.
var acts = []model.Type{
	model.LicenceSuspend, model.LicenceResume, model.LicenceDormant, model.LicenceAmend, model.LicenceRenew, model.LicenceTransfer,
	model.LicenceRescind, model.LicenceWithdraw, model.LicenceRevoke, model.LicenceCancel, model.LicenceVoidLost,
}

func actCommand(act model.Type) *cobra.Command {
	var o actFlags
	name := strings.TrimPrefix(string(act), "licence.")
	c := &cobra.Command{
		Use: name + " RECORD", Short: model.Types[act].En + " " + model.Types[act].Zh, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return o.run(c, act, args[0]) },
	}
	o.flags(c)
	f := c.Flags()
	f.StringVar(&o.agency, "agency", "", "acting agency (default: the licence's owner)")
	f.StringVar(&o.number, "decision", "", "number of the decision")
	f.StringVar(&o.date, "decision-date", "", "day of the decision (default: today)")
	f.StringVar(&o.effective, "effective", "", "first day of its legal effect (default: the day of the decision)")
	f.StringVar(&o.reason, "reason", "", "reason code: a-z, 0-9 and hyphen")
	for _, n := range []string{"decision", "reason"} {
		_ = c.MarkFlagRequired(n)
	}
	switch act {
	case model.LicenceRescind:
		f.BoolVar(&o.fromStart, "from-start", false, "void from the licence's first day")
	case model.LicenceTransfer:
		f.StringVar(&o.to, "to", "", "the receiving agency")
		_ = c.MarkFlagRequired("to")
	case model.LicenceAmend, model.LicenceRenew:
		f.StringVar(&o.holderName, "holder-name", "", "the holder's new name")
		f.StringVar(&o.until, "until", "", "new last day of validity")
		f.StringArrayVar(&o.face, "face", nil, "public face field as NAME=VALUE, NAME= to leave it out; repeat for more")
		f.StringVar(&o.valueFile, "json-file", "", "take the members that change from this JSON file; flags override it")
		if act == model.LicenceAmend {
			f.StringVar(&o.how, "how", "", "correct (更正, rights an error) or change (变更, follows new facts)")
			_ = c.MarkFlagRequired("how")
		}
	}
	return c
}

func (o *actFlags) run(c *cobra.Command, act model.Type, record string) error {
	id, err := recordArgument(record)
	if err != nil {
		return err
	}
	in := sdk.LicenceAct{
		Decision: model.Decision{Number: o.number}, Reason: o.reason, FromStart: o.fromStart,
		How: model.AmendKind(o.how), To: model.AgencyID(o.to), Agency: model.AgencyID(o.agency),
	}
	if in.Decision.Date, err = day("--decision-date", o.date); err != nil {
		return err
	}
	if in.Decision.Date == "" {
		in.Decision.Date = model.DateOf(time.Now())
	}
	if in.Effective, err = day("--effective", o.effective); err != nil {
		return err
	}
	if in.Effective == "" {
		in.Effective = in.Decision.Date
	}
	node, err := o.open("drafter")
	if err != nil {
		return err
	}
	amends := act == model.LicenceAmend || act == model.LicenceRenew
	if in.Agency == "" || amends {
		r, err := node.Record(c.Context(), model.KindLicence, id)
		if err != nil {
			return err
		}
		if in.Agency == "" {
			in.Agency = r.Record.Owner
		}
		if amends {
			in.Previous = model.RawValue(r.Record.Public) // nobody changes it between this look and the act
			if in.Value, err = o.value(c.Context(), node, &r.Record); err != nil {
				return err
			}
		}
	}
	out, err := node.Act(c.Context(), id, act, in, o.write(c.ErrOrStderr()))
	return o.settled(c.OutOrStdout(), out, err)
}

// value is the members of the licence that change. Of the face the node takes the whole, so what stays is
// added here.
func (o *actFlags) value(ctx context.Context, node *sdk.Client, v *model.View) (model.RawValue, error) {
	value := map[string]any{}
	if o.valueFile != "" {
		raw, err := readBounded(o.valueFile, 1<<20)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(raw, &value); err != nil {
			return nil, fmt.Errorf("%s: %w", o.valueFile, err)
		}
	}
	if o.holderName != "" {
		value["holder_name"] = o.holderName
	}
	if o.until != "" {
		d, err := day("--until", o.until)
		if err != nil {
			return nil, err
		}
		value["valid_until"] = d
	}
	if len(o.face) > 0 {
		l := licenceOf(v)
		if l == nil {
			return nil, model.E(model.CodeInternal).With("the node's record is no licence")
		}
		t, err := importer.NewDirectory(remote{node}).Type(ctx, l.Type)
		if err != nil {
			return nil, err
		}
		face := l.Face
		if face == nil {
			face = map[string]any{}
		}
		for _, f := range o.face {
			if name, rest, ok := strings.Cut(f, "="); ok && rest == "" {
				delete(face, name)
				continue
			}
			name, x, decl, err := faceFlag(t, f)
			if err != nil {
				return nil, err
			}
			if decl.Visibility == model.Confidential {
				return nil, useError("--face：%s 是保密字段，请经 API 提交", "--face: %s is confidential; send it through the API", name)
			}
			face[name] = x
		}
		value["face"] = face
	}
	if len(value) == 0 {
		return nil, useError("没有变更内容：请给 --holder-name、--until、--face 或 --json-file", "nothing changes: give --holder-name, --until, --face or --json-file")
	}
	return json.Marshal(value)
}
