package bench

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// licenceType is the type that both sides issue.
const licenceType = model.TypeCode("11100000MB0143028R001")

// sample is the n-th licence of an agency as its caller would know it: about a kilobyte once it is completed. prefix
// keeps two agencies' numbers apart.
func sample(prefix string, n int) model.Licence {
	uscc, err := model.InventUSCC("91110105X", n%10_000_000)
	if err != nil {
		panic("the prefix is well formed: " + err.Error())
	}
	return model.Licence{
		Type: licenceType, Number: fmt.Sprintf("%s%010d", prefix, n), HolderKind: model.HolderEnterprise, HolderCode: uscc,
		HolderName: fmt.Sprintf("北京样例科技发展有限公司第%d分公司", n), IssuedOn: "2026-01-05", ValidFrom: "2026-01-05", ValidUntil: "2046-01-04",
		Face: map[string]any{
			"entity_type": "有限责任公司（自然人投资或控股）", "address": fmt.Sprintf("北京市朝阳区样例街道%d号院1号楼", n%1000),
			"capital": "1000万元人民币", "founded": "2026-01-05",
			"scope": "技术开发、技术推广、技术转让、技术咨询、技术服务；计算机系统服务；软件开发；销售计算机、软件及辅助设备",
		},
	}
}

// draft asks a node to issue a licence. Issuer, region, identifier, record id and signature are the node's to add.
func draft(l model.Licence) json.RawMessage {
	return mustJSON(map[string]any{
		"agency": nodeAgency, "type": model.LicenceIssue,
		"body": map[string]any{"value": map[string]any{
			"type": l.Type, "number": l.Number, "holder_kind": l.HolderKind, "holder_code": l.HolderCode, "holder_name": l.HolderName,
			"issued_on": l.IssuedOn, "valid_from": l.ValidFrom, "valid_until": l.ValidUntil, "face": l.Face,
		}},
	})
}

// act asks a node to suspend or resume a record.
func act(t model.Type, record model.RecordID) json.RawMessage {
	return mustJSON(map[string]any{
		"agency": nodeAgency, "type": t, "record": record,
		"body": map[string]any{"effective": "2026-02-01", "reason": "inspection", "decision": map[string]any{"date": "2026-02-01", "number": "京市监〔2026〕1号"}},
	})
}

func mustJSON(v any) json.RawMessage {
	raw, err := json.Marshal(v)
	if err != nil {
		panic("texts and numbers always encode: " + err.Error())
	}
	return raw
}

// identifierSerial is a serial as it stands in a licence's identifier: docs/spec/licence.md.
func identifierSerial(n uint64) string { return fmt.Sprintf("%07s", strconv.FormatUint(n, 10)) }
