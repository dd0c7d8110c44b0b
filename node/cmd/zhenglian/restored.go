package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/zhenglian/zhenglian/node/internal/app"
)

// proven says what holding the restored records against the saved node's gave.
func proven(proof string) string {
	switch proof {
	case app.ProofEqual:
		return say("与备份时节点的记录一致", "equal to the records that the saved node had")
	case app.ProofDiffers:
		return say("警告：与备份时节点的记录不一致，以区块为准；请查明原因", "WARNING: not the records that the saved node had; what the blocks say counts. Find out why")
	}
	return say("备份中没有可比对的记录摘要：可与停在同一高度的其他节点 zhenglian reindex 的输出比对",
		"the backup has no digest of the saved node's records: compare with what `zhenglian reindex` prints at another node of this height")
}

// restoreFailed is the error of a restore in the language of this process.
func restoreFailed(err error) error {
	var d *app.DiffersError
	if errors.As(err, &d) && language() == "zh" {
		return fmt.Errorf("备份中的区块完整，但由区块重建的记录与备份时节点在 %d 个区块后的记录不一致（摘要 %s，节点当时为 %s）：节点的记录或归档曾被改动。"+
			"请改用更早的备份，或向其他成员索取同一高度 zhenglian reindex 的摘要；确认以区块为准的，加 --accept-difference", d.Blocks, d.Is, d.Was)
	}
	return err
}

// printRights says, in both languages since it must not be missed, whose rights a restore gave back.
func printRights(w io.Writer, r *app.Restored, kept bool) {
	at := beijing(r.Created)
	zh, en := fmt.Sprintf("%d 个 API 密钥已全部终止，须重新签发（zhenglian keys issue）", r.KeysEnded),
		fmt.Sprintf("All %d API keys are ended: issue them anew (zhenglian keys issue)", r.KeysEnded)
	if kept {
		zh, en = "API 密钥保留：备份之后吊销的密钥重新有效，请逐一核对（zhenglian keys list）", "API keys are kept: those revoked since are in force again; look through them (zhenglian keys list)"
	}
	fmt.Fprintf(w, "\n%s；%d 份节点邀请已作废，%d 个进行中的批次已关闭；\n%d 份等待复核或尚未办理的草稿已终止，仍需办理的请经办重新提交，已批准而未领取的密钥须重新申请。\n人员、角色、本地策略和 webhook 密钥是 %s（北京时间）的：此后停用、收回的重新有效，请逐一核对并重做。\n", zh, r.Invitations, r.Batches, r.Drafts, at)
	fmt.Fprintf(w, "%s; %d invitations are dropped, %d open batches are closed; %d drafts\nthat waited or were not carried out are ended: what is still wanted is sent again, a key that was granted and not drawn asked for again.\nPeople, roles, the node's own policies and webhook secrets are those of %s (Beijing): what was disabled or taken away\n"+
		"since is in force again. Check them and make the changes since again.\nthen:  zhenglian restore --confirm --dir %s\n", en, r.Invitations, r.Batches, r.Drafts, at, r.Dir)
}

// confirmRestored says that people, roles, policies and keys of a restored node were looked through.
func confirmRestored(dir string) error {
	cfg, err := app.LoadConfig(dir)
	if err != nil {
		return err
	}
	return app.ConfirmRestored(cfg)
}
