package main

import (
	"fmt"
	"io"

	"github.com/zhenglian/zhenglian/node/internal/app"
)

// printRights says, in both languages since it must not be missed, whose rights a restore gave back.
func printRights(w io.Writer, r *app.Restored, kept bool) {
	at := beijing(r.Created)
	zh, en := fmt.Sprintf("%d 个 API 密钥已全部终止，须重新签发（zhenglian keys issue）", r.KeysEnded),
		fmt.Sprintf("All %d API keys are ended: issue them anew (zhenglian keys issue)", r.KeysEnded)
	if kept {
		zh, en = "API 密钥保留：备份之后吊销的密钥重新有效，请逐一核对（zhenglian keys list）", "API keys are kept: those revoked since are in force again; look through them (zhenglian keys list)"
	}
	fmt.Fprintf(w, "\n%s；%d 份节点邀请已作废。\n人员、角色、本地策略和 webhook 密钥是 %s（北京时间）的：此后停用、收回的重新有效，请逐一核对并重做。\n", zh, r.Invitations, at)
	fmt.Fprintf(w, "%s; %d invitations are dropped.\nPeople, roles, the node's own policies and webhook secrets are those of %s (Beijing): what was disabled or taken away\n"+
		"since is in force again. Check them and make the changes since again.\nthen:  zhenglian restore --confirm --dir %s\n", en, r.Invitations, at, r.Dir)
}

// confirmRestored says that people, roles, policies and keys of a restored node were looked through.
func confirmRestored(dir string) error {
	cfg, err := app.LoadConfig(dir)
	if err != nil {
		return err
	}
	return app.ConfirmRestored(cfg)
}
