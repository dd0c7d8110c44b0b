// Package exchangetable is an exchange table (前置库): two tables in a database that an agency's back office and
// its node share. The back office writes requests, one operation a row; the node takes each once and writes an answer
// row for it. PostgreSQL and MariaDB; docs/spec/exchange-table.md is the format, postgres.sql and mariadb.sql the DDL.
//
// Reading order: config.go, row.go (a row's content and what it asks for), store.go (all SQL), table.go (the loop),
// check.go (what an operator can be told).
package exchangetable

import (
	_ "embed"
	"strings"
)

//go:embed postgres.sql
var postgresDDL string

//go:embed mariadb.sql
var mariaDDL string

// DDL is what a database administrator runs once. node and office are the users that get rights; schema is
// PostgreSQL's schema, or MariaDB's database. Names must be plain (see Plain).
func DDL(db Database, schema, node, office string) string {
	text := postgresDDL
	if db == MariaDB {
		text = mariaDDL
	}
	return strings.NewReplacer("{{schema}}", schema, "{{node}}", node, "{{office}}", office).Replace(text)
}

// Plain reports whether a name needs no quoting in either database.
func Plain(name string) bool {
	if name == "" || len(name) > 48 || name[0] < 'a' || name[0] > 'z' {
		return false
	}
	for i := range len(name) {
		if c := name[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return false
		}
	}
	return true
}
