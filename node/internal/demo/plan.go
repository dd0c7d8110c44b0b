// Package demo runs four organisations on one machine, each node and the ledger in a process of its own,
// and tells a story with them over the same API that everyone uses.
package demo

import (
	"fmt"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

// The demo's licence types.
const (
	BusinessLicence   model.TypeCode = "11100000MB0143028R001" // 营业执照, for enterprises
	OperatorPermit    model.TypeCode = "11100000MB0143028R002" // 特种设备作业人员证, for persons
	definingAuthority model.USCC     = "11100000MB0143028R"
)

// Types are the licence types of a new ledger: one for enterprises and one for persons, issued in each
// jurisdiction by the agency given.
func Types(issuers map[model.AgencyID]model.Region) []model.LicenceType {
	return []model.LicenceType{
		{
			Authority: definingAuthority, Code: BusinessLicence, NameZh: "营业执照", NameEn: "Business licence",
			HolderKinds: []model.HolderKind{model.HolderEnterprise}, Issuers: issuers,
			Face: map[string]model.FaceField{
				"entity_type":    {Type: "string", Title: "类型", MaxLength: 60, Visibility: model.Public},
				"address":        {Type: "string", Title: "住所", MaxLength: 200, Visibility: model.Public},
				"capital":        {Type: "string", Title: "注册资本", MaxLength: 60, Visibility: model.Public},
				"founded":        {Type: "string", Title: "成立日期", Format: "date", Visibility: model.Public},
				"scope":          {Type: "string", Title: "经营范围", MaxLength: 2000, Visibility: model.Public},
				"representative": {Type: "string", Title: "法定代表人", MaxLength: 100, Visibility: model.Confidential},
			},
		},
		{
			Authority: definingAuthority, Code: OperatorPermit, NameZh: "特种设备作业人员证", NameEn: "Special equipment operator permit",
			HolderKinds: []model.HolderKind{model.HolderPerson, model.HolderPassport, model.HolderHongKong, model.HolderTaiwan}, Issuers: issuers,
			Face: map[string]model.FaceField{
				"work_item": {Type: "string", Title: "作业项目", MaxLength: 60, Required: true, Visibility: model.Public},
				"grade":     {Type: "string", Title: "级别", Enum: []string{"一级", "二级", "三级"}, Visibility: model.Public},
			},
		},
	}
}

// Plan is the sample consortium's: organisations, agencies and licence types; where it runs is for the caller to
// add.
func Plan(lang string, now time.Time) app.Plan { return plan(0, "", "", lang, now) }

// plan is the demo's: APIs listen at base…base+3, admin listeners 1000 above.
func plan(base int, ledger, ledgerAdmin, lang string, now time.Time) app.Plan {
	issuers := map[model.AgencyID]model.Region{"bj-scjg": "110000", "tj-scjg": "120000", "he-scjg": "130000"}
	issuing := []model.Role{model.RoleIssuer, model.RoleVerifier}
	serial := 0
	agency := func(id model.AgencyID, parent model.AgencyID, zh, en string, region model.Region, alg envelope.Alg, roles ...model.Role) app.AgencyPlan {
		serial++
		uscc, err := model.InventUSCC("11"+string(region)+"X", 1000+serial)
		if err != nil {
			panic("the plan's codes are well formed: " + err.Error())
		}
		return app.AgencyPlan{Agency: model.Agency{ID: id, Parent: parent, NameZh: zh, NameEn: en, Region: region, Roles: roles, USCC: uscc}, Alg: alg}
	}
	node := func(i int, id model.NodeID, msp model.MSPID, zh, en string, home model.AgencyID, agencies ...app.AgencyPlan) app.NodePlan {
		return app.NodePlan{
			ID: id, Msp: msp, NameZh: zh, NameEn: en, Home: home, Lang: lang, Agencies: agencies,
			RatePerSecond: 50_000, // who tries it out or measures may ask as fast as it answers
			Listen:        fmt.Sprintf("127.0.0.1:%d", base+i), Admin: fmt.Sprintf("127.0.0.1:%d", base+1000+i),
		}
	}
	return app.Plan{
		Channel: "jjj", Chaincode: "zhenglian", Ledger: ledger, LedgerAdmin: ledgerAdmin, Created: now, Types: Types(issuers),
		Nodes: []app.NodePlan{
			node(0, "beijing", "BeijingMSP", "北京市", "Beijing", "bj-scjg",
				agency("bj-scjg", "", "北京市市场监督管理局", "Beijing Administration for Market Regulation", "110000", envelope.ES256, issuing...),
				agency("bj-scjg-dc", "bj-scjg", "北京市东城区市场监督管理局", "Dongcheng District AMR", "110101", envelope.ES256, issuing...),
				agency("bj-scjg-xc", "bj-scjg", "北京市西城区市场监督管理局", "Xicheng District AMR", "110102", envelope.ES256, issuing...),
				agency("bj-scjg-cy", "bj-scjg", "北京市朝阳区市场监督管理局", "Chaoyang District AMR", "110105", envelope.ES256, issuing...),
				agency("bj-scjg-hd", "bj-scjg", "北京市海淀区市场监督管理局", "Haidian District AMR", "110108", envelope.SM2, issuing...)),
			node(1, "tianjin", "TianjinMSP", "天津市", "Tianjin", "tj-scjg",
				agency("tj-scjg", "", "天津市市场监督管理委员会", "Tianjin Commission for Market Regulation", "120000", envelope.SM2, issuing...),
				agency("tj-scjg-hp", "tj-scjg", "天津市和平区市场监督管理局", "Heping District AMR", "120101", envelope.SM2, issuing...),
				agency("tj-scjg-bh", "tj-scjg", "天津市滨海新区市场监督管理局", "Binhai New Area AMR", "120116", envelope.ES256, issuing...)),
			node(2, "hebei", "HebeiMSP", "河北省", "Hebei", "he-scjg",
				agency("he-scjg", "", "河北省市场监督管理局", "Hebei Administration for Market Regulation", "130000", envelope.ES256K, issuing...),
				agency("he-scjg-sjz", "he-scjg", "石家庄市市场监督管理局", "Shijiazhuang AMR", "130100", envelope.ES256, issuing...),
				agency("he-scjg-lf", "he-scjg", "廊坊市市场监督管理局", "Langfang AMR", "131000", envelope.ES256, issuing...)),
			node(3, "customs", "CustomsMSP", "海关", "Customs", "bj-customs",
				agency("bj-customs", "", "北京海关", "Beijing Customs", "110000", "", model.RoleVerifier, model.RoleCustoms)),
		},
	}
}

// districts are the agencies that issue business licences under delegation, with their delegators.
var districts = map[model.NodeID][]struct{ from, to model.AgencyID }{
	"beijing": {{"bj-scjg", "bj-scjg-dc"}, {"bj-scjg", "bj-scjg-xc"}, {"bj-scjg", "bj-scjg-cy"}, {"bj-scjg", "bj-scjg-hd"}},
	"tianjin": {{"tj-scjg", "tj-scjg-hp"}, {"tj-scjg", "tj-scjg-bh"}},
	"hebei":   {{"he-scjg", "he-scjg-sjz"}, {"he-scjg", "he-scjg-lf"}},
}
