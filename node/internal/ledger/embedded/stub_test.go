package embedded

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
)

// stubCase tries one method of the stub inside a run of the contract and says what is wrong.
type stubCase func(s shim.ChaincodeStubInterface) error

func expect(what string, got, want any) error {
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("%s: %#v, want %#v", what, got, want)
	}
	return nil
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// named wants an error whose text names the method.
func named(method string, err error) error {
	if err == nil || !strings.HasPrefix(err.Error(), method+":") {
		return fmt.Errorf("error %v does not name %s", err, method)
	}
	return nil
}

func keysOf(it shim.StateQueryIteratorInterface, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	keys := []string{}
	for it.HasNext() {
		kv, err := it.Next()
		if err != nil {
			return nil, err
		}
		if kv.GetNamespace() != testChaincode {
			return nil, fmt.Errorf("namespace %q", kv.GetNamespace())
		}
		keys = append(keys, kv.GetKey()+"="+string(kv.GetValue()))
	}
	if _, err := it.Next(); err == nil {
		return nil, fmt.Errorf("a result after the last")
	}
	return keys, it.Close()
}

func wantKeys(it shim.StateQueryIteratorInterface, err error, want ...string) error {
	got, err := keysOf(it, err)
	if err != nil {
		return err
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("keys %q, want %q", got, want)
	}
	return nil
}

func composite(s shim.ChaincodeStubInterface, objectType string, attributes ...string) string {
	key, err := s.CreateCompositeKey(objectType, attributes)
	if err != nil {
		panic(err)
	}
	return key
}

// stubSetup is the state that the cases find.
func stubSetup(s shim.ChaincodeStubInterface) *peer.Response {
	for key, value := range map[string]string{
		"a1": "1", "a2": "2", "a3": "3", "b1": "4", composite(s, "type", "x", "1"): "5", composite(s, "type", "x", "2"): "6",
		composite(s, "type", "y", "1"): "7", "gone": "8",
	} {
		if err := s.PutState(key, []byte(value)); err != nil {
			return failed("%v", err)
		}
	}
	return success(nil)
}

// stubCases has one case for each method of the interface; TestStub fails when one is missing.
var stubCases = map[string]stubCase{
	"GetArgs": func(s shim.ChaincodeStubInterface) error {
		return expect("args", s.GetArgs(), [][]byte{[]byte("hook"), []byte("GetArgs"), {0xff, 0}})
	},
	"GetStringArgs": func(s shim.ChaincodeStubInterface) error {
		return expect("args", s.GetStringArgs(), []string{"hook", "GetStringArgs", "\xff\x00"})
	},
	"GetFunctionAndParameters": func(s shim.ChaincodeStubInterface) error {
		fn, args := s.GetFunctionAndParameters()
		return first(expect("function", fn, "hook"), expect("parameters", args, []string{"GetFunctionAndParameters", "\xff\x00"}))
	},
	"GetArgsSlice": func(s shim.ChaincodeStubInterface) error {
		b, err := s.GetArgsSlice()
		return first(err, expect("slice", b, []byte("hookGetArgsSlice\xff\x00")))
	},
	"GetTxID": func(s shim.ChaincodeStubInterface) error { return expect("length", len(s.GetTxID()), 64) },
	"GetChannelID": func(s shim.ChaincodeStubInterface) error {
		return expect("channel", s.GetChannelID(), testChannel)
	},
	"InvokeChaincode": func(s shim.ChaincodeStubInterface) error {
		r := s.InvokeChaincode("other", nil, "channel")
		return first(expect("status", r.GetStatus(), int32(500)), named("InvokeChaincode", fmt.Errorf("%s", r.GetMessage())))
	},
	"GetState": func(s shim.ChaincodeStubInterface) error {
		a, err := s.GetState("a1")
		none, err2 := s.GetState("no such key")
		if _, bad := s.GetState("\xff"); bad == nil {
			return fmt.Errorf("a bad key was accepted")
		}
		return first(err, err2, expect("value", a, []byte("1")), expect("absent", none, []byte(nil)))
	},
	"GetMultipleStates": func(s shim.ChaincodeStubInterface) error {
		v, err := s.GetMultipleStates("a2", "no such key", "a1")
		none, err2 := s.GetMultipleStates()
		return first(err, err2, expect("values", v, [][]byte{[]byte("2"), nil, []byte("1")}), expect("nothing", none, [][]byte(nil)))
	},
	"PutState": func(s shim.ChaincodeStubInterface) error {
		value := []byte("new")
		if err := s.PutState("a1", value); err != nil {
			return err
		}
		value[0] = 'X' // the contract may use its buffer again
		seen, err := s.GetState("a1")
		if s.PutState("", value) == nil || s.PutState("\xff", value) == nil {
			return fmt.Errorf("a bad key was accepted")
		}
		return first(err, expect("own write", seen, []byte("1")), s.PutState("emptied", []byte{}))
	},
	"DelState": func(s shim.ChaincodeStubInterface) error {
		err := s.DelState("gone")
		seen, err2 := s.GetState("gone")
		return first(err, err2, expect("own deletion", seen, []byte("8")))
	},
	"GetStateByRange": func(s shim.ChaincodeStubInterface) error {
		if err := s.PutState("a25", []byte("unseen")); err != nil {
			return err
		}
		it, err := s.GetStateByRange("a1", "a3")
		if err := wantKeys(it, err, "a1=1", "a2=2"); err != nil {
			return err
		}
		it, err = s.GetStateByRange("", "")
		if err := wantKeys(it, err, "a1=1", "a2=2", "a3=3", "b1=4", "gone=8"); err != nil {
			return err
		}
		it, err = s.GetStateByRange("x", "a")
		if err := wantKeys(it, err); err != nil {
			return err
		}
		if _, err := s.GetStateByRange("\x00x", ""); err == nil {
			return fmt.Errorf("a composite key as the start was accepted")
		}
		return nil
	},
	"GetStateByRangeWithPagination": func(s shim.ChaincodeStubInterface) error {
		it, m, err := s.GetStateByRangeWithPagination("a1", "b", 2, "")
		if err := wantKeys(it, err, "a1=1", "a2=2"); err != nil {
			return err
		}
		if m.GetBookmark() != "a3" || m.GetFetchedRecordsCount() != 2 {
			return fmt.Errorf("metadata %v", m)
		}
		it, m, err = s.GetStateByRangeWithPagination("a1", "b", 2, m.GetBookmark())
		if err := wantKeys(it, err, "a3=3"); err != nil {
			return err
		}
		if s.PutState("k", []byte("v")) == nil {
			return fmt.Errorf("a write after a page was accepted")
		}
		if _, _, err := s.GetStateByRangeWithPagination("a", "b", 2, "\xff"); err == nil {
			return fmt.Errorf("a bad bookmark was accepted")
		}
		return first(expect("bookmark", m.GetBookmark(), ""), expect("count", m.GetFetchedRecordsCount(), int32(1)))
	},
	"GetStateByPartialCompositeKey": func(s shim.ChaincodeStubInterface) error {
		it, err := s.GetStateByPartialCompositeKey("type", []string{"x"})
		return wantKeys(it, err, composite(s, "type", "x", "1")+"=5", composite(s, "type", "x", "2")+"=6")
	},
	"GetStateByPartialCompositeKeyWithPagination": func(s shim.ChaincodeStubInterface) error {
		it, m, err := s.GetStateByPartialCompositeKeyWithPagination("type", nil, 2, "")
		return first(wantKeys(it, err, composite(s, "type", "x", "1")+"=5", composite(s, "type", "x", "2")+"=6"),
			expect("bookmark", m.GetBookmark(), composite(s, "type", "y", "1")))
	},
	"GetAllStatesCompositeKeyWithPagination": func(s shim.ChaincodeStubInterface) error {
		it, m, err := s.GetAllStatesCompositeKeyWithPagination(10, "")
		return first(wantKeys(it, err, composite(s, "type", "x", "1")+"=5", composite(s, "type", "x", "2")+"=6",
			composite(s, "type", "y", "1")+"=7"), expect("bookmark", m.GetBookmark(), ""))
	},
	"CreateCompositeKey": func(s shim.ChaincodeStubInterface) error {
		key, err := s.CreateCompositeKey("t", []string{"a", "b"})
		if _, bad := s.CreateCompositeKey("t", []string{"a\x00"}); bad == nil {
			return fmt.Errorf("a null character was accepted")
		}
		return first(err, expect("key", key, "\x00t\x00a\x00b\x00"))
	},
	"SplitCompositeKey": func(s shim.ChaincodeStubInterface) error {
		objectType, attributes, err := s.SplitCompositeKey("\x00t\x00a\x00b\x00")
		if _, _, bad := s.SplitCompositeKey("simple"); bad == nil {
			return fmt.Errorf("a simple key was split")
		}
		return first(err, expect("type", objectType, "t"), expect("attributes", attributes, []string{"a", "b"}))
	},
	"GetQueryResult": func(s shim.ChaincodeStubInterface) error {
		_, err := s.GetQueryResult("{}")
		return named("GetQueryResult", err)
	},
	"GetQueryResultWithPagination": func(s shim.ChaincodeStubInterface) error {
		_, _, err := s.GetQueryResultWithPagination("{}", 1, "")
		return named("GetQueryResultWithPagination", err)
	},
	"GetHistoryForKey": func(s shim.ChaincodeStubInterface) error {
		it, err := s.GetHistoryForKey("a1")
		if err != nil {
			return err
		}
		m, err := it.Next()
		if err != nil {
			return err
		}
		if string(m.GetValue()) != "1" || m.GetIsDelete() || len(m.GetTxId()) != 64 || time.Since(m.GetTimestamp().AsTime()) > time.Hour {
			return fmt.Errorf("modification %v", m)
		}
		if _, err := it.Next(); err == nil || it.HasNext() {
			return fmt.Errorf("more history than was written")
		}
		none, err := s.GetHistoryForKey("a") // a prefix of keys is not a key
		return first(err, expect("history of an absent key", none.HasNext(), false), it.Close(), none.Close())
	},
	"SetStateValidationParameter": func(s shim.ChaincodeStubInterface) error {
		return named("SetStateValidationParameter", s.SetStateValidationParameter("k", nil))
	},
	"GetStateValidationParameter": func(s shim.ChaincodeStubInterface) error {
		_, err := s.GetStateValidationParameter("k")
		return named("GetStateValidationParameter", err)
	},
	"GetPrivateData": func(s shim.ChaincodeStubInterface) error {
		_, err := s.GetPrivateData("c", "k")
		return named("GetPrivateData", err)
	},
	"GetMultiplePrivateData": func(s shim.ChaincodeStubInterface) error {
		_, err := s.GetMultiplePrivateData("c", "k")
		return named("GetMultiplePrivateData", err)
	},
	"GetPrivateDataHash": func(s shim.ChaincodeStubInterface) error {
		_, err := s.GetPrivateDataHash("c", "k")
		return named("GetPrivateDataHash", err)
	},
	"PutPrivateData": func(s shim.ChaincodeStubInterface) error {
		return named("PutPrivateData", s.PutPrivateData("c", "k", nil))
	},
	"DelPrivateData": func(s shim.ChaincodeStubInterface) error {
		return named("DelPrivateData", s.DelPrivateData("c", "k"))
	},
	"PurgePrivateData": func(s shim.ChaincodeStubInterface) error {
		return named("PurgePrivateData", s.PurgePrivateData("c", "k"))
	},
	"SetPrivateDataValidationParameter": func(s shim.ChaincodeStubInterface) error {
		return named("SetPrivateDataValidationParameter", s.SetPrivateDataValidationParameter("c", "k", nil))
	},
	"GetPrivateDataValidationParameter": func(s shim.ChaincodeStubInterface) error {
		_, err := s.GetPrivateDataValidationParameter("c", "k")
		return named("GetPrivateDataValidationParameter", err)
	},
	"GetPrivateDataByRange": func(s shim.ChaincodeStubInterface) error {
		_, err := s.GetPrivateDataByRange("c", "a", "b")
		return named("GetPrivateDataByRange", err)
	},
	"GetPrivateDataByPartialCompositeKey": func(s shim.ChaincodeStubInterface) error {
		_, err := s.GetPrivateDataByPartialCompositeKey("c", "t", nil)
		return named("GetPrivateDataByPartialCompositeKey", err)
	},
	"GetPrivateDataQueryResult": func(s shim.ChaincodeStubInterface) error {
		_, err := s.GetPrivateDataQueryResult("c", "{}")
		return named("GetPrivateDataQueryResult", err)
	},
	"GetCreator": func(s shim.ChaincodeStubInterface) error {
		c, err := s.GetCreator()
		return first(err, expect("names the member", bytes.Contains(c, []byte("BeijingMSP")), true))
	},
	"GetTransient": func(s shim.ChaincodeStubInterface) error {
		m, err := s.GetTransient()
		return first(err, expect("transient", m, map[string][]byte{"secret": []byte("not on the ledger")}))
	},
	"GetBinding": func(s shim.ChaincodeStubInterface) error {
		b, err := s.GetBinding()
		p := s.(*stub).sim.proposal
		want := sha256.Sum256(binary.LittleEndian.AppendUint64(slices.Concat(p.signature.GetNonce(), p.signature.GetCreator()), 0))
		return first(err, expect("binding", b, want[:]))
	},
	"GetDecorations": func(s shim.ChaincodeStubInterface) error {
		return expect("decorations", len(s.GetDecorations()), 0)
	},
	"GetSignedProposal": func(s shim.ChaincodeStubInterface) error {
		p, err := s.GetSignedProposal()
		return first(err, expect("carries the arguments", bytes.Contains(p.GetProposalBytes(), []byte("GetSignedProposal")), true))
	},
	"GetTxTimestamp": func(s shim.ChaincodeStubInterface) error {
		ts, err := s.GetTxTimestamp()
		return first(err, expect("recent", time.Since(ts.AsTime()).Abs() < time.Hour, true))
	},
	"SetEvent": func(s shim.ChaincodeStubInterface) error {
		if s.SetEvent("", nil) == nil {
			return fmt.Errorf("an event without a name was accepted")
		}
		return first(s.SetEvent("replaced", nil), s.SetEvent("last", []byte("p")))
	},
	"StartWriteBatch": func(s shim.ChaincodeStubInterface) error {
		s.StartWriteBatch()
		// Written at the end of the transaction.
		return first(s.PutState("batched", []byte("1")), s.PutState("batched", []byte("2")))
	},
	"FinishWriteBatch": func(s shim.ChaincodeStubInterface) error {
		if err := s.FinishWriteBatch(); err != nil { // none was started
			return err
		}
		s.StartWriteBatch()
		if err := first(s.PutState("finished", []byte("1")), s.DelState("a3")); err != nil {
			return err
		}
		seen, err := s.GetState("a3")
		return first(err, expect("own deletion", seen, []byte("3")), s.FinishWriteBatch())
	},
}

// afterwards is the state that a case must leave, "" for absent.
var afterwards = map[string]map[string]string{
	"PutState":         {"a1": "new", "emptied": ""},
	"DelState":         {"gone": ""},
	"GetStateByRange":  {"a25": "unseen"},
	"StartWriteBatch":  {"batched": "2"},
	"FinishWriteBatch": {"finished": "1", "a3": ""},
}

func TestStub(t *testing.T) {
	methods := reflect.TypeFor[shim.ChaincodeStubInterface]()
	for i := range methods.NumMethod() {
		name := methods.Method(i).Name
		t.Run(name, func(t *testing.T) {
			try, ok := stubCases[name]
			if !ok {
				t.Fatal("no case for this method")
			}
			r := newRig(t, func(c *Config) {
				c.Contract = kv{hook: func(s shim.ChaincodeStubInterface) *peer.Response {
					if s.GetStringArgs()[1] == "setup" {
						return stubSetup(s)
					}
					if err := try(s); err != nil {
						return failed("%v", err)
					}
					return success(nil)
				}}
			})
			r.submit("hook", "setup")
			_, err := r.contract().Submit("hook", client.WithBytesArguments([]byte(name), []byte{0xff, 0}),
				client.WithTransient(map[string][]byte{"secret": []byte("not on the ledger")}))
			if err != nil {
				t.Fatalf("%v: %s", err, details(err))
			}
			for key, want := range afterwards[name] {
				if got := r.get(key); got != want {
					t.Errorf("afterwards %s = %q, want %q", key, got, want)
				}
			}
			raw, err := r.l.store.rawBlock(2)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(raw, []byte("not on the ledger")) {
				t.Error("transient data stands in the block")
			}
			if name == "SetEvent" {
				txs, err := r.l.transactions(2)
				if err != nil || txs[0].Event.GetEventName() != "last" || txs[0].Event.GetTxId() != txs[0].ID || txs[0].Event.GetChaincodeId() != testChaincode {
					t.Errorf("event %v %v", txs[0].Event, err)
				}
			}
			r.close()
			mustBeSound(t, r.dir)
		})
	}
	if len(stubCases) != methods.NumMethod() {
		t.Errorf("%d cases for %d methods", len(stubCases), methods.NumMethod())
	}
}

func TestHistory(t *testing.T) {
	r := newRig(t, nil)
	r.submit("put", "k", "1")
	r.submit("put", "k", "2", "kk", "other")
	r.submit("del", "k")
	r.commitTogether([]*client.Transaction{r.endorse("put", "k", "3"), r.endorse("put", "k", "4")})
	want := `["4","3","deleted","2","1"]`
	if got, err := r.contract().EvaluateTransaction("history", "k"); err != nil || string(got) != want {
		t.Errorf("history %s %v, want %s", got, err, want)
	}
}

// TestRangeBatches stops reading a long range early: what was read is what Fabric's peer would have read by then.
func TestRangeBatches(t *testing.T) {
	for _, tt := range []struct {
		take int    // results the contract takes
		last string // last key that counts as read
	}{{0, "k0100"}, {1, "k0100"}, {99, "k0100"}, {100, "k0200"}, {250, "k0299"}} {
		t.Run(fmt.Sprint(tt.take), func(t *testing.T) {
			r := newRig(t, func(c *Config) {
				c.Contract = kv{hook: func(s shim.ChaincodeStubInterface) *peer.Response {
					it, err := s.GetStateByRange("k", "l")
					if err != nil {
						return failed("%v", err)
					}
					for range tt.take {
						if _, err := it.Next(); err != nil {
							return failed("%v", err)
						}
					}
					return success(nil)
				}}
			})
			args := []string{"put"}
			for i := range 300 {
				args = append(args, fmt.Sprintf("k%04d", i), "v")
			}
			r.submit(args...)
			tx, err := r.l.accept(r.signed(r.endorse("hook")))
			if err != nil {
				t.Fatal(err)
			}
			info := tx.Ranges[0].Info
			if tt.take == 250 {
				if !info.GetItrExhausted() || info.GetEndKey() != "l" {
					t.Errorf("range %v", info)
				}
			} else if info.GetItrExhausted() || info.GetEndKey() != tt.last {
				t.Errorf("range ends at %q, want %q", info.GetEndKey(), tt.last)
			}
			if info.GetReadsMerkleHashes() == nil {
				t.Error("a long range is not hashed")
			}
		})
	}
}
