package app

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/node/internal/telemetry"
	"github.com/zhenglian/zhenglian/sdk"
)

// TelemetryConfig says where traces of requests are sent. Left out, nothing is traced or sent.
type TelemetryConfig struct {
	OTLP   string  `yaml:"otlp"`              // the collector (OTLP over HTTP), as https://collector:4318; http on this machine only
	Ratio  float64 `yaml:"ratio,omitempty"`   // of requests that are traced; 0: 0.01
	CAFile string  `yaml:"ca_file,omitempty"` // PEM of the authorities of its TLS certificate; "": the system's
}

const defaultRatio = 0.01

func (c *Config) telemetry() telemetry.Config {
	t := telemetry.Config{URL: c.Telemetry.OTLP, Ratio: c.Telemetry.Ratio, Node: c.Node, Version: Version()}
	if t.Ratio == 0 {
		t.Ratio = defaultRatio
	}
	return t
}

func (c *TelemetryConfig) check() error {
	if c == nil {
		return nil
	}
	t := (&Config{Telemetry: c}).telemetry()
	if err := t.Check(); err != nil {
		return fmt.Errorf("%s: telemetry: %w", ConfigFile, err)
	}
	return nil
}

// openTelemetry starts to trace, where that is configured. It is opened before what it follows.
func (n *Node) openTelemetry() (err error) {
	if n.cfg.Telemetry == nil {
		return nil
	}
	c := n.cfg.telemetry()
	c.Logger = n.log.With("part", "telemetry")
	if file := n.cfg.Telemetry.CAFile; file != "" {
		pem, err := os.ReadFile(n.path(file))
		if err != nil {
			return fmt.Errorf("telemetry: %w", err)
		}
		if c.Roots = x509.NewCertPool(); !c.Roots.AppendCertsFromPEM(pem) {
			return errors.New("telemetry: " + file + ": no certificate in it")
		}
	}
	if n.telemetry, err = telemetry.New(c); err != nil {
		return err
	}
	n.opened(n.telemetry.Close)
	n.metrics.MustRegister(n.telemetry.Collectors()...)
	return nil
}

// traced is what the API is told of tracing, and its way to the ledger with it.
func (n *Node) traced(way httpapi.Intake) (httpapi.Tracer, httpapi.Intake) {
	if n.telemetry == nil {
		return nil, way
	}
	return n.telemetry, following{way, n.telemetry}
}

// following is the way to the ledger of a node that traces.
type following struct {
	httpapi.Intake
	telemetry *telemetry.Telemetry
}

func (f following) Accept(ctx context.Context, s httpapi.Submission) ([]model.OpID, int, error) {
	end := f.telemetry.Accept(ctx, len(s.Drafts))
	ids, index, err := f.Intake.Accept(ctx, s)
	end(err)
	return ids, index, err
}

// telemetryHealth is there where traces are sent. That nobody takes them is no fault of the node.
func (n *Node) telemetryHealth() []sdk.Component {
	if n.telemetry == nil {
		return nil
	}
	c := sdk.Component{Name: "telemetry", Status: sdk.OK}
	if text := n.telemetry.Trouble(); text != "" {
		c.Status, c.Code, c.Detail = sdk.Degraded, model.CodeTargetUnavailable, text
	}
	return []sdk.Component{c}
}
