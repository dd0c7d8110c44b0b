-- 证链前置库（交换表）DDL，MariaDB 10.6 及以上。由数据库管理员在业务系统与证链节点共用的库中执行一次。
-- Exchange tables of a Zhenglian node, MariaDB 10.6 or newer. A database administrator runs this once.
--
-- 先建库和两个用户（口令自定）/ First make the database and the two users, with passwords of your own:
--   CREATE DATABASE {{schema}} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
--   CREATE USER {{node}} IDENTIFIED BY '…';    -- 证链节点 the node
--   CREATE USER {{office}} IDENTIFIED BY '…';  -- 业务系统 the back office
-- 时间一律为北京时间 / Times are Beijing time.

USE {{schema}};

CREATE TABLE zl_request (
    seq               bigint NOT NULL AUTO_INCREMENT UNIQUE COMMENT '行的次序，由数据库生成；同一记录的操作按此次序办理 / order of the rows, made by the database; operations on one record keep it',
    id                varchar(64) NOT NULL PRIMARY KEY COMMENT '业务系统自定的唯一编号 / unique id that the back office chooses',
    operation         varchar(40) NOT NULL COMMENT '操作类型，如 licence.issue、licence.suspend / type of operation',
    agency            varchar(64) COMMENT '办理机构；空为密钥所属机构 / acting agency; null: the key''s',
    record            varchar(80) COMMENT '所办理的记录编号；签发时为空 / record that it acts on; null when issuing',
    version           bigint COMMENT '操作产生的版本号，用于防止覆盖；可空 / version that it makes, a guard; may be null',
    licence_type      varchar(40) COMMENT '证照类型代码 ZZLXDM / licence type code',
    number            varchar(64) COMMENT '证照编号 ZZBH / licence number',
    holder_kind       varchar(3) COMMENT '持证主体代码类型 CZZTDMLXDM：001 统一社会信用代码（默认），111 公民身份号码 / holder code type',
    holder_code       varchar(64) COMMENT '持证主体代码 CZZTDM；个人的不上链 / holder code; a person''s never reaches the ledger',
    holder_name       varchar(200) COMMENT '持证主体 CZZT / holder name',
    region            varchar(6) COMMENT '行政区划代码；空为机构所在区划 / region code; null: the agency''s',
    issued_on         date COMMENT '颁发日期 ZZBFRQ；空为当日 / issued on; null: today',
    valid_from        date COMMENT '有效期起 ZZYXQQSRQ；空为颁发日期 / valid from; null: the day of issue',
    valid_until       date COMMENT '有效期止 ZZYXQJZRQ；空为长期 / valid until; null: no end',
    face              longtext COMMENT '照面公开字段 KZ_*，JSON 对象 / public face fields, a JSON object' CHECK (json_valid(face)),
    confidential_face longtext COMMENT '照面保密字段，JSON 对象，不上链 / confidential face fields, never on the ledger' CHECK (json_valid(confidential_face)),
    decision_number   varchar(200) COMMENT '决定文号 / number of the decision',
    decision_date     date COMMENT '决定日期 / date of the decision',
    effective_on      date COMMENT '法律效力起始日 / first day of its legal effect',
    reason            varchar(64) COMMENT '原因代码（小写字母、数字、连字符）/ reason code',
    document          longtext COMMENT '整个操作的 JSON（与 POST /v1/operations 相同）；填写时其余业务列须为空 / the whole operation as JSON; the columns above are then null' CHECK (json_valid(document)),
    batch             varchar(64) COMMENT '批次号；同批各行要么全部受理，要么全部不受理 / rows of one batch are accepted together or not at all',
    batch_size        integer COMMENT '该批的行数，1–1000；写齐后才办理 / rows in the batch, 1–1000; it waits until they are all there',
    created_at        datetime(3) NOT NULL DEFAULT current_timestamp(3) COMMENT '写入时间 / when it was written',
    taken_at          datetime(3) COMMENT '节点取走的时间，只由节点填写；取走后不得再改本行 / when the node took it, set by the node alone; the row must not change afterwards',
    INDEX zl_request_new (taken_at, seq)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT='业务系统写入的请求，一行一项操作 / requests of the back office, one operation a row';

CREATE TABLE zl_answer (
    request_id        varchar(64) NOT NULL PRIMARY KEY COMMENT '请求的 id / id of the request',
    seq               bigint NOT NULL COMMENT '请求的 seq / seq of the request',
    unit              bigint NOT NULL COMMENT '一并取走的首行的 seq / seq of the first row that was taken together with this one',
    batch             varchar(64) COMMENT '请求的批次号 / batch of the request',
    node              varchar(64) NOT NULL COMMENT '办理的节点 / node that took it',
    digest            char(64) NOT NULL COMMENT '取走时内容的摘要 SHA-256 / digest of what was taken',
    state             varchar(10) NOT NULL COMMENT '状态：taken 已取走，held 待复核，accepted 已受理（待上链），committed 已上链，refused 不予受理 / state' CHECK (state IN ('taken', 'held', 'accepted', 'committed', 'refused')),
    code              varchar(40) COMMENT '原因代码，见 docs/spec/errors.md / reason code',
    field             varchar(200) COMMENT '有误的字段 / field at fault',
    reason_zh         varchar(2000) COMMENT '原因（中文）/ reason in Chinese',
    reason_en         varchar(2000) COMMENT '原因（英文）/ reason in English',
    operation_id      varchar(32) COMMENT '操作编号，可用 GET /v1/operations/{id} 查询 / operation id',
    draft             varchar(64) COMMENT '待复核草稿的编号 / draft that waits, or waited, for approval',
    record            varchar(80) COMMENT '记录编号；后续变更、终止时填入 zl_request.record / record id, for later operations',
    version           bigint COMMENT '记录版本 / version of the record',
    identifier        varchar(200) COMMENT '证照标识 ZZBS / licence identifier',
    position          bigint COMMENT '回执：在账本日志中的位置 / receipt: position in the ledger''s log',
    presentation      longtext COMMENT '个人证照随证的验证码（盐值），须妥善保管 / what a person''s licence is shown with; keep it safe' CHECK (json_valid(presentation)),
    fault             varchar(40) COMMENT '该行被取走后又被改动时为 row_changed；state 仍针对取走时的内容 / row_changed when the row was changed after it was taken',
    fault_zh          varchar(2000) COMMENT '说明（中文）/ the same in Chinese',
    fault_en          varchar(2000) COMMENT '说明（英文）/ the same in English',
    taken_at          datetime(3) NOT NULL COMMENT '取走时间 / when it was taken',
    answered_at       datetime(3) COMMENT '最近答复时间 / when it was last answered',
    recorded_at       datetime(3) COMMENT '账本记载时间 / recorded on the ledger at',
    INDEX zl_answer_unit (unit),
    INDEX zl_answer_open (state, unit)
) ENGINE=InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT='节点的答复，每个请求一行 / the node''s answers, one row for each request';

-- 最小权限 / least privileges
GRANT SELECT, UPDATE (taken_at) ON zl_request TO {{node}};
GRANT SELECT, INSERT, UPDATE ON zl_answer TO {{node}};
GRANT SELECT, INSERT, DELETE ON zl_request TO {{office}};
GRANT UPDATE (operation, agency, record, version, licence_type, number, holder_kind, holder_code, holder_name, region, issued_on,
    valid_from, valid_until, face, confidential_face, decision_number, decision_date, effective_on, reason, document, batch,
    batch_size) ON zl_request TO {{office}};
GRANT SELECT, DELETE ON zl_answer TO {{office}};
