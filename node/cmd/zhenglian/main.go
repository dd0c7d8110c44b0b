// Command zhenglian is a data-sharing node and its client.
//
//	zhenglian demo                 four organisations on this machine, and a story told with them
//	zhenglian init, serve          a node of one's own
//	zhenglian consortium           a node of a consortium on Fabric: prepare, genesis, join
//	zhenglian found                the nodes of a network on this machine, with sample agencies
//	zhenglian people, keys         who may sign in at a node, and API keys
//	zhenglian whoami               who a key's owner is, and what he may do
//	zhenglian table                a back office's exchange table: DDL, check
//	zhenglian webhooks             who is told of events over HTTPS
//	zhenglian import, licence, verify, history
//	                               client commands over the node's API
//	zhenglian drafts               what waits for another person's approval
//	zhenglian audit                who looked at what, and the proof of the access log
//	zhenglian search               finds licences, and writes what it finds to a file for a spreadsheet
//	zhenglian reindex              rebuild a stopped node's stores from its archive
//	zhenglian migrate              move a pilot from the embedded ledger to Fabric
//	zhenglian finding              why a node's follower has stopped
//	zhenglian invite, join         another node of an organisation enters a ledger
//	zhenglian backup, restore, upgrade, doctor, log-level, profile, support-bundle
//	                               look after a node on its own machine
//	zhenglian ledger apart, serve, fsck
//	                               the embedded ledger's own process, and its full check
//	zhenglian version              which build this is
//
// Client commands find the node by --url and --key, or ZHENGLIAN_URL and ZHENGLIAN_KEY. --json prints
// for programs. The exit status is 0 for success, 1 for a refusal or a finding, 2 for wrong use.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/app"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// errUse marks wrong use of the command line.
var errUse error = &spoken{"用法有误", "wrong use"}

// run is main without the process: tests call it.
func run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	asked = languageAsked(args)
	root := &cobra.Command{
		Use: "zhenglian", Short: "证链 — a permissioned-ledger data-sharing node",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	root.SetArgs(args)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return wrong(err) })
	root.PersistentFlags().String("lang", language(), "zh or en")
	root.AddCommand(serverCommands()...)
	root.AddCommand(operateCommands()...)
	root.AddCommand(clientCommands()...)
	root.AddCommand(pushCommands()...)
	root.InitDefaultCompletionCmd() // now, so that it is strict as well
	root.PersistentPreRunE = requiredFlags
	root.InitDefaultHelpCmd()
	if language() == "zh" {
		inChinese(root)
		root.SetUsageTemplate(chineseUsage.Replace(root.UsageTemplate()))
	}
	strict(root)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if errors.Is(err, errTold) {
		return 1
	}
	var e *model.Error
	var said *app.Said
	if errors.As(err, &said) {
		fmt.Fprintf(errOut, "zhenglian: %s\n", strings.Replace(err.Error(), said.En, say(said.Zh, said.En), 1))
	} else if errors.Is(err, app.ErrDown) {
		tell(errOut, "zhenglian: 节点没有运行（%s）\n", "zhenglian: %s\n", err)
	} else if errors.Is(err, app.ErrHalfRestored) {
		tell(errOut, "zhenglian: 该文件夹是中断的恢复留下的，不是节点：请重新执行 zhenglian restore，它会从头开始（%s）\n", "zhenglian: %s\n", err)
	} else if errors.As(err, &e) {
		fmt.Fprintf(errOut, "zhenglian: %s\n", inWords(err, e))
	} else {
		fmt.Fprintf(errOut, "zhenglian: %s\n", err)
	}
	if errors.Is(err, errUse) {
		return 2
	}
	return 1
}
