package embedded

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/hyperledger/fabric-chaincode-go/v2/shim"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// stub is what the contract sees of one simulation. It behaves as Fabric's does over a goleveldb state database:
// reads never see the transaction's own writes, and what that database or this ledger does not offer (rich queries,
// private data, state-based endorsement, calling another contract) answers an error that names the method.
type stub struct {
	sim   *simulation
	batch map[string][]byte // writes since StartWriteBatch, nil outside a batch
}

var _ shim.ChaincodeStubInterface = (*stub)(nil)

// unsupported is the error of a method that this ledger does not offer.
func unsupported(method, what string) error {
	return fmt.Errorf("%s: %s not supported on the embedded ledger", method, what)
}

const (
	privateData     = "private data is"
	keyEndorsement  = "state-based endorsement is"
	maxUnicodeRune  = utf8.MaxRune
	minUnicodeRune  = 0
	compositePrefix = "\x00"
	firstSimpleKey  = "\x01" // stands for an empty start key, so that ranges leave composite keys out
)

// The proposal.

func (s *stub) GetArgs() [][]byte { return s.sim.proposal.args }

func (s *stub) GetStringArgs() []string {
	out := make([]string, 0, len(s.sim.proposal.args))
	for _, a := range s.sim.proposal.args {
		out = append(out, string(a))
	}
	return out
}

func (s *stub) GetFunctionAndParameters() (string, []string) {
	all := s.GetStringArgs()
	if len(all) == 0 {
		return "", []string{}
	}
	return all[0], all[1:]
}

func (s *stub) GetArgsSlice() ([]byte, error) { return slices.Concat(s.sim.proposal.args...), nil }

func (s *stub) GetTxID() string { return s.sim.proposal.txID }

func (s *stub) GetChannelID() string { return s.sim.proposal.channel.GetChannelId() }

func (s *stub) GetCreator() ([]byte, error) { return s.sim.proposal.signature.GetCreator(), nil }

func (s *stub) GetTransient() (map[string][]byte, error) { return s.sim.proposal.transient, nil }

// GetBinding is the digest over nonce, creator and epoch.
func (s *stub) GetBinding() ([]byte, error) {
	p := s.sim.proposal
	h := sha256.New()
	h.Write(p.signature.GetNonce())
	h.Write(p.signature.GetCreator())
	h.Write(binary.LittleEndian.AppendUint64(nil, p.channel.GetEpoch()))
	return h.Sum(nil), nil
}

// GetDecorations is empty: nothing decorates proposals here, as on a peer without decorators.
func (s *stub) GetDecorations() map[string][]byte { return nil }

func (s *stub) GetSignedProposal() (*peer.SignedProposal, error) { return s.sim.proposal.signed, nil }

func (s *stub) GetTxTimestamp() (*timestamppb.Timestamp, error) {
	return s.sim.proposal.channel.GetTimestamp(), nil
}

func (s *stub) SetEvent(name string, payload []byte) error {
	if name == "" {
		return errors.New("event name can not be empty string")
	}
	if !utf8.ValidString(name) {
		return fmt.Errorf("event name [%x] is not a valid utf8 string", name)
	}
	s.sim.event = &peer.ChaincodeEvent{
		ChaincodeId: s.sim.set.namespace, TxId: s.sim.proposal.txID, EventName: name, Payload: payload,
	}
	return nil
}

func (s *stub) InvokeChaincode(name string, _ [][]byte, channel string) *peer.Response {
	if channel != "" {
		name += "/" + channel
	}
	return &peer.Response{Status: http.StatusInternalServerError,
		Message: unsupported("InvokeChaincode", fmt.Sprintf("calling chaincode %q is", name)).Error()}
}

// State.

func (s *stub) GetState(key string) ([]byte, error) { return s.sim.get(key) }

func (s *stub) GetMultipleStates(keys ...string) ([][]byte, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	out := make([][]byte, len(keys))
	for i, key := range keys {
		value, err := s.sim.get(key)
		if err != nil {
			return nil, err
		}
		out[i] = value
	}
	return out, nil
}

func (s *stub) PutState(key string, value []byte) error {
	if key == "" {
		return errors.New("key must not be an empty string")
	}
	return s.write(key, slices.Clone(value))
}

func (s *stub) DelState(key string) error { return s.write(key, nil) }

func (s *stub) write(key string, value []byte) error {
	if !utf8.ValidString(key) {
		return fmt.Errorf("not a valid utf8 string: [%x]", key)
	}
	if s.batch != nil {
		s.batch[key] = value
		return nil
	}
	return s.sim.put(key, value)
}

// StartWriteBatch holds writes back until FinishWriteBatch or the end of the transaction. A write that would be
// refused is refused then.
func (s *stub) StartWriteBatch() {
	if s.batch == nil {
		s.batch = map[string][]byte{}
	}
}

func (s *stub) FinishWriteBatch() error {
	return s.flush()
}

// flush makes the writes held back by StartWriteBatch.
func (s *stub) flush() error {
	batch := s.batch
	s.batch = nil
	for _, key := range slices.Sorted(maps.Keys(batch)) {
		if err := s.sim.put(key, batch[key]); err != nil {
			return err
		}
	}
	return nil
}

// Composite keys.

func (s *stub) CreateCompositeKey(objectType string, attributes []string) (string, error) {
	return shim.CreateCompositeKey(objectType, attributes)
}

// SplitCompositeKey answers an error where Fabric's shim indexes out of range and panics: for a key that is not a
// composite one.
func (s *stub) SplitCompositeKey(key string) (string, []string, error) {
	var parts []string
	from := 1
	for i := 1; i < len(key); i++ {
		if key[i] == minUnicodeRune {
			parts = append(parts, key[from:i])
			from = i + 1
		}
	}
	if len(parts) == 0 {
		return "", nil, fmt.Errorf("not a composite key: [%x]", key)
	}
	return parts[0], parts[1:], nil
}

// Ranges.

func checkSimpleKeys(keys ...string) error {
	for _, key := range keys {
		if len(key) > 0 && key[0] == compositePrefix[0] {
			return fmt.Errorf("first character of the key [%s] contains a null character which is not allowed", key)
		}
		if !utf8.ValidString(key) {
			return fmt.Errorf("not a valid utf8 string: [%x]", key)
		}
	}
	return nil
}

func simpleRange(start, end string) (string, string, error) {
	if start == "" {
		start = firstSimpleKey
	}
	return start, end, checkSimpleKeys(start, end)
}

func compositeRange(objectType string, attributes []string) (string, string, error) {
	prefix, err := shim.CreateCompositeKey(objectType, attributes)
	return prefix, prefix + string(maxUnicodeRune), err
}

func (s *stub) GetStateByRange(start, end string) (shim.StateQueryIteratorInterface, error) {
	start, end, err := simpleRange(start, end)
	if err != nil {
		return nil, err
	}
	return s.all(start, end)
}

func (s *stub) GetStateByPartialCompositeKey(objectType string, attributes []string) (shim.StateQueryIteratorInterface, error) {
	start, end, err := compositeRange(objectType, attributes)
	if err != nil {
		return nil, err
	}
	return s.all(start, end)
}

func (s *stub) GetStateByRangeWithPagination(start, end string, size int32, bookmark string) (shim.StateQueryIteratorInterface, *peer.QueryResponseMetadata, error) {
	start, end, err := simpleRange(start, end)
	if err != nil {
		return nil, nil, err
	}
	return s.page(start, end, size, bookmark)
}

func (s *stub) GetStateByPartialCompositeKeyWithPagination(objectType string, attributes []string, size int32, bookmark string) (shim.StateQueryIteratorInterface, *peer.QueryResponseMetadata, error) {
	start, end, err := compositeRange(objectType, attributes)
	if err != nil {
		return nil, nil, err
	}
	return s.page(start, end, size, bookmark)
}

func (s *stub) GetAllStatesCompositeKeyWithPagination(size int32, bookmark string) (shim.StateQueryIteratorInterface, *peer.QueryResponseMetadata, error) {
	return s.page(compositePrefix, compositePrefix+string(maxUnicodeRune), size, bookmark)
}

func (s *stub) GetHistoryForKey(key string) (shim.HistoryQueryIteratorInterface, error) {
	h, err := s.sim.history(key)
	if err != nil {
		return nil, err
	}
	if err := h.advance(); err != nil {
		return nil, err
	}
	return h, nil
}

// What a goleveldb state database does not offer in Fabric either.

func (s *stub) GetQueryResult(string) (shim.StateQueryIteratorInterface, error) {
	return nil, errors.New("GetQueryResult: ExecuteQuery not supported for leveldb")
}

func (s *stub) GetQueryResultWithPagination(string, int32, string) (shim.StateQueryIteratorInterface, *peer.QueryResponseMetadata, error) {
	return nil, nil, errors.New("GetQueryResultWithPagination: ExecuteQueryWithMetadata not supported for leveldb")
}

// What this ledger leaves out.

func (s *stub) SetStateValidationParameter(string, []byte) error {
	return unsupported("SetStateValidationParameter", keyEndorsement)
}

func (s *stub) GetStateValidationParameter(string) ([]byte, error) {
	return nil, unsupported("GetStateValidationParameter", keyEndorsement)
}

func (s *stub) GetPrivateData(string, string) ([]byte, error) {
	return nil, unsupported("GetPrivateData", privateData)
}

func (s *stub) GetMultiplePrivateData(string, ...string) ([][]byte, error) {
	return nil, unsupported("GetMultiplePrivateData", privateData)
}

func (s *stub) GetPrivateDataHash(string, string) ([]byte, error) {
	return nil, unsupported("GetPrivateDataHash", privateData)
}

func (s *stub) PutPrivateData(string, string, []byte) error {
	return unsupported("PutPrivateData", privateData)
}

func (s *stub) DelPrivateData(string, string) error {
	return unsupported("DelPrivateData", privateData)
}

func (s *stub) PurgePrivateData(string, string) error {
	return unsupported("PurgePrivateData", privateData)
}

func (s *stub) SetPrivateDataValidationParameter(string, string, []byte) error {
	return unsupported("SetPrivateDataValidationParameter", privateData)
}

func (s *stub) GetPrivateDataValidationParameter(string, string) ([]byte, error) {
	return nil, unsupported("GetPrivateDataValidationParameter", privateData)
}

func (s *stub) GetPrivateDataByRange(string, string, string) (shim.StateQueryIteratorInterface, error) {
	return nil, unsupported("GetPrivateDataByRange", privateData)
}

func (s *stub) GetPrivateDataByPartialCompositeKey(string, string, []string) (shim.StateQueryIteratorInterface, error) {
	return nil, unsupported("GetPrivateDataByPartialCompositeKey", privateData)
}

func (s *stub) GetPrivateDataQueryResult(string, string) (shim.StateQueryIteratorInterface, error) {
	return nil, unsupported("GetPrivateDataQueryResult", privateData)
}
