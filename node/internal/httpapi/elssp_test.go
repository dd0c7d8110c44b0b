package httpapi_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/sdk"
)

// holderSearch finds every licence of the fake node under one holder's code.
type holderSearch struct{ records []model.RecordID }

func (h *holderSearch) Page(_ context.Context, s sdk.LicenceSearch, _ model.AgencyID, _ string, _ int, _ bool) (p sdk.LicencePage, err error) {
	if s.HolderCode == "91110105X000000192" {
		for _, r := range h.records {
			p.Licences = append(p.Licences, sdk.FoundLicence{Record: r, HolderKind: model.HolderEnterprise})
		}
	}
	return p, nil
}

func (h *holderSearch) Walk(context.Context, sdk.LicenceSearch, model.AgencyID, func(*sdk.FoundLicence) error) error {
	return nil
}

func TestElssp(t *testing.T) {
	l := &fakeLog{durable: map[uint64]bool{}, counts: map[int]int{}}
	s := open(t, func(c *httpapi.Config, _ *auth.Rates) {
		c.Access, c.AccessReader, c.Search = l, l, &holderSearch{[]model.RecordID{"bj-scjg.1", "bj-scjg.2"}}
	})
	const identifier = "1.2.156.3005.2.11100000MB0143028R001.11110000X000100145.0000001.001.C"
	id, err := model.NewLicenceID(model.LicenceIDParts{Type: "11100000MB0143028R001", Issuer: "11110000X000100145", Serial: "0000001", Version: 1})
	if err != nil {
		t.Fatal(err)
	}
	value := model.Licence{
		Type: "11100000MB0143028R001", Number: "BJ1", Identifier: id, Issuer: "11110000X000100145", Region: "110000", HolderKind: "001",
		HolderCode: "91110105X000000192", HolderName: "北京样例科技有限公司", IssuedOn: "2026-01-02", ValidFrom: "2026-01-02", Face: map[string]any{"scope": "餐饮"},
		File: &model.FileDigest{Sealed: true, SHA256: model.DigestOf([]byte("f")), SM3: model.DigestOf([]byte("g"))},
	}
	public, err := model.Canonical(value)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []model.RecordID{"bj-scjg.1", "bj-scjg.2"} {
		s.node.put(model.View{Kind: model.KindLicence, ID: r, Header: model.Header{Version: 1, State: model.InForce, Owner: "bj-scjg"}, Public: public})
	}
	s.node.put(model.View{Kind: model.KindLicenceType, ID: "11100000MB0143028R001", Header: model.Header{Version: 1}, Public: []byte(`{"name_zh":"营业执照"}`)})
	s.node.put(model.View{Kind: model.KindAgency, ID: "bj-scjg", Header: model.Header{Version: 1}, Public: []byte(`{"name_zh":"北京市市场监督管理局","uscc":"11110000X000100145"}`)})

	const use = `"UseFor":"办理准营","orgName":"甲局","username":"张三","itemName":"设立","itemCode":"0001","businessCode":"B1"`
	call := func(as auth.Role, name, body string) (int, sdk.ElsspAnswer) {
		t.Helper()
		status, h, raw := s.ask(t, as, "POST", "/elssp/v1/"+name, body)
		var a sdk.ElsspAnswer
		if err := json.Unmarshal(raw, &a); err != nil || h.Get("Content-Type") != "application/json" {
			t.Fatalf("%d %s %v", status, raw, err)
		}
		return status, a
	}
	byHolder := "{" + use + `,"CZZTDM":"91110105X000000192"}`

	// By holder: every licence, under the short names.
	status, a := call(auth.Drafter, "GetCertificateDataByHolder", byHolder)
	if status != 200 || a.Status != "0" || len(a.Data) != 2 {
		t.Fatalf("%d %+v", status, a)
	}
	want := sdk.ElsspCertificate{
		ZZMC: "营业执照", ZZBH: "BJ1", ZZBS: string(id), ZZLXDM: "11100000MB0143028R001", ZZLXMC: "营业执照", ZZBFJG: "北京市市场监督管理局",
		ZZBFJGDM: "11110000X000100145", ZZBFRQ: "2026-01-02", CZZT: "北京样例科技有限公司", CZZTDM: "91110105X000000192", CZZTDMLX: "统一社会信用代码",
		CZZTDMLXDM: "001", ZZYXQQSRQ: "2026-01-02", ZZYXQJZRQ: "长期", Verdict: "valid",
	}
	got := a.Data[0]
	if got.KZ["KZ_scope"] != "餐饮" || got.ReasonZh == "" {
		t.Errorf("%+v", got)
	}
	got.KZ, got.Reason, got.ReasonZh = nil, "", ""
	if a, b := mustJSON(t, got), mustJSON(t, want); a != b {
		t.Errorf("%s\nwant %s", a, b)
	}

	// The use is in the access log, the clerk as a pseudonym, and the records with it.
	e := l.since(l.len() - 1)[0]
	if e.Use == nil || *e.Use != (sdk.AccessUse{Purpose: "办理准营", OrgName: "甲局", User: l.Clerk("张三"), ItemName: "设立", ItemCode: "0001", BusinessCode: "B1"}) ||
		len(e.Records) != 2 || e.Route != "elssp-data-by-holder" {
		t.Errorf("%+v", e)
	}
	before := l.len()
	if status, a := call(auth.Drafter, "GetCertificateDataByHolder", strings.Replace(byHolder, "0192", "0193", 1)); status != 404 || a.Code != "not_found" || a.Message == "" {
		t.Errorf("%d %+v", status, a)
	}
	if got := l.since(before); len(got) != 1 || got[0].Use == nil {
		t.Errorf("a question without an answer is logged, too: %+v", got)
	}

	// By identifier.
	s.node.set(func(n *fakeNode) {
		v := n.views[model.KindLicence]["bj-scjg.1"]
		n.verdict = model.Verdict{Verdict: model.Valid, Reason: model.ReasonInForce, Zh: "证照有效", Record: &v}
	})
	byID := "{" + use + `,"CertificateID":"` + string(id) + `"}`
	if status, a := call(auth.Verifier, "GetCertificateDataByCertificateID", byID); status != 200 || len(a.Data) != 1 || a.Data[0].ZZBH != "BJ1" {
		t.Errorf("%d %+v", status, a)
	}
	// A file is not held, and that is what is said.
	for name, body := range map[string]string{"GetCertificateFileByCertificateID": byID, "GetCertificateFileByHolder": byHolder} {
		status, a := call(auth.Drafter, name, body)
		if status != 404 || a.Code != "file_not_held" || a.Status != "1" || !strings.Contains(a.Message, "未存放") || a.Data[0].File == nil || a.Data[0].File.Held ||
			a.Data[0].File.SHA256 != value.File.SHA256.String() || a.Data[0].File.SM3 != value.File.SM3.String() {
			t.Errorf("%s: %d %+v", name, status, a)
		}
	}
	// Each of the six is required; who has no right, and what is wrong, is said in the same envelope.
	for _, field := range []string{"UseFor", "orgName", "username", "itemName", "itemCode", "businessCode"} {
		var m map[string]any
		if err := json.Unmarshal([]byte(byID), &m); err != nil {
			t.Fatal(err)
		}
		delete(m, field)
		if status, a := call(auth.Verifier, "GetCertificateDataByCertificateID", mustJSON(t, m)); status != 400 || a.Code != "missing_field" || a.Field != field {
			t.Errorf("%s: %d %+v", field, status, a)
		}
	}
	if status, a := call(auth.Verifier, "GetCertificateDataByCertificateID", "{"+use+`,"CertificateID":"`+identifier+`"}`); status != 400 || a.Code != "bad_licence_identifier" {
		t.Errorf("%d %+v", status, a)
	}
	if status, a := call(auth.SystemAdmin, "GetCertificateDataByHolder", byHolder); status != 403 || a.Code != "forbidden" {
		t.Errorf("%d %+v", status, a)
	}
	if status, a := call(auth.Verifier, "GetCertificateDataByCertificateID", "{"+use+`,"x":1}`); status != 400 || a.Code != "unknown_field" {
		t.Errorf("%d %+v", status, a)
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func (n *fakeNode) set(f func(*fakeNode)) { n.mu.Lock(); defer n.mu.Unlock(); f(n) }

// put has a record stand as it is.
func (n *fakeNode) put(v model.View) {
	n.set(func(n *fakeNode) {
		if n.views[v.Kind] == nil {
			n.views[v.Kind] = map[model.RecordID]model.View{}
		}
		n.views[v.Kind][v.ID] = v
	})
}
