package embedded

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that this one extends
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// rawMessage is an encoded protobuf message in pieces. Blocks go to readers as they are stored, without being
// decoded, encoded or copied for each reader.
type rawMessage [][]byte

// rawCodec is gRPC's protobuf codec that also takes rawMessage.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	raw, ok := v.(rawMessage)
	if !ok {
		return encoding.GetCodecV2("proto").Marshal(v)
	}
	out := make(mem.BufferSlice, len(raw))
	for i, piece := range raw {
		out[i] = mem.SliceBuffer(piece)
	}
	return out, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	return encoding.GetCodecV2("proto").Unmarshal(data, v)
}

// Field numbers of the messages that wrap a block.
const (
	deliverResponseBlock       protowire.Number = 2 // DeliverResponse.block
	deliverResponsePrivateData protowire.Number = 4 // DeliverResponse.block_and_private_data
	blockAndPrivateDataBlock   protowire.Number = 1 // BlockAndPrivateData.block
)

// fieldHeader is what precedes an embedded message of n bytes.
func fieldHeader(field protowire.Number, n int) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.BytesType), uint64(n))
}

func rawDeliverBlock(block []byte) rawMessage {
	return rawMessage{fieldHeader(deliverResponseBlock, len(block)), block}
}

func rawDeliverPrivateData(block []byte) rawMessage {
	inner := fieldHeader(blockAndPrivateDataBlock, len(block))
	return rawMessage{append(fieldHeader(deliverResponsePrivateData, len(inner)+len(block)), inner...), block}
}
