-- 证链前置库（交换表）DDL，PostgreSQL 12 及以上。由数据库管理员在业务系统与证链节点共用的库中执行一次。
-- Exchange tables of a Zhenglian node, PostgreSQL 12 or newer. A database administrator runs this once.
--
-- 先建两个登录角色（口令自定）/ First make the two login roles, with passwords of your own:
--   CREATE ROLE {{node}} LOGIN PASSWORD '…';    -- 证链节点 the node
--   CREATE ROLE {{office}} LOGIN PASSWORD '…';  -- 业务系统 the back office
-- 库的编码须为 UTF8 / The database's encoding must be UTF8.

CREATE SCHEMA IF NOT EXISTS {{schema}};
SET search_path = {{schema}};

CREATE TABLE zl_request (
    seq               bigint GENERATED ALWAYS AS IDENTITY,
    id                varchar(64) COLLATE "C" NOT NULL PRIMARY KEY,
    operation         varchar(40) NOT NULL,
    agency            varchar(64),
    record            varchar(80),
    version           bigint,
    licence_type      varchar(40),
    number            varchar(64),
    holder_kind       varchar(3),
    holder_code       varchar(64),
    holder_name       varchar(200),
    region            varchar(6),
    issued_on         date,
    valid_from        date,
    valid_until       date,
    face              json,
    confidential_face json,
    decision_number   varchar(200),
    decision_date     date,
    effective_on      date,
    reason            varchar(64),
    document          json,
    batch             varchar(64) COLLATE "C",
    batch_size        integer,
    created_at        timestamptz(3) NOT NULL DEFAULT now(),
    taken_at          timestamptz(3)
);
CREATE INDEX zl_request_new ON zl_request (seq) WHERE taken_at IS NULL;

CREATE TABLE zl_answer (
    request_id   varchar(64) COLLATE "C" NOT NULL PRIMARY KEY,
    seq          bigint NOT NULL,
    unit         bigint NOT NULL,
    batch        varchar(64) COLLATE "C",
    node         varchar(64) NOT NULL,
    digest       char(64) NOT NULL,
    state        varchar(10) NOT NULL CHECK (state IN ('taken', 'held', 'accepted', 'committed', 'refused')),
    code         varchar(40),
    field        varchar(200),
    reason_zh    text,
    reason_en    text,
    operation_id varchar(32),
    draft        varchar(64),
    record       varchar(80),
    version      bigint,
    identifier   varchar(200),
    position     bigint,
    presentation json,
    fault        varchar(40),
    fault_zh     text,
    fault_en     text,
    taken_at     timestamptz(3) NOT NULL,
    answered_at  timestamptz(3),
    recorded_at  timestamptz(3)
);
CREATE INDEX zl_answer_unit ON zl_answer (unit);
CREATE INDEX zl_answer_open ON zl_answer (unit) WHERE state IN ('taken', 'held', 'accepted');

COMMENT ON TABLE  zl_request IS '业务系统写入的请求，一行一项操作 / requests of the back office, one operation a row';
COMMENT ON COLUMN zl_request.seq IS '行的次序，由数据库生成；同一记录的操作按此次序办理 / order of the rows, made by the database; operations on one record keep it';
COMMENT ON COLUMN zl_request.id IS '业务系统自定的唯一编号 / unique id that the back office chooses';
COMMENT ON COLUMN zl_request.operation IS '操作类型，如 licence.issue、licence.suspend / type of operation';
COMMENT ON COLUMN zl_request.agency IS '办理机构；空为密钥所属机构 / acting agency; null: the key''s';
COMMENT ON COLUMN zl_request.record IS '所办理的记录编号；签发时为空 / record that it acts on; null when issuing';
COMMENT ON COLUMN zl_request.version IS '操作产生的版本号，用于防止覆盖；可空 / version that it makes, a guard; may be null';
COMMENT ON COLUMN zl_request.licence_type IS '证照类型代码 ZZLXDM / licence type code';
COMMENT ON COLUMN zl_request.number IS '证照编号 ZZBH / licence number';
COMMENT ON COLUMN zl_request.holder_kind IS '持证主体代码类型 CZZTDMLXDM：001 统一社会信用代码（默认），111 公民身份号码 / holder code type';
COMMENT ON COLUMN zl_request.holder_code IS '持证主体代码 CZZTDM；个人的不上链 / holder code; a person''s never reaches the ledger';
COMMENT ON COLUMN zl_request.holder_name IS '持证主体 CZZT / holder name';
COMMENT ON COLUMN zl_request.region IS '行政区划代码；空为机构所在区划 / region code; null: the agency''s';
COMMENT ON COLUMN zl_request.issued_on IS '颁发日期 ZZBFRQ；空为当日 / issued on; null: today';
COMMENT ON COLUMN zl_request.valid_from IS '有效期起 ZZYXQQSRQ；空为颁发日期 / valid from; null: the day of issue';
COMMENT ON COLUMN zl_request.valid_until IS '有效期止 ZZYXQJZRQ；空为长期 / valid until; null: no end';
COMMENT ON COLUMN zl_request.face IS '照面公开字段 KZ_*，JSON 对象 / public face fields, a JSON object';
COMMENT ON COLUMN zl_request.confidential_face IS '照面保密字段，JSON 对象，不上链 / confidential face fields, never on the ledger';
COMMENT ON COLUMN zl_request.decision_number IS '决定文号 / number of the decision';
COMMENT ON COLUMN zl_request.decision_date IS '决定日期 / date of the decision';
COMMENT ON COLUMN zl_request.effective_on IS '法律效力起始日 / first day of its legal effect';
COMMENT ON COLUMN zl_request.reason IS '原因代码（小写字母、数字、连字符）/ reason code';
COMMENT ON COLUMN zl_request.document IS '整个操作的 JSON（与 POST /v1/operations 相同）；填写时其余业务列须为空 / the whole operation as JSON; the columns above are then null';
COMMENT ON COLUMN zl_request.batch IS '批次号；同批各行要么全部受理，要么全部不受理 / rows of one batch are accepted together or not at all';
COMMENT ON COLUMN zl_request.batch_size IS '该批的行数，1–1000；写齐后才办理 / rows in the batch, 1–1000; it waits until they are all there';
COMMENT ON COLUMN zl_request.created_at IS '写入时间 / when it was written';
COMMENT ON COLUMN zl_request.taken_at IS '节点取走的时间，只由节点填写；取走后不得再改本行 / when the node took it, set by the node alone; the row must not change afterwards';

COMMENT ON TABLE  zl_answer IS '节点的答复，每个请求一行 / the node''s answers, one row for each request';
COMMENT ON COLUMN zl_answer.request_id IS '请求的 id / id of the request';
COMMENT ON COLUMN zl_answer.seq IS '请求的 seq / seq of the request';
COMMENT ON COLUMN zl_answer.unit IS '一并取走的首行的 seq / seq of the first row that was taken together with this one';
COMMENT ON COLUMN zl_answer.batch IS '请求的批次号 / batch of the request';
COMMENT ON COLUMN zl_answer.node IS '办理的节点 / node that took it';
COMMENT ON COLUMN zl_answer.digest IS '取走时内容的摘要 SHA-256 / digest of what was taken';
COMMENT ON COLUMN zl_answer.state IS '状态：taken 已取走，held 待复核，accepted 已受理（待上链），committed 已上链，refused 不予受理 / state';
COMMENT ON COLUMN zl_answer.code IS '原因代码，见 docs/spec/errors.md / reason code';
COMMENT ON COLUMN zl_answer.field IS '有误的字段 / field at fault';
COMMENT ON COLUMN zl_answer.reason_zh IS '原因（中文）/ reason in Chinese';
COMMENT ON COLUMN zl_answer.reason_en IS '原因（英文）/ reason in English';
COMMENT ON COLUMN zl_answer.operation_id IS '操作编号，可用 GET /v1/operations/{id} 查询 / operation id';
COMMENT ON COLUMN zl_answer.draft IS '待复核草稿的编号 / draft that waits, or waited, for approval';
COMMENT ON COLUMN zl_answer.record IS '记录编号；后续变更、终止时填入 zl_request.record / record id, for later operations';
COMMENT ON COLUMN zl_answer.version IS '记录版本 / version of the record';
COMMENT ON COLUMN zl_answer.identifier IS '证照标识 ZZBS / licence identifier';
COMMENT ON COLUMN zl_answer.position IS '回执：在账本日志中的位置 / receipt: position in the ledger''s log';
COMMENT ON COLUMN zl_answer.presentation IS '个人证照随证的验证码（盐值），须妥善保管 / what a person''s licence is shown with; keep it safe';
COMMENT ON COLUMN zl_answer.fault IS '该行被取走后又被改动时为 row_changed；state 仍针对取走时的内容 / row_changed when the row was changed after it was taken';
COMMENT ON COLUMN zl_answer.fault_zh IS '说明（中文）/ the same in Chinese';
COMMENT ON COLUMN zl_answer.fault_en IS '说明（英文）/ the same in English';
COMMENT ON COLUMN zl_answer.taken_at IS '取走时间 / when it was taken';
COMMENT ON COLUMN zl_answer.answered_at IS '最近答复时间 / when it was last answered';
COMMENT ON COLUMN zl_answer.recorded_at IS '账本记载时间 / recorded on the ledger at';

-- 新行写入后唤醒节点；没有它节点也会定时查询 / wakes the node; without it the node polls
CREATE FUNCTION zl_request_notify() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_notify('zl_request', ''); RETURN NULL; END $$;
CREATE TRIGGER zl_request_notify AFTER INSERT ON zl_request FOR EACH STATEMENT EXECUTE FUNCTION zl_request_notify();

-- 最小权限 / least privileges
GRANT USAGE ON SCHEMA {{schema}} TO {{node}}, {{office}};
GRANT SELECT, UPDATE (taken_at) ON zl_request TO {{node}};
GRANT SELECT, INSERT, UPDATE ON zl_answer TO {{node}};
GRANT SELECT, INSERT, DELETE ON zl_request TO {{office}};
GRANT UPDATE (operation, agency, record, version, licence_type, number, holder_kind, holder_code, holder_name, region, issued_on,
    valid_from, valid_until, face, confidential_face, decision_number, decision_date, effective_on, reason, document, batch,
    batch_size) ON zl_request TO {{office}};
GRANT SELECT, DELETE ON zl_answer TO {{office}};
