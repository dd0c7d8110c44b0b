// Command zl-chaincode serves the contract to an organisation's peers as a service ("chaincode as a
// service"): the peers connect to it and send it each proposal.
//
//	zl-chaincode --config zl-chaincode.yaml
//
// The file's keys are those of Config; an example:
//
//	id: zhenglian_1:4f53…                # as the peer's queryinstalled shows it; or CHAINCODE_ID
//	listen: 0.0.0.0:9999                 # or CHAINCODE_SERVER_ADDRESS
//	tls: {cert: server.pem, key: server.key, client_roots: peers-ca.pem}
//	genesis_digest: 8b1a…                # every member configures the same
//
// It stops on SIGTERM or an interrupt: running calls finish first. The exit status is 0 after an orderly
// stop, 1 where that was not possible or the server failed, 2 for wrong use or configuration.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/zhenglian/zhenglian/chaincode/contract"
	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

func main() {
	collectGarbage(os.Getenv)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Getenv, os.Stderr)
	stop()
	os.Exit(code)
}

// memoryLimit is what memory is kept under by collecting more often. The manifests kill the program at 512 MiB:
// the quarter between is for an import's large calls, which may come quicker than they are collected.
const memoryLimit = 384 << 20

// collectGarbage sets what an operator has not set: collecting at a fourfold heap, as a node does, because much is
// allocated and little kept, and the limit.
func collectGarbage(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(300)
	}
	if getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
}

// run is main without the process: tests call it.
func run(ctx context.Context, args []string, getenv func(string) string, errOut io.Writer) int {
	flags := flag.NewFlagSet("zl-chaincode", flag.ContinueOnError)
	flags.SetOutput(errOut)
	file := flags.String("config", "", "configuration `file` (YAML)")
	version := flags.Bool("version", false, "print the build and leave")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *version {
		v, revision := buildOf()
		fmt.Fprintf(errOut, "zl-chaincode %s %s, contract level %d\n", v, revision, contract.MaxLevel)
		return 0
	}
	if *file == "" || flags.NArg() > 0 {
		fmt.Fprintln(errOut, "zl-chaincode: give --config FILE and nothing else")
		return 2
	}
	cfg, err := LoadConfig(*file, getenv)
	if err != nil {
		fmt.Fprintf(errOut, "zl-chaincode: %s\n", err)
		return 2
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		fmt.Fprintf(errOut, "zl-chaincode: log_level: %s\n", err)
		return 2
	}
	log := slog.New(slog.NewJSONHandler(errOut, &slog.HandlerOptions{Level: level}))
	cc, err := newContract(cfg, log)
	if err != nil {
		fmt.Fprintf(errOut, "zl-chaincode: %s\n", err)
		return 2
	}
	s, err := Open(cfg, cc, log)
	if err != nil {
		fmt.Fprintf(errOut, "zl-chaincode: %s\n", err)
		return 2
	}
	if !cfg.Insecure && cfg.TLS.ClientRoots == "" {
		log.Warn("any program that reaches the address may call the contract: give tls.client_roots to admit your peers only")
	}
	if err := s.Serve(ctx); err != nil {
		log.Error("the server ended", "error", err.Error())
		return 1
	}
	return 0
}

// newContract is the contract as every endorser runs it.
func newContract(c *Config, log *slog.Logger) (*contract.Contract, error) {
	genesis, err := digest("genesis_digest", c.GenesisDigest)
	if err != nil {
		return nil, err
	}
	var source model.Digest
	if c.ImportFrom != "" {
		if source, err = digest("import_from", c.ImportFrom); err != nil {
			return nil, err
		}
	}
	return &contract.Contract{
		Name: c.Name, Genesis: genesis, ImportFrom: source,
		Verify: func(alg string, public, message, signature []byte) error {
			return envelope.Verify(envelope.Alg(alg), public, message, signature)
		},
		Trouble: func(cause error) { log.Error("a call failed", "cause", cause.Error()) },
	}, nil
}
