package httpapi

import (
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Who approves a change of a key or an endpoint reads what goes and what comes.
func TestChanged(t *testing.T) {
	const agency = `{"id":"bj-scjg","endpoint":"https://old.example","keys":[{"alg":"SM2","id":"k1","retired":true},{"alg":"ES256","id":"k2"}]}`
	for _, tt := range []struct {
		typ          model.Type
		body, public string
		zh, en       string
	}{
		{model.RotateKey, `{"alg":"SM2"}`, agency, "，现用密钥 k2 (ES256)；新密钥 SM2 在同意后由节点生成", ", key in use k2 (ES256); the node draws the new one, SM2, once this is approved"},
		{model.RotateKey, `{"new":{"alg":"SM2","id":"k3"}}`, agency, "，现用密钥 k2 (ES256)，改为 k3 (SM2)", ", key in use k2 (ES256), new key k3 (SM2)"},
		{model.SetEndpoint, `{"endpoint":"https://new.example"}`, agency, `，由 "https://old.example" 改为 "https://new.example"`, `, from "https://old.example" to "https://new.example"`},
		{model.RotateKey, `{"alg":"SM2"}`, "", "", ""},
		{model.LicenceCancel, `{}`, agency, "", ""},
	} {
		if zh, en := changed(&model.Draft{Type: tt.typ, Body: []byte(tt.body)}, []byte(tt.public)); zh != tt.zh || en != tt.en {
			t.Errorf("%s %s: %q %q", tt.typ, tt.body, zh, en)
		}
	}
}
