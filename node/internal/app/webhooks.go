package app

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/backup"
	"github.com/zhenglian/zhenglian/node/internal/webhook"
	"github.com/zhenglian/zhenglian/sdk"
)

// WebhookConfig says how events are sent to other systems. `zhenglian webhooks` keeps who is told of what.
type WebhookConfig struct {
	Networks []string      `yaml:"networks,omitempty"`  // private networks with receivers, as 10.20.0.0/16; others are never spoken to
	TLSRoots string        `yaml:"tls_roots,omitempty"` // PEM of the receivers' authorities; default: the system's
	GiveUp   time.Duration `yaml:"give_up,omitempty"`   // how long an event is tried; default 24h
}

func (c *WebhookConfig) check() error {
	if _, err := webhook.Networks(c.Networks); err != nil {
		return fmt.Errorf("%s: webhooks: %w", ConfigFile, err)
	}
	if c.GiveUp < 0 || c.GiveUp > 30*24*time.Hour {
		return fmt.Errorf("%s: webhooks: give_up: at most 720h", ConfigFile)
	}
	return nil
}

// webhookDir is the folder of subscriptions in a node's folder.
const webhookDir = "webhooks"

// Webhooks opens a node's subscriptions. The node may be running: it takes up changes within a second.
func Webhooks(cfg *Config) (*webhook.Store, error) { return webhook.OpenStore(cfg.path(webhookDir)) }

// openWebhooks prepares what tells other systems.
func (n *Node) openWebhooks() error {
	store, err := Webhooks(n.cfg)
	if err != nil {
		return err
	}
	n.keepFirst(webhookDir, func(t *backup.Writer) error { return addTree(t, n.cfg.dir, webhookDir) }) // rather an event twice than not at all
	c := webhook.Config{GiveUp: n.cfg.Webhooks.GiveUp, Logger: n.log.With("part", "webhooks")}
	if c.Networks, err = webhook.Networks(n.cfg.Webhooks.Networks); err != nil {
		return err
	}
	if n.cfg.Webhooks.TLSRoots != "" {
		pem, err := os.ReadFile(n.path(n.cfg.Webhooks.TLSRoots))
		if err != nil {
			return fmt.Errorf("webhooks: %w", err)
		}
		c.Roots = x509.NewCertPool()
		if !c.Roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("webhooks: %s: no certificate in it", n.cfg.Webhooks.TLSRoots)
		}
	}
	n.webhooks = webhook.New(store, log{n.records}, c)
	n.metrics.MustRegister(n.webhooks.Collectors()...)
	return nil
}

// runWebhooks runs the webhooks until ctx ends.
func (n *Node) runWebhooks(ctx context.Context) (ended <-chan struct{}) {
	done := make(chan struct{})
	go func() { defer close(done); n.webhooks.Run(ctx) }()
	return done
}

// webhookHealth is there while a receiver is not reached, or events were given up.
func (n *Node) webhookHealth() []sdk.Component {
	trouble := n.webhooks.Trouble()
	if len(trouble) == 0 {
		return nil
	}
	return []sdk.Component{{Name: "webhooks", Status: sdk.Degraded, Code: model.CodeTargetUnavailable, Detail: brief(strings.Join(trouble, "; "))}}
}
