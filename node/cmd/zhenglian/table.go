package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/exchangetable"
)

// pushCommands are for who lets back offices push operations in, and be told of them.
func pushCommands() []*cobra.Command { return []*cobra.Command{tableCommand(), webhooksCommand()} }

// tableCommand is for who sets up an exchange table: the DDL, and what is wrong with a table.
func tableCommand() *cobra.Command {
	c := &cobra.Command{Use: "table", Short: "an exchange table (前置库) of a back office: its DDL, and a check of it"}
	c.AddCommand(tableDDLCommand(), tableCheckCommand())
	return c
}

func tableDDLCommand() *cobra.Command {
	var db, schema, node, office string
	c := &cobra.Command{
		Use: "ddl", Short: "print the statements that a database administrator runs once", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			kind := exchangetable.Database(db)
			if kind != exchangetable.Postgres && kind != exchangetable.MariaDB {
				return useError("--db：postgres 或 mariadb", "--db: postgres or mariadb")
			}
			for name, value := range map[string]string{"--schema": schema, "--node-user": node, "--office-user": office} {
				if !exchangetable.Plain(value) {
					return useError("%s：只能用 a–z、0–9 和 _", "%s: a–z, 0–9 and _", name)
				}
			}
			fmt.Fprint(c.OutOrStdout(), exchangetable.DDL(kind, schema, node, office))
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&db, "db", "", "postgres or mariadb")
	f.StringVar(&schema, "schema", "zhenglian", "PostgreSQL: the schema; MariaDB: the database")
	f.StringVar(&node, "node-user", "zl_node", "the node's user in the database")
	f.StringVar(&office, "office-user", "zl_office", "the back office's user")
	_ = c.MarkFlagRequired("db")
	return c
}

var errTable error = &spoken{"前置库不可用", "the exchange table cannot be worked off"}

func tableCheckCommand() *cobra.Command {
	var dir string
	var asJSON bool
	c := &cobra.Command{
		Use: "check [NAME]", Short: "say what is wrong with a configured table; it changes nothing", Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := app.LoadConfig(dir)
			if err != nil {
				return err
			}
			t, err := app.Table(cfg, append(args, "")[0])
			if err != nil {
				return err
			}
			found := exchangetable.Check(c.Context(), t)
			fatal := false
			for _, f := range found {
				fatal = fatal || f.Fatal
			}
			w := c.OutOrStdout()
			if asJSON {
				if found == nil {
					found = []exchangetable.Finding{}
				}
				if err := json.NewEncoder(w).Encode(found); err != nil {
					return err
				}
			} else {
				for _, f := range found {
					word := say("提示", "note ")
					if f.Fatal {
						word = say("故障", "fault")
					}
					fmt.Fprintf(w, "%s  %s\n       %s\n", word, f.Where, say(f.Zh, f.En))
				}
				if !fatal {
					tell(w, "前置库可用\n", "the table can be worked off\n")
				}
			}
			if fatal {
				return errTable
			}
			return nil
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "the node's folder")
	c.Flags().BoolVar(&asJSON, "json", false, "print for programs")
	_ = c.MarkFlagRequired("dir")
	return c
}
