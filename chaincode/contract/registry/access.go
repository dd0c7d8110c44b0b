package registry

import "github.com/zhenglian/zhenglian/chaincode/model"

// anchor puts the head of a node's access log on the ledger. Only the node itself may, for an agency that it acts
// for: an anchor of more entries than the log has, which an agency's own certificate could make otherwise, would stand in the
// way of all that follow. No day that is yet to come can be anchored, and no anchor takes back an earlier one.
func anchor(l Ledger, op *model.Operation, b *model.AnchorBody, by Caller) (model.Effect, error) {
	v := &b.Value
	if op.Record != v.ID() {
		return model.Effect{}, model.E(model.CodeBadID, "record")
	}
	a, err := Agency(l, op.Agency)
	if err != nil {
		return model.Effect{}, err
	}
	if v.Node != a.Node || v.Msp != by.Msp || by.CommonName != string(v.Node) {
		return model.Effect{}, model.E(model.CodeNotActingFor, "value.node")
	}
	if v.Until > op.Time.Date() {
		return model.Effect{}, model.E(model.CodeBadDate, "value.until")
	}
	_, before, err := l.Entry(op.Kind, op.Record)
	if err != nil {
		return model.Effect{}, err
	}
	if before, ok := before.(*model.AccessLog); ok {
		if err := v.Follows(before); err != nil {
			return model.Effect{}, err
		}
	}
	return writeValue(l, op, b, v)
}
