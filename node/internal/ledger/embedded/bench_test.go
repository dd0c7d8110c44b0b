package embedded

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

// batchContract does what a batch of record operations does: the records travel in the arguments, and one page of
// headers is read and written for every 16 of them.
func batchContract(s shim.ChaincodeStubInterface) *peer.Response {
	args := s.GetStringArgs()
	page := strings.Repeat("h", 16*80)
	for i := 3; i < len(args); i += 16 {
		key := fmt.Sprintf("page/%s/%d", args[2], i/16)
		if _, err := s.GetState(key); err != nil {
			return failed("%v", err)
		}
		if err := s.PutState(key, []byte(page)); err != nil {
			return failed("%v", err)
		}
	}
	return success(nil)
}

// BenchmarkBatch measures endorse, submit and commit of transactions of n one-kilobyte records with 8 in flight,
// the client's work included.
func BenchmarkBatch(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			r := newRig(b, func(c *Config) {
				c.Contract = kv{hook: func(s shim.ChaincodeStubInterface) *peer.Response { return batchContract(s) }}
			})
			record := strings.Repeat("r", 1024)
			args := make([]string, 2, n+2)
			for range n {
				args = append(args, record)
			}
			contract := r.contract()
			var next atomic.Int64
			b.SetParallelism(4) // 4 × 2 processors
			b.SetBytes(int64(n) * 1024)
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				mine := append([]string(nil), args...)
				for pb.Next() {
					mine[0], mine[1] = "", fmt.Sprint(next.Add(1))
					p, err := contract.NewProposal("hook", client.WithArguments(mine...))
					if err != nil {
						b.Error(err)
						return
					}
					tx, err := p.Endorse()
					if err != nil {
						b.Error(err)
						return
					}
					c, err := tx.Submit()
					if err != nil {
						b.Error(err)
						return
					}
					if s, err := c.Status(); err != nil || !s.Successful {
						b.Errorf("status %v: %v", s, err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "records/s")
			b.ReportMetric(float64(r.l.Height()), "blocks")
		})
	}
}

// BenchmarkSingle measures one small write after another on an idle ledger, the client's work included.
func BenchmarkSingle(b *testing.B) {
	r := newRig(b, nil)
	contract := r.contract()
	b.ResetTimer()
	for i := range b.N {
		if _, err := contract.SubmitTransaction("put", fmt.Sprint("k", i), "v"); err != nil {
			b.Fatal(err)
		}
	}
}
