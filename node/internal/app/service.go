package app

import (
	"context"
	"fmt"
	"time"

	"github.com/zhenglian/zhenglian/node/internal/sdnotify"
	"github.com/zhenglian/zhenglian/sdk"
)

// tell tells the service manager, where there is one.
func (n *Node) tell(states ...string) {
	if err := sdnotify.Notify(states...); err != nil {
		n.log.Warn("the service manager could not be told", "error", err)
	}
}

// supervised tells the service manager that the node serves and, until ctx ends, how it is. A node that lost its
// ledger serves all the same: it is no reason to be restarted. What the watchdog waits for is proof that the node
// is not stuck: the locks that every write and read takes can be taken, so a node in which one is never given back
// goes silent and is restarted.
func (n *Node) supervised(ctx context.Context) {
	n.tell(sdnotify.Ready, n.condition())
	every, watchdog := 10*time.Second, sdnotify.Watchdog()
	if watchdog > 0 {
		every = min(every, watchdog/3)
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			states := []string{n.condition()}
			if watchdog > 0 {
				n.outbox.Depth()
				n.records.Snapshot().Release()
				states = append(states, sdnotify.Alive)
			}
			n.tell(states...)
		}
	}
}

// condition is one line on how the node is.
func (n *Node) condition() string {
	text := "serves"
	for _, c := range (health{n}).Components() {
		if c.Status != sdk.OK {
			text += fmt.Sprintf("; %s %s %s", c.Name, c.Status, c.Code)
		}
	}
	return sdnotify.Status(fmt.Sprintf("%s; %d blocks", text, n.records.Height()))
}
