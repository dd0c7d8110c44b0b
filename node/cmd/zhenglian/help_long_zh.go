package main

// longHelp is the Chinese of the long help, by a command's whole name.
var longHelp = map[string]string{
	"zhenglian audit access": "列出节点的访问日志：用审计员的密钥经 API 读取，或用 --dir 在节点自己的文件夹中读取。\n" +
		"加 --verify 则重新计算日志的链，并与账本上的存证核对。这需要 --dir；节点运行时存证经 API 取得（--url 或 ZHENGLIAN_URL），已停时取自文件夹。",
	"zhenglian audit begin": "用于日志已损坏，或比最近一次存证更旧（从备份恢复）的情形。旧日志改名保留在旁边。\n账本上可以看出另起了一份日志：其存证的起点不同。",
	"zhenglian backup": "保存节点无法重新生成的内容（待发队列、盐值、密钥、人员、日志、配置）及其区块存档，节点照常工作。\n" +
		"文件经过密封：口令或私钥请另处保管，没有它文件毫无用处。",
	"zhenglian consortium":       "组建联盟分三步：各组织执行 prepare，把 member.json 交给其他组织；由一方用 genesis 合成，各方核对摘要；\n各组织执行 join。",
	"zhenglian consortium block": "读取 configtxgen 或 peer 写出的 0 号区块，打印其区块头的哈希。各组织用自己的一份计算，结果必须相同。",
	"zhenglian consortium join":  "写入之前先检查全部内容，从不覆盖：出错后改正再执行即可。成功之后的变更在 zhenglian.yaml 中进行。",
	"zhenglian consortium prepare": "按计划为节点和机关生成签章密钥、秘密和 API 密钥（只打印一次），并写出 member.json；它不含秘密，交给其他组织。\n" +
		"证书由本组织的证书机构签发，其通用名（CN）须为节点标识。",
	"zhenglian doctor": "查看节点的文件夹、磁盘、时钟、端口、证书、账本和存储，无论节点是否在运行；逐项说明故障、所见情形和解决的命令。\n" +
		"不作任何改动，数秒完成。退出状态：0 没有问题，1 有故障，2 用法有误。",
	"zhenglian drafts": "证照终止、大批量操作、密钥和登记的变更，须由起草人以外的另一人同意后才上账本。起草人的命令会说明哪份草稿在等待；\n本组命令供双方使用。",
	"zhenglian drafts key": "领取 API 密钥的一半：申请人领取前一半（zlk_1_…），同意者领取后一半（zlk_2_…），先后不限，各领一次，互不可见。\n" +
		"两人各自把自己的一半交给密钥的使用人；使用人把后一半紧接在前一半之后写成一行，中间不留空格，用在需要密钥的地方（ZHENGLIAN_KEY、--key-file）。\n" +
		"两半都领取后密钥才能使用；在此之前可用 drafts withdraw 撤回。",
	"zhenglian drafts approve": "显示草稿所请求的内容，并且只同意这些内容。--content 摘要：只同意先前显示过的内容。",
	"zhenglian finding":        "显示节点在账本的区块中发现的问题。清除之前，节点以原有内容作答，不再接收区块。查明原因后再清除：该区块会重新检查。",
	"zhenglian import": "import licences 按表格签发证照；--guess FILE 提出所需的映射：查看表头和前 1000 行，只按形状显示各列内容，\n" +
		"在终端上逐字段确认，然后写出映射文件。",
	"zhenglian import licences": "先检查 FILE 的每一行，再分批签发无误的行。MAP 说明各列如何成为证照：YAML 文件，或程序自带的映射（enterprises-bth）。\n" +
		"任何时刻中断，同一命令都从断点继续，不会重复签发。\n\n节点只代表本组织的机关。其他机关的行会被拒绝，除非同时给出其节点：逐个用 --node NAME=URL,KEY\n" +
		"（演示的四个节点用 --demo DIR），每行送往其机关的节点。\n\n退出状态：全部签发（--dry-run 时为可以签发）为 0，有被拒的行为 1。",
	"zhenglian import undo": "把一次导入所签发的证照自其首日起逐一撤销。BATCH 是该次导入的状态文件，或 import list 显示的名称，\n或节点自己执行的导入（POST /v1/imports）的编号。\n" +
		"导入前已有的不动，已经终止的不动；未加 --force-amended 时，之后变更过的也不动：均会列出。\n\n" +
		"终止须由第二人同意：命令把全部撤销登记为一批，并说明在等谁同意。同意后或中断后再执行一次，不会重复撤销。",
	"zhenglian init":           "建立一个组织的账本及其节点：证书机构、身份、签章密钥、创世文件、账本、配置，以及每个角色一个 API 密钥（只打印一次）。\n未给出的内容会询问。从不覆盖。",
	"zhenglian invite":         "打印一段文本，写明账本、新节点和它所代表的机关，并含一个只能用一次的令牌。请像口令一样传递；指纹另用别的途径告知。\n对方加入时本节点须在运行。",
	"zhenglian join":           "建立受邀节点的文件夹：在本机生成密钥，由邀请节点为账本密钥签发证书，并把所得内容逐一与邀请书核对。\nINVITATION 是文本、文件，或 - 表示标准输入。中断后再执行一次即可。指纹是您从别的途径（如电话）得知的。",
	"zhenglian keys issue":     "签发 API 密钥：属于某个用户（--user），始终随其机构和角色；或属于独立的系统（--agency 和 --role）。\n通过接口申请的，先由另一名安全保密管理员同意，再由两人用 drafts key 各领取一半。",
	"zhenglian keys signing":   "在账本上停用机关的签章密钥，并列入节点生成的新密钥。此前的签章仍然有效。按双人规则须第二人同意的，变更会等待同意。\n之后请做备份：此前的备份中没有新密钥。身份和 TLS 证书通过替换文件更新（docs/ops/certificates）。",
	"zhenglian ledger apart":   "为试点账本生成 TLS 证书和监听地址，并使其节点从那里连接。此后两者分别启动：先用 zhenglian ledger serve 启动账本，再启动节点。\n之后可以邀请其他节点（zhenglian invite）。",
	"zhenglian ledger fsck":    "重新检查每个区块和签名，从首个区块重放账本，并与所存的状态、历史和索引比对。不作改动。退出状态 1 表示有损坏，逐行列出。",
	"zhenglian ledger restore": "用一个已停止的、曾跟随该账本的节点的存档，重建嵌入式账本的数据库。有多个成员时取存档最长的：\n比恢复后的账本拥有更多区块的节点会认定账本有错。",
	"zhenglian licence issue": "请节点签发一份证照，上账本后返回。账本不可用时会说明节点已受理并继续等待；--no-wait 则立即返回。\n\n" +
		"个人证照（--person、--holder-kind）的证件号码和姓名都不上账本：节点对其作承诺，并只打印一次用于打开承诺的内容。持证人核验时需要：请保存（--keep FILE）。",
	"zhenglian log-level": "改变运行中节点的日志，直到它停止；节点启动时为 info。",
	"zhenglian migrate": "试点连同全部内容一起迁移：相同的操作按相同次序重新执行，在相同位置得到相同的叶。操作手册见 docs/ops/migrate.zh-CN.md，次序为：\n\n" +
		"  freeze   试点账本不再接受交易（在账本所在处执行一次）\n  plan     各组织读取自己节点所有的内容，并互相核对\n" +
		"  switch   各组织把已停止的节点转到新账本\n  import   由一个组织把试点的区块交给新账本\n" +
		"  compare  各组织把结果与原有内容比对\n  close    k 个组织确认全部到齐，随后开始正常写入\n\n各命令均可中断后再次执行。迁入结束之前，switch --undo 可以退回。",
	"zhenglian migrate close":   "与 compare 一样比对；没有差异时，代表本组织同意试点内容已全部到齐。第 k 个组织同意后迁入永久结束，开始正常写入。",
	"zhenglian migrate compare": "使已停止的节点追到新账本的末尾，校验每个区块，并与节点在旧账本上的内容比对：先在相同位置逐叶比对，再逐条记录比对。\n退出状态 1：有差异，或迁入尚未到末尾。",
	"zhenglian migrate freeze":  "确保即将迁移的试点不再有写入。执行之前各节点的待发队列应为空。账本下次启动时生效，随后各节点追平末块。",
	"zhenglian migrate import":  "把 switch 移开的区块交给新账本，从任何地方均可。一个组织即可，几个组织同时执行也行；节点可以同时运行。\n进度只记在合约状态中，因此随时可以中断，在此处或其他组织再次执行。",
	"zhenglian migrate plan":    "校验已停止节点的存档或已停止账本的每个区块，重新执行，并打印各组织要核对的内容：0 号区块（各 zl-chaincode 的 import_from）、\n位置和链摘要。不作改动。退出状态 1：有损坏，或仍有已受理的操作在等待。",
	"zhenglian migrate switch":  "把节点的记录、存档和配置移到 before-migration/，写出新账本的配置。API 密钥、保密库、签章密钥、待发队列和幂等键保留。\n新账本由 --network（zl-network 写出的文件）或 --gateway 加 --genesis-block 说明。新账本证书机构签发的证书用 --cert 和 --key 给出，\n其通用名须为节点标识。中断后再次执行即可完成。",
	"zhenglian people change":   "替换所给出的部分：--role drafter --role verifier 使用户只有这两个角色。\n--subject '' 和 --pin '' 取消全部。",
	"zhenglian erase": "让运行中的节点忘记某证照各版本的保密内容：此后检索不到其持证主体，除非持证人出示，也无人能知道账本上的承诺值对应什么。\n" +
		"不可恢复，证照本身不变。不涉及：备份（恢复后须重新删除）、尚未到期清除的待复核内容和上传文件、已发送给他人的内容。",
	"zhenglian restore": "从备份在新的或空的文件夹中建立节点，并重新校验其中每个区块。恢复的节点在追平账本之前不受理任何内容。\n切勿在旧节点运行时启动它。",
	"zhenglian search":  "查找证照。每个 WORD 都须出现在持证主体名称中，两个字即可。--csv 或 --xlsx 把全部结果写入供电子表格使用的文件\n（- 为标准输出）；否则打印一页，并说明如何取下一页。",
	"zhenglian upgrade": "逐步升级；中断的步骤在再次执行时重做。--check 只说明要做什么。升级之前请备份。由更新版本写过的文件夹会被拒绝：不能降级。\n退出状态：0 文件夹相符；1 有待升级（--check）或被拒绝。",
	"zhenglian verify": "询问节点：一份证照在某日、按某日所知是否有效，以及谁对它做过什么。证照用编号（加 --type，或在全部登记类型中查找）、\n" +
		"标识（1.2.156.3005.2.…）、记录编号（bj-scjg.1）或文件（--file）指明。--batch 从文件中每行读取一个，\"-\" 为标准输入；\n" +
		"一行可写成 NUMBER,TYPE。\n\n退出状态：全部有效为 0，否则为 1。",
}
