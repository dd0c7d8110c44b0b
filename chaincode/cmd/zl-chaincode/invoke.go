package main

import (
	"encoding/json"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// watched is the contract as peers meet it: measured, logged without its arguments, and still there after a
// panic. While the server is stopping, new calls are refused; the gateway then asks another peer.
type watched struct {
	shim.Chaincode
	metrics  *metrics
	log      *slog.Logger
	stopping atomic.Bool
}

// Invoke answers a proposal.
func (w *watched) Invoke(stub shim.ChaincodeStubInterface) (r *peer.Response) {
	function := functionLabel(stub.GetArgs())
	if w.stopping.Load() {
		r = shim.Error(string(model.CodeShuttingDown))
		w.metrics.invocations.WithLabelValues(function, string(model.CodeShuttingDown)).Inc()
		return r
	}
	start := time.Now()
	defer func() {
		if p := recover(); p != nil {
			w.metrics.panics.Inc()
			w.log.Error("the contract panicked; the call was answered with an internal error",
				"function", function, "channel", stub.GetChannelID(), "tx", stub.GetTxID(), "panic", describe(p), "stack", string(debug.Stack()))
			r = shim.Error(string(model.CodeInternal))
		}
		w.observe(stub, function, r, time.Since(start))
	}()
	return w.Chaincode.Invoke(stub)
}

// describe says what a panic was without a value that might hold an argument.
func describe(p any) string {
	if e, ok := p.(runtime.Error); ok {
		return e.Error()
	}
	return "a panic of the program's own"
}

func (w *watched) observe(stub shim.ChaincodeStubInterface, function string, r *peer.Response, took time.Duration) {
	code := "ok"
	if r.GetStatus() != shim.OK {
		code = codeLabel(model.Code(r.GetMessage()))
	} else if function != model.FunctionGet {
		var answer model.Response
		if json.Unmarshal(r.GetPayload(), &answer) == nil {
			w.metrics.operations.WithLabelValues(function).Observe(float64(answer.Accepted + len(answer.Refused)))
			if len(answer.Refused) > 0 {
				code = "refused"
			}
			for _, x := range answer.Refused {
				w.metrics.refusals.WithLabelValues(codeLabel(x.Code)).Inc()
			}
		}
	}
	w.metrics.invocations.WithLabelValues(function, code).Inc()
	w.metrics.seconds.WithLabelValues(function).Observe(took.Seconds())
	w.log.Debug("call", "function", function, "code", code, "channel", stub.GetChannelID(), "tx", stub.GetTxID(), "seconds", took.Seconds())
}
