package e2e

import (
	"context"
	"crypto/sha256"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"

	"github.com/zhenglian/zhenglian/network/fabric"
)

// upgrade rolls a new version of the contract through while two nodes write and all four are read: no read fails, and
// every write comes through.
func upgrade(t *testing.T, c *consortium) {
	program, err := contractProgram()
	if err != nil {
		t.Fatal(err)
	}
	l := c.load()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var reads, failed atomic.Int64
	var readers sync.WaitGroup
	for _, name := range memberNames {
		n := c.nodes[name]
		readers.Go(func() {
			for ctx.Err() == nil {
				a, err := n.send(context.Background(), http.MethodGet, n.url+"/v1/registry/organisations?limit=10", n.keys["auditor"], nil)
				reads.Add(1)
				if err != nil || a.status != http.StatusOK {
					failed.Add(1)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	began, before := time.Now(), l.b.accepted()
	if err := c.fabric.Deploy(background(t), fabric.Deployment{Name: fabric.Contract, Version: "2", Policy: c.fabric.Spec().Policy, Binary: program}); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	during := l.b.accepted() - before
	took2 := l.resumes(time.Now(), "beijing")
	cancel()
	readers.Wait()
	if failed.Load() > 0 {
		t.Errorf("%d of %d reads failed", failed.Load(), reads.Load())
	}
	if d, err := c.fabric.Peer("customs").Definition(background(t), fabric.Contract); err != nil || d.Version != "2" {
		t.Errorf("the definition is %+v %v", d, err)
	}
	t.Logf("version 2 was rolled out in %v: %d reads, none failed; %d requests were accepted meanwhile, the first write after it took %v",
		took.Round(time.Millisecond), reads.Load(), during, took2)
	l.settle()
}

// dataHash is Fabric's digest of a block's transactions.
func dataHash(d *common.BlockData) []byte {
	h := sha256.New()
	for _, b := range d.GetData() {
		h.Write(b)
	}
	return h.Sum(nil)
}
