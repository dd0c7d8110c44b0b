package httpapi

// Limits of a request's body. A larger one is answered 413 before it is read.
const (
	limitOperations = 8 << 20
	limitQueries    = 2 << 20
	limitImport     = 257 << 20 // the file itself: 256 MB
	limitBatch      = 8 << 20
	limitSmall      = 256 << 10
)

// route is one row of the API: what it is called, who may use it, how much it reads.
type route struct {
	method, path string
	id           string // operationId
	summary, zh  string
	tag          string
	open         bool   // without sign-in
	unlimited    bool   // an open route that costs no more than to refuse it
	action       string // what the caller must be allowed; "" where the handler decides by the body
	limit        int    // of the body, 0 for none
	hidden       bool   // not part of the documented API
	reads        bool   // a POST that changes nothing, so that its entry in the access log need not be awaited
	logs         string // the action of its entries in the access log, where it says more than the right that it needs
	envelope     bool   // refusals have the envelope of /elssp/v1, not a problem
}

// pattern is the route's pattern on the mux, and its name in metrics.
func (r *route) pattern() string {
	if r.method == "" {
		return r.path
	}
	return r.method + " " + r.path
}

// The table of routes. A route that does not stand here cannot be registered, and what it does not declare
// open needs sign-in.
var routes = []*route{
	routePage, routeHealthz, routeReadyz, routeOpenAPI, routePublicVerify, routeJoin,
	routeSubmit, routeOutcome,
	routeVerify, routeRecord, routeHistory, routeEvents,
	routeIssue, routeLicence, routeLicenceAct,
	routeRegistryList, routeRegistryEntry, routePropose, routeApprove, routeEnact, routeClose,
	routeDelegate, routeEndDelegation, routeHostParty, routeReleaseParty, routeRotateKey, routeEndpoint,
	routeWhoami, routeLogin, routeCallback, routeLogout,
	routeDrafts, routeDraft, routeApproveDraft, routeRejectDraft, routeWithdrawDraft, routeResendDraft,
	routeRegisterBatch, routeBatch,
	routeSearch, routeSearchExport,
	routeElsspDataByID, routeElsspDataByHolder, routeElsspFileByID, routeElsspFileByHolder,
	routeAccess,
	routeImports, routeNewImport, routeImport, routeImportEvents, routeImportRejects, routeCancelImport, routeUndoImport,
	routePeople, routeUser, routeAddUser, routeChangeUser, routeDisableUser, routeEnableUser,
	routeKeys, routeIssueKey, routeRevokeKey, routeDrawKey,
	routeElsewhere,
}

var (
	routePage         = &route{method: "GET", path: "/{$}", id: "page", tag: "open", open: true, hidden: true}
	routeHealthz      = &route{method: "GET", path: "/healthz", id: "healthz", tag: "open", open: true, unlimited: true, summary: "Whether the process lives", zh: "进程是否存活"}
	routeReadyz       = &route{method: "GET", path: "/readyz", id: "readyz", tag: "open", open: true, summary: "Whether the node is ready, in one word", zh: "节点是否就绪"}
	routeOpenAPI      = &route{method: "GET", path: "/openapi.json", id: "openapi", tag: "open", open: true, hidden: true}
	routeJoin         = &route{method: "POST", path: "/join", id: "join", tag: "open", open: true, hidden: true, limit: 16 << 10}
	routePublicVerify = &route{method: "POST", path: "/public/verify", id: "public-verify", tag: "open", open: true, limit: 4 << 10, summary: "Verify one licence by what is printed on it, without sign-in", zh: "公众核验"}

	routeSubmit  = &route{method: "POST", path: "/v1/operations", id: "submit", tag: "operations", limit: limitOperations, summary: "Send one operation or an array of them", zh: "提交操作"}
	routeOutcome = &route{method: "GET", path: "/v1/operations/{id}", id: "outcome", tag: "operations", action: ActionReadOperation, summary: "What became of an operation", zh: "查询操作结果"}

	routeVerify  = &route{method: "POST", path: "/v1/verify", id: "verify", tag: "verify", action: ActionVerify, limit: limitQueries, reads: true, summary: "Verdicts on one licence or an array of them", zh: "核验"}
	routeRecord  = &route{method: "GET", path: "/v1/records/{kind}/{id}", id: "record", tag: "records", action: ActionReadRecord, summary: "A record as it stands", zh: "查询记录"}
	routeHistory = &route{method: "GET", path: "/v1/records/{kind}/{id}/history", id: "history", tag: "records", action: ActionReadRecord, summary: "A record's versions: who did what", zh: "查询历史"}
	routeEvents  = &route{method: "GET", path: "/v1/events", id: "events", tag: "records", action: ActionReadEvents, summary: "All operations as server-sent events", zh: "事件流"}

	routeIssue      = &route{method: "POST", path: "/v1/licences", id: "issue", tag: "licences", action: "licence.issue", limit: limitSmall, summary: "Issue a licence", zh: "签发证照"}
	routeLicence    = &route{method: "GET", path: "/v1/licences/{id}", id: "licence", tag: "licences", action: ActionReadRecord, summary: "A licence as it stands", zh: "查询证照"}
	routeLicenceAct = &route{method: "POST", path: "/v1/licences/{id}/{act}", id: "licence-act", tag: "licences", limit: limitSmall, summary: "Amend, suspend, resume, end … a licence", zh: "证照变更与终止"}

	routeRegistryList  = &route{method: "GET", path: "/v1/registry/{kind}", id: "registry-list", tag: "registry", action: ActionReadRegistry, summary: "Entries of the registry", zh: "登记簿列表"}
	routeRegistryEntry = &route{method: "GET", path: "/v1/registry/{kind}/{id}", id: "registry-entry", tag: "registry", action: ActionReadRegistry, summary: "An entry of the registry", zh: "登记簿条目"}
	routePropose       = &route{method: "POST", path: "/v1/registry/proposals", id: "propose", tag: "registry", action: "registry.propose", limit: limitSmall, summary: "Propose a change of the registry", zh: "提出登记事项"}
	routeApprove       = &route{method: "POST", path: "/v1/registry/proposals/{id}/approve", id: "approve", tag: "registry", action: "registry.approve", limit: limitSmall, summary: "Approve a proposal", zh: "同意提案"}
	routeEnact         = &route{method: "POST", path: "/v1/registry/proposals/{id}/enact", id: "enact", tag: "registry", action: "registry.admit", limit: limitSmall, summary: "Carry out an approved proposal", zh: "执行提案"}
	routeClose         = &route{method: "POST", path: "/v1/registry/proposals/{id}/close", id: "close", tag: "registry", action: "registry.close", limit: limitSmall, summary: "Withdraw a proposal", zh: "撤回提案"}
	routeDelegate      = &route{method: "POST", path: "/v1/registry/delegations", id: "delegate", tag: "registry", action: "registry.delegate", limit: limitSmall, summary: "Delegate issuing", zh: "委托发证"}
	routeEndDelegation = &route{method: "POST", path: "/v1/registry/delegations/{id}/end", id: "end-delegation", tag: "registry", action: "registry.end-delegation", limit: limitSmall, summary: "End a delegation", zh: "终止委托"}
	routeHostParty     = &route{method: "POST", path: "/v1/registry/parties", id: "host-party", tag: "registry", action: "registry.host-party", limit: limitSmall, summary: "Register a hosted party", zh: "登记托管主体"}
	routeReleaseParty  = &route{method: "POST", path: "/v1/registry/parties/{id}/release", id: "release-party", tag: "registry", action: "registry.release-party", limit: limitSmall, summary: "Release a hosted party", zh: "解除托管"}
	routeRotateKey     = &route{method: "POST", path: "/v1/registry/agencies/{id}/keys", id: "rotate-key", tag: "registry", action: "registry.rotate-key", limit: limitSmall, summary: "Change an agency's signing key", zh: "更换签章密钥"}
	routeEndpoint      = &route{method: "PUT", path: "/v1/registry/agencies/{id}/endpoint", id: "set-endpoint", tag: "registry", action: "registry.set-endpoint", limit: limitSmall, summary: "Change an agency's endpoint", zh: "变更接入地址"}

	routeWhoami        = &route{method: "GET", path: "/v1/whoami", id: "whoami", tag: "people", action: ActionReadSelf, summary: "Who is signed in, and what he may do", zh: "查看本人信息"}
	routeDrafts        = &route{method: "GET", path: "/v1/drafts", id: "drafts", tag: "inbox", action: ActionReadDraft, summary: "What waits for another person's approval", zh: "待复核事项"}
	routeDraft         = &route{method: "GET", path: "/v1/drafts/{id}", id: "draft", tag: "inbox", action: ActionReadDraft, summary: "A draft and what it asks for", zh: "查看待复核事项"}
	routeApproveDraft  = &route{method: "POST", path: "/v1/drafts/{id}/approve", id: "approve-draft", tag: "inbox", action: ActionReadDraft, limit: limitSmall, summary: "Approve a draft", zh: "同意"}
	routeRejectDraft   = &route{method: "POST", path: "/v1/drafts/{id}/reject", id: "reject-draft", tag: "inbox", action: ActionReadDraft, limit: limitSmall, summary: "Reject a draft", zh: "驳回"}
	routeWithdrawDraft = &route{method: "POST", path: "/v1/drafts/{id}/withdraw", id: "withdraw-draft", tag: "inbox", action: ActionReadDraft, limit: limitSmall, summary: "Take one's own draft back", zh: "撤回"}
	routeResendDraft   = &route{method: "POST", path: "/v1/drafts/{id}/resend", id: "resend-draft", tag: "inbox", action: ActionReadDraft, limit: limitSmall, summary: "Send the content of one's own draft once more", zh: "重新提交"}
	routeRegisterBatch = &route{method: "POST", path: "/v1/batches", id: "register-batch", tag: "inbox", limit: limitBatch, summary: "Register what will be sent in many requests", zh: "登记批次"}
	routeBatch         = &route{method: "GET", path: "/v1/batches/{id}", id: "batch", tag: "inbox", action: ActionReadDraft, summary: "How a batch stands", zh: "查看批次"}
	routeAccess        = &route{method: "GET", path: "/v1/access", id: "access", tag: "access", action: ActionReadAccess, summary: "Entries of this node's access log: who looked at what", zh: "访问日志"}

	routePeople      = &route{method: "GET", path: "/v1/people", id: "people", tag: "people", action: ActionReadPeople, summary: "Who may sign in at this node", zh: "人员列表"}
	routeUser        = &route{method: "GET", path: "/v1/people/{id}", id: "user", tag: "people", action: ActionReadPeople, summary: "A user, with what signs him in", zh: "查看用户"}
	routeAddUser     = &route{method: "POST", path: "/v1/people", id: "add-user", tag: "people", action: ActionChangePeople, logs: string(AddUser), limit: limitSmall, summary: "Add a user", zh: "新增用户"}
	routeChangeUser  = &route{method: "PUT", path: "/v1/people/{id}", id: "change-user", tag: "people", action: ActionChangePeople, logs: string(ChangeUser), limit: limitSmall, summary: "Change a user", zh: "变更用户"}
	routeDisableUser = &route{method: "POST", path: "/v1/people/{id}/disable", id: "disable-user", tag: "people", action: ActionChangePeople, logs: string(DisableUser), limit: limitSmall, summary: "End a user's rights", zh: "停用用户"}
	routeEnableUser  = &route{method: "POST", path: "/v1/people/{id}/enable", id: "enable-user", tag: "people", action: ActionChangePeople, logs: string(EnableUser), limit: limitSmall, summary: "Give a disabled user the rights back", zh: "恢复用户"}
	routeKeys        = &route{method: "GET", path: "/v1/keys", id: "api-keys", tag: "people", action: ActionReadPeople, summary: "API keys, never the keys themselves", zh: "接口密钥列表"}
	routeIssueKey    = &route{method: "POST", path: "/v1/keys", id: "issue-api-key", tag: "people", action: ActionChangePeople, logs: string(IssueKey), limit: limitSmall, summary: "Ask for an API key", zh: "申请接口密钥"}
	routeRevokeKey   = &route{method: "POST", path: "/v1/keys/{id}/revoke", id: "revoke-api-key", tag: "people", action: ActionChangePeople, logs: string(RevokeKey), limit: limitSmall, summary: "End an API key, for good", zh: "吊销接口密钥"}
	routeDrawKey     = &route{method: "POST", path: "/v1/drafts/{id}/key", id: "draw-api-key", tag: "people", action: ActionChangePeople, logs: ActionDrawKey, limit: limitSmall, summary: "Draw one's half of the key that an approved draft grants, and see it once", zh: "领取接口密钥的一半"}

	// A browser's way in and out. Programs bring a key, a token or a certificate.
	routeLogin    = &route{method: "GET", path: "/auth/login", id: "login", tag: "people", open: true, summary: "Send a browser to the identity provider", zh: "浏览器登录"}
	routeCallback = &route{method: "GET", path: "/auth/callback", id: "callback", tag: "people", open: true, summary: "Take a browser back from the identity provider", zh: "登录回调"}
	routeLogout   = &route{method: "POST", path: "/auth/logout", id: "logout", tag: "people", action: ActionReadSelf, summary: "End a browser's session", zh: "退出登录"}

	routeImports       = &route{method: "GET", path: "/v1/imports", id: "imports", tag: "imports", action: "licence.issue", summary: "The imports that the node runs or has run", zh: "导入任务列表"}
	routeNewImport     = &route{method: "POST", path: "/v1/imports", id: "new-import", tag: "imports", action: "licence.issue", limit: limitImport, summary: "Upload a table and have the node issue its licences", zh: "上传表格并导入"}
	routeImport        = &route{method: "GET", path: "/v1/imports/{id}", id: "import", tag: "imports", action: "licence.issue", summary: "How an import stands", zh: "查询导入任务"}
	routeImportEvents  = &route{method: "GET", path: "/v1/imports/{id}/events", id: "import-events", tag: "imports", action: "licence.issue", summary: "How an import goes on, as server-sent events", zh: "导入进度事件流"}
	routeImportRejects = &route{method: "GET", path: "/v1/imports/{id}/rejects", id: "import-rejects", tag: "imports", action: "licence.issue", summary: "The rejected rows of an import, in the format of its file", zh: "下载被拒的行"}
	routeCancelImport  = &route{method: "POST", path: "/v1/imports/{id}/cancel", id: "cancel-import", tag: "imports", action: "licence.issue", limit: limitSmall, summary: "Stop an import", zh: "取消导入"}
	routeUndoImport    = &route{method: "POST", path: "/v1/imports/{id}/undo", id: "undo-import", tag: "imports", action: "licence.rescind", limit: limitSmall, summary: "Rescind what an import has issued", zh: "撤销导入签发的证照"}

	// Whatever else is asked for: who is not signed in does not even hear that there is nothing.
	routeElsewhere = &route{path: "/", id: "elsewhere", tag: "open", hidden: true}
)

// Route is a row of the table of routes, for documents and tests.
type Route struct {
	Method, Path, Action string
	Open                 bool
}

// Routes lists the routes by method and path; the one for everything else is not among them.
func Routes() []Route {
	var out []Route
	for _, r := range routes {
		if r != routeElsewhere {
			out = append(out, Route{r.method, r.path, r.action, r.open})
		}
	}
	return out
}
