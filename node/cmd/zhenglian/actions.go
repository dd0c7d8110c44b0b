package main

import (
	"strings"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/accesslog"
	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
)

// ownActions are those of the access log that stand in no matrix.
var ownActions = map[string]string{
	accesslog.ActionSignInFailed: "登录失败次数", accesslog.ActionRateLimited: "请求过于频繁次数", accesslog.ActionCut: "日志尾部残缺已截去",
	app.ActionRecovered: "重启后续办的操作", app.ActionRestored: "由备份恢复节点", app.ActionErase: "清除证照的保密内容",
	httpapi.ActionDrawKey: "领取接口密钥",
}

// actionNames is one or several actions, joined by commas, in Chinese words as in docs/roles.zh-CN.md.
func actionNames(actions string) string {
	if actions == auth.ChangeUser { // alone it is the change itself; with others it is the right to approve one, of the same word
		return auth.ChangeNames[actions][0]
	}
	names := strings.Split(actions, ",")
	for i, name := range names {
		if own, ok := ownActions[name]; ok {
			names[i] = own
		} else if change, ok := auth.ChangeNames[name]; ok {
			names[i] = change[0]
		}
		for _, a := range auth.Actions {
			if a.Name == name { // people.change is a right as well, and that word covers both
				names[i] = a.Zh
			}
		}
	}
	return strings.Join(names, "、")
}

// typeName is the name of an operation, or of a change of people and keys.
func (o *client) typeName(t model.Type) string {
	if r, ok := model.Types[t]; ok {
		return o.say(r.Zh, r.En)
	}
	if change, ok := auth.ChangeNames[string(t)]; ok {
		return o.say(change[0], change[1])
	}
	return string(t)
}
