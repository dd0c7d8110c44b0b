package model

// Every code, its class and its sentences. Codes are never renamed and never reused.
const (
	CodeInvalidJSON         Code = "invalid_json"
	CodeDuplicateKey        Code = "duplicate_key"
	CodeNotCanonical        Code = "not_canonical"
	CodeUnknownField        Code = "unknown_field"
	CodeMissingField        Code = "missing_field"
	CodeWrongType           Code = "wrong_type"
	CodeTooLarge            Code = "too_large"
	CodeTooMany             Code = "too_many"
	CodeTooDeep             Code = "too_deep"
	CodeTooLong             Code = "too_long"
	CodeBadUTF8             Code = "bad_utf8"
	CodeControlCharacter    Code = "control_character"
	CodeNumberNotInteger    Code = "number_not_integer"
	CodeBadUSCC             Code = "bad_uscc"
	CodeBadOrgCode          Code = "bad_organisation_code"
	CodeBadHolderCode       Code = "bad_holder_code"
	CodeBadCitizenID        Code = "bad_citizen_id"
	CodeBadIdentifier       Code = "bad_licence_identifier"
	CodeBadRegion           Code = "bad_region"
	CodeBadDate             Code = "bad_date"
	CodeBadTime             Code = "bad_time"
	CodeBadID               Code = "bad_id"
	CodeBadValue            Code = "bad_value"
	CodePersonalIdentifier  Code = "personal_identifier"
	CodeUndeclaredField     Code = "undeclared_field"
	CodeConfidentialField   Code = "confidential_field"
	CodeFileDigestUnsafe    Code = "file_digest_unsafe"
	CodeUnknownOperation    Code = "unknown_operation"
	CodeUnauthenticated     Code = "unauthenticated"
	CodeForbidden           Code = "forbidden"
	CodeCrossOrigin         Code = "cross_origin"
	CodeRolesIncompatible   Code = "roles_incompatible"
	CodeSubjectTaken        Code = "subject_taken"
	CodeIssuerUnreachable   Code = "issuer_unreachable"
	CodeNotFound            Code = "not_found"
	CodeAgencyUnknown       Code = "agency_unknown"
	CodeAgencyNotActive     Code = "agency_not_active"
	CodeNotActingFor        Code = "not_acting_for"
	CodeNotIssuer           Code = "not_issuer"
	CodeTypeUnknown         Code = "licence_type_unknown"
	CodeTypeNotPermitted    Code = "licence_type_not_permitted"
	CodeRegionNotPermitted  Code = "region_not_permitted"
	CodeHolderNotPermitted  Code = "holder_kind_not_permitted"
	CodeDelegationUnknown   Code = "delegation_unknown"
	CodeDelegationNotValid  Code = "delegation_not_in_force"
	CodeNotOwner            Code = "not_owner"
	CodeVersionConflict     Code = "version_conflict"
	CodeTransition          Code = "transition_not_allowed"
	CodeValueMismatch       Code = "value_mismatch"
	CodeIdentifierVersion   Code = "identifier_version"
	CodeKeyUnknown          Code = "key_unknown"
	CodeSignatureInvalid    Code = "signature_invalid"
	CodeTimeSkew            Code = "time_skew"
	CodeTimeMismatch        Code = "time_mismatch"
	CodeProposalUnknown     Code = "proposal_unknown"
	CodeApprovalsMissing    Code = "approvals_missing"
	CodeRegistryChanged     Code = "registry_changed"
	CodeAlreadyApproved     Code = "already_approved"
	CodeContentMismatch     Code = "content_mismatch"
	CodeGenesisMismatch     Code = "genesis_mismatch"
	CodeNotInitialised      Code = "not_initialised"
	CodeInitialised         Code = "already_initialised"
	CodeLevelUnsupported    Code = "level_unsupported"
	CodeImportOpen          Code = "import_open"
	CodeImportClosed        Code = "import_closed"
	CodeImportOrder         Code = "import_order"
	CodeImportSource        Code = "import_source"
	CodeImportInvalid       Code = "import_invalid"
	CodeImportDiffers       Code = "import_differs"
	CodeImportMismatch      Code = "import_mismatch"
	CodeNumberTaken         Code = "number_taken"
	CodeIdempotencyMismatch Code = "idempotency_mismatch"
	CodeOutboxFull          Code = "outbox_full"
	CodeStorageFull         Code = "storage_full"
	CodeLedgerUnavailable   Code = "ledger_unavailable"
	CodeNodeUnreachable     Code = "node_unreachable"
	CodeOutcomeUnknown      Code = "outcome_unknown"
	CodeRateLimited         Code = "rate_limited"
	CodeShuttingDown        Code = "shutting_down"
	CodeFollowerStopped     Code = "follower_stopped"
	CodeAwaitingApproval    Code = "awaiting_approval"
	CodeNotApproved         Code = "not_approved"
	CodeOwnDraft            Code = "own_draft"
	CodeAlreadyDecided      Code = "already_decided"
	CodeKeyShown            Code = "key_shown"
	CodeAlreadyDrafted      Code = "already_drafted"
	CodeDraftChanged        Code = "draft_changed"
	CodeInboxFull           Code = "inbox_full"
	CodeImportsFull         Code = "imports_full"
	CodeBatchNotOpen        Code = "batch_not_open"
	CodeBatchExhausted      Code = "batch_exhausted"
	CodeSearchRebuilding    Code = "search_rebuilding"
	CodeSearchTooBroad      Code = "search_too_broad"
	CodeInternal            Code = "internal"

	CodeAccessLogUnavailable Code = "access_log_unavailable"
	CodeRowChanged           Code = "row_changed"
	CodeFileNotHeld          Code = "file_not_held"
	CodeFileRefused          Code = "file_refused"
	CodeFileIncomplete       Code = "file_incomplete"
	CodeSourceUnavailable    Code = "source_unavailable"
	CodeTargetUnavailable    Code = "target_unavailable"
)

type text struct {
	kind   ErrorKind
	zh, en string
}

var codes = map[Code]text{
	CodeInvalidJSON:         {Invalid, "请求内容不是有效的 JSON", "the content is not valid JSON"},
	CodeDuplicateKey:        {Invalid, "同一对象内字段名重复", "a key stands twice in one object"},
	CodeNotCanonical:        {Invalid, "操作未按规范编码（RFC 8785）", "the operation is not canonically encoded (RFC 8785)"},
	CodeUnknownField:        {Invalid, "含有未知字段", "a field is not known"},
	CodeMissingField:        {Invalid, "缺少必填字段", "a required field is missing"},
	CodeWrongType:           {Invalid, "字段的数据类型不对", "a field has the wrong type"},
	CodeTooLarge:            {TooLarge, "内容超过允许的大小", "the content is larger than allowed"},
	CodeTooMany:             {TooLarge, "一次提交的数量超过上限", "more items than allowed in one request"},
	CodeTooDeep:             {Invalid, "内容嵌套过深", "the content is nested too deeply"},
	CodeTooLong:             {Invalid, "文字超过允许的长度", "a text is longer than allowed"},
	CodeBadUTF8:             {Invalid, "文字不是有效的 UTF-8 编码", "a text is not valid UTF-8"},
	CodeControlCharacter:    {Invalid, "文字含有控制字符", "a text holds control characters"},
	CodeNumberNotInteger:    {Invalid, "数字必须是绝对值小于 2^53 的整数（金额用字符串）", "a number must be an integer below 2^53 (amounts are strings)"},
	CodeBadUSCC:             {Invalid, "统一社会信用代码有误（长度、字符或校验位）", "the unified social credit code is wrong (length, alphabet or check character)"},
	CodeBadOrgCode:          {Invalid, "组织机构代码有误", "the organisation code is wrong"},
	CodeBadHolderCode:       {Invalid, "证件号码格式有误", "not a number of that kind of identity document"},
	CodeBadCitizenID:        {Invalid, "公民身份号码有误", "the citizen identity number is wrong"},
	CodeBadIdentifier:       {Invalid, "电子证照标识有误（结构或校验位）", "the e-licence identifier is wrong (structure or check character)"},
	CodeBadRegion:           {Invalid, "行政区划代码有误", "the region code is wrong"},
	CodeBadDate:             {Invalid, "日期不存在或格式不是 YYYY-MM-DD", "the date does not exist or is not YYYY-MM-DD"},
	CodeBadTime:             {Invalid, "时间格式有误", "the time is not RFC 3339 UTC with milliseconds"},
	CodeBadID:               {Invalid, "编号格式有误", "the id is not well formed"},
	CodeBadValue:            {Invalid, "字段取值不被允许", "the value is not allowed here"},
	CodePersonalIdentifier:  {Invalid, "公开内容含有公民身份号码，不得上链", "the public content holds a citizen identity number, which never goes on the ledger"},
	CodeUndeclaredField:     {Invalid, "证照类型未声明该照面字段", "the licence type declares no such face field"},
	CodeConfidentialField:   {Invalid, "该字段属保密内容，不得放在公开部分", "the field is confidential and must not stand in the public part"},
	CodeFileDigestUnsafe:    {Invalid, "文件未加盖电子印章，其摘要可被猜测，不得公开上链", "the file carries no seal, so its digest can be guessed and must not be public"},
	CodeUnknownOperation:    {Invalid, "不支持的操作类型", "the operation type is not known at the ledger's contract level"},
	CodeUnauthenticated:     {Unauthenticated, "未登录或密钥无效", "sign-in is missing or not valid"},
	CodeForbidden:           {Denied, "无权执行此操作", "you have no right to do this"},
	CodeCrossOrigin:         {Denied, "请求来自其他网站，未执行", "the request comes from another site and was not carried out"},
	CodeRolesIncompatible:   {Refused, "这些角色不能由同一人兼任（三员分立）", "one person must not hold these roles together: each of the three administrators stands alone"},
	CodeSubjectTaken:        {Conflict, "该登录标识或证书已属于其他用户", "this sign-in or certificate belongs to another user already"},
	CodeIssuerUnreachable:   {Unavailable, "统一身份认证服务暂时连接不上；密钥和证书登录不受影响", "the identity provider cannot be reached; keys and certificates go on working"},
	CodeNotFound:            {NotFound, "没有找到", "not found"},
	CodeAgencyUnknown:       {Refused, "机构未登记", "the agency is not registered"},
	CodeAgencyNotActive:     {Refused, "机构已退出", "the agency is no longer active"},
	CodeNotActingFor:        {Denied, "本节点不代表该机构", "this node does not act for that agency"},
	CodeNotIssuer:           {Refused, "该机构没有发证职责", "the agency has no issuing role"},
	CodeTypeUnknown:         {Refused, "证照类型未登记", "the licence type is not registered"},
	CodeTypeNotPermitted:    {Refused, "该机构无权签发此类证照，也未获委托", "the agency may not issue this licence type and holds no delegation"},
	CodeRegionNotPermitted:  {Refused, "超出该机构的管辖区域", "the region lies outside the agency's jurisdiction"},
	CodeHolderNotPermitted:  {Refused, "此类证照不适用于该类持证主体", "the licence type does not allow this kind of holder"},
	CodeDelegationUnknown:   {Refused, "委托不存在", "the delegation does not exist"},
	CodeDelegationNotValid:  {Refused, "委托不在有效期内或已终止", "the delegation is not in force"},
	CodeNotOwner:            {Refused, "该记录由其他机构负责，本机构无权变更", "another agency owns this record"},
	CodeVersionConflict:     {Conflict, "记录已被其他操作更新，请重新查看后再提交", "the record has moved on; look again and repeat"},
	CodeTransition:          {Refused, "当前状态下不允许该操作", "the record's state does not allow this operation"},
	CodeValueMismatch:       {Refused, "所附的原公开内容与账本记录不一致", "the public value supplied differs from the ledger's"},
	CodeIdentifierVersion:   {Refused, "证照标识的版本号不正确", "the licence identifier's version is not the next one"},
	CodeKeyUnknown:          {Refused, "签章密钥未登记或已停用", "the signing key is not registered or no longer active"},
	CodeSignatureInvalid:    {Refused, "签章验证不通过", "the signature does not verify"},
	CodeTimeSkew:            {Unavailable, "时钟相差超过 5 分钟，请校准时间", "clocks differ by more than 5 minutes; set the time"},
	CodeTimeMismatch:        {Refused, "操作时间与提案时间不一致", "the operation's time differs from the proposal's by more than 60 seconds"},
	CodeProposalUnknown:     {Refused, "提案不存在", "the proposal does not exist"},
	CodeApprovalsMissing:    {Refused, "同意的成员单位数不足", "too few organisations have approved"},
	CodeRegistryChanged:     {Conflict, "登记簿已更新，请重新查看后再同意", "the registry has moved on; look again before approving"},
	CodeAlreadyApproved:     {Refused, "本单位已表示同意", "this organisation has approved already"},
	CodeContentMismatch:     {Refused, "内容与已同意的提案不一致", "the content differs from what was approved"},
	CodeGenesisMismatch:     {Refused, "创世文件摘要与本单位配置不一致", "the genesis document is not the one configured here"},
	CodeNotInitialised:      {Refused, "账本尚未初始化", "the ledger is not initialised"},
	CodeInitialised:         {Refused, "账本已初始化", "the ledger is initialised already"},
	CodeLevelUnsupported:    {Refused, "合约级别不受支持，请升级程序", "the contract level is not supported by this program"},
	CodeImportOpen:          {Unavailable, "账本正在迁入原账本的数据，迁入结束前不办理新操作；已受理的操作随后上链", "the ledger is taking over another's records; accepted operations will follow when that is closed"},
	CodeImportClosed:        {Refused, "没有进行中的迁入，或迁入已经结束", "no import is open here: none was begun, or it has been closed for good"},
	CodeImportOrder:         {Conflict, "不是原账本的下一个区块；请查询迁入进度，从该处继续", "this is not the next block of the old ledger; ask how far the import is and go on from there"},
	CodeImportSource:        {Refused, "原账本的创世区块或创世文件与本单位配置的（import_from）不一致", "the old ledger is not the one that this organisation agreed to take over (import_from), or began with another genesis document"},
	CodeImportInvalid:       {Invalid, "原账本的区块未通过校验（链接、签名或证书）；请从未受损的副本重新迁入", "a block of the old ledger does not check (chain, signature or certificate); take it from an undamaged copy"},
	CodeImportDiffers:       {Refused, "重新执行原账本的交易，结果与当时不同；请核对程序版本", "a transaction of the old ledger has another outcome here than it had there; compare the programs' versions"},
	CodeImportMismatch:      {Refused, "所报的位置或摘要与迁入进度不一致；请与本单位原账本的记录核对", "position or digest differ from the import's; compare it with this organisation's own records of the old ledger"},
	CodeNumberTaken:         {Conflict, "该证照编号或标识已存在", "the licence number or identifier exists already"},
	CodeIdempotencyMismatch: {Conflict, "同一幂等键已用于不同内容", "the idempotency key was used with another content"},
	CodeOutboxFull:          {Unavailable, "待上链队列已满，请稍后再试；本次未写入", "the outbox is full; nothing was written, try again later"},
	CodeStorageFull:         {Unavailable, "磁盘空间不足；本次未写入", "the disk is full; nothing was written"},
	CodeLedgerUnavailable:   {Unavailable, "账本暂不可用；已受理的操作会继续上链", "the ledger cannot be reached; accepted operations will follow when it can"},
	CodeNodeUnreachable:     {Unavailable, "连接不上节点，请检查地址和网络；本次未写入", "the node cannot be reached: check its address and the network; nothing was written"},
	CodeOutcomeUnknown:      {Unknown, "结果尚不明确，可能已写入，请查询该操作", "the outcome is not known yet; perhaps written: ask for the operation"},
	CodeRateLimited:         {Limited, "请求过于频繁", "too many requests"},
	CodeShuttingDown:        {Unavailable, "节点正在停止；本次未写入", "the node is stopping; nothing was written"},
	CodeFollowerStopped:     {Unavailable, "节点发现账本异常，已停止同步；请联系运维", "the node found a fault in the ledger and stopped following; see the finding"},
	CodeAwaitingApproval:    {Refused, "须由另一人复核，已存入待办；同意前不生效", "another person must approve this: it waits in the inbox and is not in force yet"},
	CodeNotApproved:         {Refused, "未获复核同意（已驳回、撤回或过期）；本次未写入", "it was not approved (rejected, withdrawn or expired); nothing was written"},
	CodeOwnDraft:            {Denied, "提交人不能复核本人提交的事项，须由另一人复核", "who drafted it cannot approve it: another person must"},
	CodeAlreadyDrafted:      {Conflict, "同样的事项已在待复核，请等待其结果", "the same waits for another person's approval already; wait for what comes of it"},
	CodeKeyShown:            {Conflict, "该密钥已领取过，只显示一次；遗失请吊销后另行申请", "this key was shown already, which happens once; if it is lost, revoke it and ask for another"},
	CodeAlreadyDecided:      {Conflict, "该事项已办结，请查看结果", "it is decided already; look at what came of it"},
	CodeDraftChanged:        {Conflict, "内容与所核对的不一致，请重新查看后再同意", "the content is not the one that was looked at; look again before approving"},
	CodeImportsFull:         {Unavailable, "节点上的导入任务已达上限，请稍后再试；本次未写入", "the node has as many imports as it takes; nothing was written"},
	CodeInboxFull:           {Unavailable, "待复核事项已达上限；本次未写入", "the inbox is full; nothing was written"},
	CodeBatchNotOpen:        {Refused, "批次不存在、未获同意、已过期，或不属于本人、本机构、本类操作", "the batch is unknown, not approved or expired, or it is of another person, agency or type of operation"},
	CodeBatchExhausted:      {Refused, "超出该批次获准的条数", "more rows than the batch was approved for"},
	CodeSearchRebuilding:    {Unavailable, "检索库正在重建，请稍后再试；办理和核验不受影响", "the search index is being made anew; try again later, all else goes on"},
	CodeSearchTooBroad:      {Invalid, "检索超过 2 秒未完成，请增加条件或把检索词写得更长", "the search takes longer than 2 seconds: add a condition or lengthen its words"},
	CodeInternal:            {Internal, "内部错误", "internal error"},

	CodeAccessLogUnavailable: {Unavailable, "访问日志暂不能写入，需登录的请求暂不受理；本次未写入", "the access log cannot be written, and nothing is read or written unlogged; nothing was written"},
	CodeRowChanged:           {Conflict, "该行在本节点取走后被改动或删除；答复针对取走时的内容", "the row was changed or deleted after this node took it; the answer is about what was taken"},
	CodeFileNotHeld:          {NotFound, "本节点未存放该证照文件，账本上只有其摘要", "this node does not hold the licence's file; the ledger has its digest only"},
	CodeFileRefused:          {Invalid, "文件名或文件类型不被接受（只收普通文件，名称须为可见字符）", "a file of this name or kind is not taken: only regular files with names of visible characters are"},
	CodeSourceUnavailable:    {Unavailable, "前置库或收件目录暂不可用，节点会继续尝试；已取走的不会丢失", "the exchange table or the watched folder cannot be used now; the node tries again, and loses nothing that it took"},
	CodeTargetUnavailable:    {Unavailable, "事件推送的接收方不可用，或有事件未能送达；节点会继续尝试或待人工处理", "a receiver of events cannot be reached, or events were given up; the node tries again, or waits for an operator"},
	CodeFileIncomplete:       {Invalid, "文件在规定时间内没有写完", "the file was not written to its end within the time allowed"},
}
