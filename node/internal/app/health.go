package app

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/ledger/embedded"
	"github.com/zhenglian/zhenglian/sdk"
)

// health tells how the node's parts are, without blocking.
type health struct{ n *Node }

// quietFor is how long the ledger may stay unconfirmed before the node calls itself degraded; verdicts go
// stale only after ten minutes.
const quietFor = 15 * time.Second

// gateways tells each gateway's state and height. One that rests is its own and the ledger's trouble, of which
// the follower and the writes tell; one that gave what does not check is for the operator.
func (h health) gateways() sdk.Component {
	c := sdk.Component{Name: "gateways", Status: sdk.OK}
	var lines []string
	for _, s := range h.n.client.States() {
		lines = append(lines, s.String())
		switch s.Word {
		case "refused":
			c.Status, c.Code = sdk.Degraded, model.CodeLedgerUnavailable
		case "doubted":
			c.Status = sdk.Degraded
		}
	}
	c.Detail = strings.Join(lines, "; ")
	return c
}

// Components lists follower, writing, the gateways, where it runs here the embedded ledger, and the outbox
// where it set operations aside, what is odd about approvals, and an import that is open.
func (h health) Components() []sdk.Component {
	n := h.n
	follower := sdk.Component{Name: "follower", Status: sdk.OK}
	switch found, trouble := n.follower.Finding(), n.follower.Trouble(); {
	case found != nil:
		follower.Status, follower.Code, follower.Detail = sdk.Failed, model.CodeFollowerStopped, string(found.Code)+": "+found.En
	case n.records.Position() == 0 && n.cfg.ImportFrom != "":
		follower.Status, follower.Code = sdk.Failed, model.CodeImportOpen
		follower.Detail = "nothing of the old ledger is here yet: one organisation runs `zhenglian migrate import`"
		if trouble != nil {
			follower.Detail += "; " + trouble.Error()
		}
	case n.records.Position() == 0:
		follower.Status, follower.Detail = sdk.Failed, "the ledger's first records are not here yet"
		if trouble != nil {
			follower.Code, follower.Detail = model.CodeLedgerUnavailable, follower.Detail+": "+trouble.Error()
		}
	case n.follower.Age() > quietFor:
		follower.Status, follower.Code = sdk.Degraded, model.CodeLedgerUnavailable
		if trouble != nil {
			follower.Detail = trouble.Error()
		}
	}
	writes := sdk.Component{Name: "writes", Status: sdk.OK}
	if reason, code := n.submit.Degraded(); reason != "" {
		writes.Status, writes.Code, writes.Detail = sdk.Degraded, code, string(reason)
		if err := n.submit.Trouble(); err != nil {
			writes.Detail += ": " + brief(err.Error())
		}
		if reason == "recovering" && n.records.Position() > 0 && time.Since(n.started) < quietFor {
			writes.Status = sdk.Failed // not ready yet, for a moment
		}
	}
	if n.outbox.Full() { // whatever else holds writes up: now none is accepted
		writes.Status, writes.Code, writes.Detail = sdk.Degraded, model.CodeStorageFull, "the disk under the node's folder is nearly full: nothing is accepted"
	}
	out := []sdk.Component{follower, writes, h.gateways(), n.access.component(), n.searchComponent()}
	out = append(out, h.issuers()...)
	if n.restored.Load() {
		out = append(out, sdk.Component{
			Name: "restore", Status: sdk.Degraded, Code: model.CodeLedgerUnavailable,
			Detail: "restored from a backup: nothing is accepted until the node has once had all that the ledger has",
		})
	}
	if n.importing() {
		out = append(out, sdk.Component{
			Name: "import", Status: sdk.Degraded, Code: model.CodeImportOpen,
			Detail: fmt.Sprintf("%d operations of the old ledger are here; until k organisations have closed the import nothing is accepted and nothing is said to be valid", n.records.Position()),
		})
	}
	if c := n.approval(); c != nil {
		out = append(out, *c)
	}
	if n := n.outbox.Quarantined(); n > 0 {
		out = append(out, sdk.Component{
			Name: "outbox", Status: sdk.Degraded, Code: model.CodeInternal,
			Detail: fmt.Sprintf("%d accepted operations cannot be read by this build and are set aside; the log of the start names them", n),
		})
	}
	if n.embedded != nil {
		ledger := sdk.Component{Name: "ledger", Status: sdk.OK}
		if err := n.embedded.Err(); err != nil {
			ledger.Status, ledger.Code, ledger.Detail = sdk.Degraded, model.CodeStorageFull, err.Error()
			if errors.Is(err, embedded.ErrFrozen) {
				ledger.Code = model.CodeLedgerUnavailable
			}
		}
		out = append(out, ledger)
	}
	return append(append(out, n.push.components()...), append(n.webhookHealth(), n.telemetryHealth()...)...)
}

// brief keeps the beginning of a text: of an error that lists what each of many peers said, that is the gist.
func brief(s string) string {
	const most = 400 // bytes
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
