package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

// The calls of the licence sharing services (电子证照共享服务) that provinces run, as an adapter: the paths, the using
// elements and the metadata's short names are theirs, all that stands behind is what every other route has. Which parts
// are ours by inference docs/spec/elssp.md says.

var (
	routeElsspDataByID     = &route{method: "POST", path: "/elssp/v1/GetCertificateDataByCertificateID", id: "elssp-data-by-id", tag: "elssp", action: ActionVerify, limit: limitSmall, reads: true, envelope: true, summary: "A licence's data by its identifier", zh: "按证照标识获取证照数据"}
	routeElsspDataByHolder = &route{method: "POST", path: "/elssp/v1/GetCertificateDataByHolder", id: "elssp-data-by-holder", tag: "elssp", action: ActionSearch, limit: limitSmall, reads: true, envelope: true, summary: "A holder's licences", zh: "按持证主体获取证照数据"}
	routeElsspFileByID     = &route{method: "POST", path: "/elssp/v1/GetCertificateFileByCertificateID", id: "elssp-file-by-id", tag: "elssp", action: ActionVerify, limit: limitSmall, reads: true, envelope: true, summary: "A licence's file by its identifier", zh: "按证照标识获取证照文件"}
	routeElsspFileByHolder = &route{method: "POST", path: "/elssp/v1/GetCertificateFileByHolder", id: "elssp-file-by-holder", tag: "elssp", action: ActionSearch, limit: limitSmall, reads: true, envelope: true, summary: "The files of a holder's licences", zh: "按持证主体获取证照文件"}
)

// elsspRoutes registers itself: these four are one feature.
func (a *API) elsspRoutes() map[*route]handler {
	return map[*route]handler{
		routeElsspDataByID: a.elsspByID(false), routeElsspDataByHolder: a.elsspByHolder(false),
		routeElsspFileByID: a.elsspByID(true), routeElsspFileByHolder: a.elsspByHolder(true),
	}
}

// elsspUse holds a call to its six elements.
func elsspUse(u *sdk.ElsspUse) (*model.Use, error) {
	if err := checkPresent("UseFor", u.UseFor, "orgName", u.OrgName, "username", u.Username, "itemName", u.ItemName, "itemCode", u.ItemCode, "businessCode", u.BusinessCode); err != nil {
		return nil, err
	}
	use := &model.Use{Purpose: u.UseFor, OrgName: u.OrgName, Username: u.Username, ItemName: u.ItemName, ItemCode: u.ItemCode, BusinessCode: u.BusinessCode}
	return use, use.Check()
}

func (a *API) elsspByID(file bool) handler {
	return func(x *exchange) error {
		var in sdk.ElsspByID
		if _, err := x.decode(&in); err != nil {
			return err
		}
		use, err := elsspUse(&in.ElsspUse)
		if err != nil {
			return err
		}
		id, err := model.ParseLicenceID(in.CertificateID)
		if err != nil {
			return model.E(model.CodeBadIdentifier, "CertificateID")
		}
		queries := []model.Query{{Identifier: id, Use: use}}
		return a.elssp(x, queries, nil, false, file)
	}
}

func (a *API) elsspByHolder(file bool) handler {
	return func(x *exchange) error {
		var in sdk.ElsspByHolder
		if _, err := x.decode(&in); err != nil {
			return err
		}
		use, err := elsspUse(&in.ElsspUse)
		if err != nil {
			return err
		}
		if in.HolderCode == "" || len(in.HolderCode) > 64 {
			return model.E(model.CodeMissingField, "CZZTDM")
		}
		s := sdk.LicenceSearch{HolderCode: in.HolderCode}
		for _, t := range in.Types {
			code, err := model.ParseTypeCode(t)
			if err != nil {
				return model.E(model.CodeBadValue, "ZZLXDM")
			}
			s.Types = append(s.Types, code)
		}
		page, err := x.find(s, "", sdk.MaxFound, false)
		if err != nil {
			return err
		}
		var queries []model.Query
		found := map[model.RecordID]sdk.FoundLicence{}
		for _, l := range page.Licences {
			if in.HolderType == "" || in.HolderType == string(l.HolderKind) {
				queries = append(queries, model.Query{Record: l.Record, Use: use})
				found[l.Record] = l
			}
		}
		if len(queries) == 0 { // the access log has the question, too
			if err := x.verified([]model.Query{{Use: use}}, make([]model.Verdict, 1)); err != nil {
				return err
			}
			return model.E(model.CodeNotFound)
		}
		return a.elssp(x, queries, found, page.Next != "", file)
	}
}

// elssp answers with what is known of the queried licences, and takes their use down.
func (a *API) elssp(x *exchange, queries []model.Query, found map[model.RecordID]sdk.FoundLicence, more, file bool) error {
	verdicts := a.verifier.Verify(x.r.Context(), queries)
	if err := x.verified(queries, verdicts); err != nil {
		return err
	}
	answer := sdk.ElsspAnswer{Status: "0", Code: "ok", Message: "成功", More: more}
	for i := range verdicts {
		v := &verdicts[i]
		if v.Record == nil {
			continue
		}
		c, err := a.elsspCertificate(x, v)
		if err != nil {
			return err
		}
		if l, ok := found[v.Record.ID]; ok && c.CZZTDM == "" {
			c.CZZTDM, c.CZZT = l.HolderCode, l.HolderName // a person's, for the owning agency's own people
		}
		if !file {
			c.File = nil
		}
		answer.Data = append(answer.Data, c)
	}
	status := http.StatusOK
	switch {
	case len(answer.Data) == 0:
		return &model.Error{Code: model.CodeNotFound}
	case file:
		e := model.E(model.CodeFileNotHeld)
		status = e.Status()
		answer.Status, answer.Code, answer.Message = "1", string(e.Code), e.Zh()
	}
	return x.answerValue(status, answer)
}

// holderTypes are the names of holder code types, where they are verified.
var holderTypes = map[model.HolderKind]string{model.HolderEnterprise: "统一社会信用代码", model.HolderPerson: "公民身份号码"}

// elsspCertificate is a licence under the short names.
func (a *API) elsspCertificate(x *exchange, v *model.Verdict) (c sdk.ElsspCertificate, err error) {
	var l model.Licence
	if err := model.DecodeCanonical(v.Record.Public, &l); err != nil {
		return c, err
	}
	c = sdk.ElsspCertificate{
		ZZBH: l.Number, ZZBS: string(l.Identifier), ZZLXDM: string(l.Type), ZZBFJGDM: string(l.Issuer), ZZBFRQ: string(l.IssuedOn),
		CZZT: l.HolderName, CZZTDM: string(l.HolderCode), CZZTDMLX: holderTypes[l.HolderKind], CZZTDMLXDM: string(l.HolderKind),
		ZZYXQQSRQ: string(l.ValidFrom), ZZYXQJZRQ: string(l.ValidUntil), KZ: map[string]any{},
		Verdict: string(v.Verdict), Reason: string(v.Reason), ReasonZh: v.Zh, File: &sdk.ElsspFile{},
	}
	if c.ZZYXQJZRQ == "" {
		c.ZZYXQJZRQ = "长期"
	}
	for name, value := range l.Face {
		c.KZ["KZ_"+name] = value
	}
	if l.File != nil {
		c.File.Sealed, c.File.SHA256, c.File.SM3 = l.File.Sealed, l.File.SHA256.String(), l.File.SM3.String()
	}
	var t model.LicenceType
	if view, _, err := a.records.View(x.r.Context(), model.KindLicenceType, model.RecordID(l.Type)); err == nil && json.Unmarshal(view.Public, &t) == nil {
		c.ZZMC, c.ZZLXMC = t.NameZh, t.NameZh
	}
	var owner model.Agency
	if view, _, err := a.records.View(x.r.Context(), model.KindAgency, model.RecordID(v.Record.Owner)); err == nil && json.Unmarshal(view.Public, &owner) == nil && owner.USCC == l.Issuer {
		c.ZZBFJG = owner.NameZh
	}
	return c, nil
}

// elsspProblem is a refusal in the envelope of these calls, with our code and Chinese sentence.
func elsspProblem(p *model.Problem) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(sdk.ElsspAnswer{Status: "1", Code: string(p.Code), Message: p.Zh, Field: p.Field}) // plain values always encode
	return b.Bytes()
}

// writeElssp documents the calls.
func (d *document) writeElssp() {
	answer := d.schema(sdk.ElsspAnswer{})
	for rt, in := range map[*route]any{
		routeElsspDataByID: sdk.ElsspByID{}, routeElsspFileByID: sdk.ElsspByID{}, routeElsspDataByHolder: sdk.ElsspByHolder{}, routeElsspFileByHolder: sdk.ElsspByHolder{},
	} {
		op := d.operation(rt)
		op.Description += " Every answer, refusals included, has the envelope of these services. The six elements of use are required and stand in the access log, the clerk as a pseudonym."
		if strings.Contains(rt.path, "File") {
			op.Description += " A node holds no files yet: the answer is `file_not_held` (404) with the file's digests."
		}
		op.RequestBody = &huma.RequestBody{Required: true, Content: content("application/json", d.schema(in))}
		op.Responses["200"] = &huma.Response{Description: "OK", Content: content("application/json", answer)}
		d.config.AddOperation(&op)
	}
}
