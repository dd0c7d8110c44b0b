package exchangetable

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// skipLocked is the clause that passes over locked rows, "" where the database has none.
func skipLocked(ctx context.Context, cfg *Config, db *sql.DB) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.scaled(roundTimeout))
	defer cancel()
	if cfg.Database == Postgres {
		return " SKIP LOCKED", db.PingContext(ctx)
	}
	var version string
	if err := db.QueryRowContext(ctx, "SELECT version()").Scan(&version); err != nil {
		return "", err
	}
	if maria(version) >= 10_06 {
		return " SKIP LOCKED", nil
	}
	return "", nil
}

// maria is a server's version, 10.11 as 1011; 0 for what is not MariaDB.
func maria(version string) int {
	if !strings.Contains(version, "MariaDB") {
		return 0
	}
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return 0
	}
	return major*100 + minor
}

// Finding is something that an operator or a database administrator should put right.
type Finding struct {
	Fatal bool   `json:"fatal"` // the table cannot be worked off
	Where string `json:"where"`
	Zh    string `json:"zh"`
	En    string `json:"en"`
}

// Check looks a table over: reachable, version, encoding, columns, rights, time, batches that never became complete.
// It changes nothing.
func Check(ctx context.Context, cfg Config) (out []Finding) {
	if err := cfg.Check(); err != nil {
		return []Finding{{true, "zhenglian.yaml", "配置有误", err.Error()}}
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.scaled(roundTimeout))
	defer cancel()
	db, err := cfg.open()
	if err == nil {
		defer db.Close()
		err = db.PingContext(ctx)
	}
	if err != nil {
		return []Finding{{true, cfg.Address, "连接不上数据库：请核对地址、用户、口令和 TLS", err.Error()}}
	}
	c := checker{ctx: ctx, cfg: &cfg, db: db}
	for _, look := range []func(){c.server, c.encoding, c.columns, c.rights, c.clock, c.batches} {
		look()
	}
	if cfg.TLS == nil {
		c.say(false, "tls", "与数据库的连接未加密", "the connection to the database is not encrypted")
	}
	return c.found
}

type checker struct {
	ctx   context.Context
	cfg   *Config
	db    *sql.DB
	found []Finding
}

func (c *checker) say(fatal bool, where, zh, en string) {
	c.found = append(c.found, Finding{fatal, where, zh, en})
}

func (c *checker) one(query string, args ...any) (string, bool) {
	var v sql.NullString
	if err := c.db.QueryRowContext(c.ctx, c.cfg.placeholders(query), args...).Scan(&v); err != nil {
		c.say(true, "SQL", "查询失败", err.Error())
		return "", false
	}
	return v.String, true
}

func (c *checker) server() {
	if c.cfg.Database == Postgres {
		if v, ok := c.one("SELECT current_setting('server_version_num')"); ok {
			if n, _ := strconv.Atoi(v); n < 12_00_00 {
				c.say(true, "version", "PostgreSQL 须为 12 及以上", "PostgreSQL must be 12 or newer")
			}
		}
		return
	}
	if v, ok := c.one("SELECT version()"); ok && maria(v) < 10_06 {
		c.say(false, "version", "MariaDB 低于 10.6，没有 SKIP LOCKED：业务系统的长事务会让节点等待", "below MariaDB 10.6 there is no SKIP LOCKED: the node waits for long transactions of the back office")
	}
}

func (c *checker) encoding() {
	if c.cfg.Database == Postgres {
		if v, ok := c.one("SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()"); ok && v != "UTF8" {
			c.say(true, "encoding", "库的编码是 "+v+"，须为 UTF8", "the database's encoding is "+v+" and must be UTF8")
		}
		return
	}
	for _, table := range []string{"zl_request", "zl_answer"} {
		if v, ok := c.one("SELECT max(table_collation) FROM information_schema.tables WHERE table_schema = database() AND table_name = ?", table); ok && v != "" && v != "utf8mb4_bin" && v != "utf8mb4_nopad_bin" {
			c.say(true, table, "排序规则是 "+v+"，须为 utf8mb4_bin：否则大小写或重音不同的编号会被当作同一个", "the collation is "+v+" and must be utf8mb4_bin: ids that differ in case or accents would be one")
		}
	}
}

// wanted are the columns that the node uses.
func wanted() map[string][]string {
	return map[string][]string{
		"zl_request": append([]string{"seq", "id", "taken_at"}, columns[:]...),
		"zl_answer": {
			"request_id", "seq", "unit", "batch", "node", "digest", "state", "code", "field", "reason_zh", "reason_en", "operation_id", "draft", "record", "version",
			"identifier", "position", "presentation", "fault", "fault_zh", "fault_en", "taken_at", "answered_at", "recorded_at",
		},
	}
}

func (c *checker) columns() {
	schema := "database()"
	if c.cfg.Database == Postgres {
		schema = "current_schema()"
	}
	for table, names := range wanted() {
		rows, err := c.db.QueryContext(c.ctx, c.cfg.placeholders("SELECT column_name FROM information_schema.columns WHERE table_schema = "+schema+" AND table_name = ?"), table)
		if err != nil {
			c.say(true, table, "查询失败", err.Error())
			continue
		}
		has := map[string]bool{}
		for rows.Next() {
			var n string
			if err := rows.Scan(&n); err == nil {
				has[strings.ToLower(n)] = true
			}
		}
		_ = rows.Close()
		if len(has) == 0 {
			c.say(true, table, "没有这张表，或节点的用户无权查看：请执行 zhenglian table ddl 打印的语句", "there is no such table, or the node's user may not see it: run what `zhenglian table ddl` prints")
			continue
		}
		for _, n := range names {
			if !has[n] {
				c.say(true, table+"."+n, "缺少该列", "the column is missing")
			}
		}
	}
}

// rights tries what the node does, in a transaction that touches no row.
func (c *checker) rights() {
	for _, try := range []struct{ where, query string }{
		{"zl_request SELECT", "SELECT id FROM zl_request WHERE seq = -1 FOR UPDATE"},
		{"zl_request UPDATE (taken_at)", "UPDATE zl_request SET taken_at = NULL WHERE seq = -1"},
		{"zl_answer INSERT", "INSERT INTO zl_answer (request_id, seq, unit, node, digest, state, taken_at) SELECT id, seq, seq, 'x', 'x', 'taken', created_at FROM zl_request WHERE seq = -1"},
		{"zl_answer UPDATE", "UPDATE zl_answer SET state = 'refused', code = NULL WHERE seq = -1"},
	} {
		if _, err := c.db.ExecContext(c.ctx, try.query); err != nil {
			c.say(true, try.where, "节点的用户缺少这项权限，或表被锁住", "the node's user lacks this right, or the table is locked: "+err.Error())
		}
	}
	if _, err := c.db.ExecContext(c.ctx, "UPDATE zl_request SET number = NULL WHERE seq = -1"); err == nil {
		c.say(false, "zl_request UPDATE", "节点的用户可以改动请求内容，权限过大", "the node's user may change requests: more rights than it needs")
	}
}

func (c *checker) clock() {
	query := "SELECT abs(extract(epoch FROM now()) - CAST(? AS double precision))"
	if c.cfg.Database == MariaDB {
		query = "SELECT abs(unix_timestamp() - ?)"
		if v, ok := c.one("SELECT @@session.time_zone"); ok && v != "+08:00" {
			c.say(true, "time_zone", "会话时区不是 +08:00", "the session's time zone is not +08:00")
		}
	}
	if v, ok := c.one(query, nowSeconds()); ok {
		if off, _ := strconv.ParseFloat(v, 64); off > 60 {
			c.say(false, "clock", "数据库与节点的时钟相差 "+v+" 秒", "the database's clock is "+v+" s off this machine's")
		}
	}
}

func (c *checker) batches() {
	v, ok := c.one("SELECT count(*) FROM (SELECT batch FROM zl_request WHERE taken_at IS NULL AND batch IS NOT NULL GROUP BY batch HAVING count(*) < min(batch_size)) AS b")
	if ok && v != "0" && v != "" {
		c.say(false, "batch", v+" 个批次尚未写齐，节点在等待", v+" batches are not complete; the node waits for their rows")
	}
}

func nowSeconds() float64 { return float64(time.Now().UnixMilli()) / 1000 }
