package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/webhook"
)

// webhooksCommand manages, on the node's own machine, who is told of events. A running node takes changes up within a
// second.
func webhooksCommand() *cobra.Command {
	c := &cobra.Command{Use: "webhooks", Short: "who is told of events over HTTPS: add, list, rotate, remove, and what was given up"}
	c.AddCommand(webhooksAdd(), webhooksList(), webhooksRotate(), webhooksRemove(), webhooksDead())
	return c
}

// webhooks is what its commands have in common.
type webhooks struct {
	dir    string
	asJSON bool
}

func (w *webhooks) flags(c *cobra.Command) *cobra.Command {
	c.Flags().StringVar(&w.dir, "dir", "", "the node's folder")
	c.Flags().BoolVar(&w.asJSON, "json", false, "print for programs")
	_ = c.MarkFlagRequired("dir")
	return c
}

func (w *webhooks) open() (*webhook.Store, error) {
	cfg, err := app.LoadConfig(w.dir)
	if err != nil {
		return nil, err
	}
	return app.Webhooks(cfg)
}

func webhooksAdd() *cobra.Command {
	var w webhooks
	var s webhook.Subscription
	var agencies []string
	var from int64
	c := &cobra.Command{
		Use: "add URL", Short: "tell a system of events, and print the secret of the signatures, once", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s.URL = args[0]
			for _, a := range agencies {
				id, err := model.ParseAgencyID(a)
				if err != nil {
					return fmt.Errorf("%w: --agency: %w", errUse, err)
				}
				s.Agencies = append(s.Agencies, id)
			}
			if c.Flags().Changed("from") {
				s.From = &from
			}
			store, err := w.open()
			if err != nil {
				return err
			}
			made, err := store.Add(s)
			if err != nil {
				return err
			}
			if w.asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"id": made.ID, "secret": made.Secrets[0]})
			}
			tell(c.OutOrStdout(), "%s  %s  （只显示这一次）\n", "%s  %s  (shown once)\n", made.ID, made.Secrets[0])
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&s.Name, "name", "", "what the system is")
	f.StringSliceVar(&s.Types, "types", nil, "operations' types, licence.issue or licence.*; default all")
	f.StringSliceVar(&agencies, "agency", nil, "acting agencies; default all")
	f.Int64Var(&from, "from", 0, "begin after this position, -1 for all there is (default: with what comes next)")
	f.BoolVar(&s.InsecureLoopback, "insecure-loopback", false, "allow http to a program on this machine")
	return w.flags(c)
}

func webhooksList() *cobra.Command {
	var w webhooks
	c := &cobra.Command{
		Use: "list", Short: "list subscriptions (never their secrets)", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			store, err := w.open()
			if err != nil {
				return err
			}
			list, err := store.List()
			if err != nil {
				return err
			}
			type row struct {
				ID       string           `json:"id"`
				Name     string           `json:"name"`
				URL      string           `json:"url"`
				Types    []string         `json:"types"`
				Agencies []model.AgencyID `json:"agencies"`
				Secrets  int              `json:"secrets"` // in force
				Dead     int              `json:"dead"`
			}
			rows := []row{}
			t := table.NewWriter()
			t.AppendHeader(table.Row{say("编号", "id"), say("名称", "name"), say("地址", "url"), say("操作类型", "types"), say("机构", "agencies"), say("密钥数", "secrets"), say("死信", "dead")})
			for _, s := range list {
				dead, err := store.Dead(s.ID, 1_000_000)
				if err != nil {
					return err
				}
				rows = append(rows, row{s.ID, s.Name, s.URL, s.Types, s.Agencies, len(s.Secrets), len(dead)})
				t.AppendRow(table.Row{s.ID, s.Name, s.URL, s.Types, s.Agencies, len(s.Secrets), len(dead)})
			}
			if w.asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(rows)
			}
			fmt.Fprintln(c.OutOrStdout(), t.Render())
			return nil
		},
	}
	return w.flags(c)
}

func webhooksRotate() *cobra.Command {
	var w webhooks
	var finish bool
	c := &cobra.Command{
		Use: "rotate ID", Short: "sign with a new secret beside the old one; --finish ends the old one", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			store, err := w.open()
			if err != nil {
				return err
			}
			if finish {
				return store.Retire(args[0])
			}
			secret, err := store.Rotate(args[0])
			if err != nil {
				return err
			}
			if w.asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]any{"id": args[0], "secret": secret})
			}
			tell(c.OutOrStdout(), "%s  %s  （只显示这一次；执行 rotate --finish 之前新旧密钥同时签名）\n", "%s  %s  (shown once; both sign until rotate --finish)\n", args[0], secret)
			return nil
		},
	}
	c.Flags().BoolVar(&finish, "finish", false, "the receiver has the new secret: end the old one")
	return w.flags(c)
}

func webhooksRemove() *cobra.Command {
	var w webhooks
	c := &cobra.Command{
		Use: "remove ID", Short: "end a subscription; what was given up for it is forgotten", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			store, err := w.open()
			if err != nil {
				return err
			}
			return store.Remove(args[0])
		},
	}
	return w.flags(c)
}

func webhooksDead() *cobra.Command {
	c := &cobra.Command{Use: "dead", Short: "events that were given up: list, redeliver, drop"}
	var w webhooks
	list := &cobra.Command{
		Use: "list ID", Short: "list a subscription's dead letters, in order", Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			store, err := w.open()
			if err != nil {
				return err
			}
			letters, err := store.Dead(args[0], 1000)
			if err != nil {
				return err
			}
			if w.asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(append([]webhook.Letter{}, letters...))
			}
			t := table.NewWriter()
			t.AppendHeader(table.Row{say("位置", "position"), say("类型", "type"), say("操作", "operation"), say("尝试次数", "attempts"), say("最近一次", "last"), say("错误", "error")})
			for _, l := range letters {
				t.AppendRow(table.Row{l.Position, l.Type, l.Operation, l.Attempts, l.Last.Format(time.DateTime), l.Error})
			}
			fmt.Fprintln(c.OutOrStdout(), t.Render())
			return nil
		},
	}
	c.AddCommand(w.flags(list),
		webhooksLetters("redeliver", "send a dead letter once more, or all of them", (*webhook.Store).Redeliver),
		webhooksLetters("drop", "forget a dead letter, or all of them", (*webhook.Store).Drop))
	return c
}

func webhooksLetters(name, short string, f func(*webhook.Store, string, int64) (int, error)) *cobra.Command {
	var w webhooks
	var all bool
	c := &cobra.Command{
		Use: name + " ID [POSITION]", Short: short, Args: cobra.RangeArgs(1, 2),
		RunE: func(c *cobra.Command, args []string) error {
			position := int64(-1)
			if all == (len(args) == 2) {
				return useError("请给一个位置，或 --all", "give a position, or --all")
			}
			if len(args) == 2 {
				var err error
				if position, err = strconv.ParseInt(args[1], 10, 64); err != nil || position < 0 {
					return useError("%s 不是位置", "%s is no position", args[1])
				}
			}
			store, err := w.open()
			if err != nil {
				return err
			}
			n, err := f(store, args[0], position)
			if err != nil {
				return err
			}
			if w.asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(map[string]int{"letters": n})
			}
			tell(c.OutOrStdout(), "%d 封死信\n", "%d letters\n", n)
			return nil
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all of the subscription's")
	return w.flags(c)
}
