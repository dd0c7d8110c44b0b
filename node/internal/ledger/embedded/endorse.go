package embedded

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
)

// chaincodeVersion stands in every endorsement. The contract's own level is on the ledger, not here.
const chaincodeVersion = "1"

// service is the gateway.Gateway service of a ledger.
type service struct {
	gateway.UnimplementedGatewayServer
	*Ledger
}

// Endorse runs the contract over a proposal and signs what it did. Errors have the codes, texts and details of
// Fabric's gateway, so that its clients show them alike: Aborted with an ErrorDetail for everything that an
// endorsing peer would refuse, InvalidArgument for what the gateway cannot read.
func (s service) Endorse(ctx context.Context, request *gateway.EndorseRequest) (*gateway.EndorseResponse, error) {
	const refusal = "failed to endorse transaction, see attached details for more info"
	if err := s.Err(); err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	for _, org := range request.GetEndorsingOrganizations() {
		if org != s.cfg.Identity.MspID() {
			return nil, status.Errorf(codes.Unavailable, "failed to find any endorsing peers for org(s): %s", org)
		}
	}
	if len(request.GetProposedTransaction().GetProposalBytes()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "the proposed transaction must contain a signed proposal")
	}
	p, err := s.unpack(request.GetProposedTransaction())
	if p == nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err == nil {
		err = s.mayPropose(p, request.GetTransactionId(), request.GetChannelId())
	}
	if err != nil {
		return nil, s.refuse(codes.Aborted, refusal, err.Error())
	}
	out, err := s.simulate(ctx, p)
	if err != nil {
		return nil, s.simulationError(err, codes.Aborted, refusal)
	}
	if message := failure(out.response); message != "" {
		return nil, s.refuse(codes.Aborted, refusal, message)
	}
	env, err := s.prepare(p, out)
	if err != nil {
		return nil, s.refuse(codes.Aborted, refusal, err.Error())
	}
	return &gateway.EndorseResponse{PreparedTransaction: env}, nil
}

// mayPropose checks what an endorsing peer checks before it runs the contract.
func (l *Ledger) mayPropose(p *proposal, txID, channel string) error {
	if txID != "" && txID != p.txID || channel != "" && channel != l.channel.ID {
		return errors.New("the request and its proposal disagree about transaction or channel")
	}
	if err := l.admit(p); err != nil {
		return err
	}
	known, err := l.store.known(p.txID)
	if err != nil {
		return err
	}
	if known {
		return fmt.Errorf("duplicate transaction found [%s]", p.txID)
	}
	return nil
}

// prepare makes the transaction that the client is to sign, as Fabric's gateway does.
func (l *Ledger) prepare(p *proposal, out *outcome) (*common.Envelope, error) {
	response := marshal(&peer.ProposalResponsePayload{
		ProposalHash: p.hash,
		Extension: marshal(&peer.ChaincodeAction{
			Results: out.rwset, Events: out.event, Response: out.response,
			ChaincodeId: &peer.ChaincodeID{Name: l.cfg.Chaincode, Version: chaincodeVersion},
		}),
	})
	endorser := l.cfg.Identity.Serialized()
	sig, err := l.cfg.Identity.Sign(response, endorser)
	if err != nil {
		return nil, err
	}
	action := marshal(&peer.ChaincodeActionPayload{
		ChaincodeProposalPayload: p.payload,
		Action: &peer.ChaincodeEndorsedAction{
			ProposalResponsePayload: response,
			Endorsements:            []*peer.Endorsement{{Endorser: endorser, Signature: sig}},
		},
	})
	tx := marshal(&peer.Transaction{Actions: []*peer.TransactionAction{{Header: p.header.GetSignatureHeader(), Payload: action}}})
	return &common.Envelope{Payload: marshal(&common.Payload{Header: p.header, Data: tx})}, nil
}

// Evaluate runs the contract over a proposal and returns its answer.
func (s service) Evaluate(ctx context.Context, request *gateway.EvaluateRequest) (*gateway.EvaluateResponse, error) {
	const refusal = "evaluate call to endorser returned error: "
	for _, org := range request.GetTargetOrganizations() {
		if org != s.cfg.Identity.MspID() {
			return nil, status.Errorf(codes.Unavailable, "no endorsing peers found for org(s): %s", org)
		}
	}
	p, err := s.unpack(request.GetProposedTransaction())
	if p == nil {
		return nil, status.Errorf(codes.InvalidArgument, "failed to unpack transaction proposal: %s", err)
	}
	if err == nil {
		err = s.mayPropose(p, request.GetTransactionId(), request.GetChannelId())
	}
	if err != nil {
		return nil, s.refuse(codes.FailedPrecondition, refusal+err.Error(), err.Error())
	}
	out, err := s.simulate(ctx, p)
	if err != nil {
		return nil, s.simulationError(err, codes.Aborted, refusal+err.Error())
	}
	if message := failure(out.response); message != "" {
		return nil, s.refuse(codes.Unknown, refusal+message, message)
	}
	return &gateway.EvaluateResponse{Result: out.response}, nil
}

// failure is the text of an answer by which the contract refuses, or empty.
func failure(r *peer.Response) string {
	if r.GetStatus() >= 200 && r.GetStatus() < 400 {
		return ""
	}
	return fmt.Sprintf("chaincode response %d, %s", r.GetStatus(), strings.ToValidUTF8(r.GetMessage(), "\uFFFD"))
}

// simulationError is the answer when the contract gave none.
func (l *Ledger) simulationError(err error, code codes.Code, message string) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return status.FromContextError(err).Err()
	}
	return l.refuse(code, message, "error in simulation: "+err.Error())
}

// refuse is an error with the detail that Fabric's gateway attaches.
func (l *Ledger) refuse(code codes.Code, message, detail string) error {
	return withDetail(code, message, &gateway.ErrorDetail{
		Address: l.address(), MspId: l.cfg.Identity.MspID(), Message: strings.ToValidUTF8(detail, "\uFFFD"),
	})
}

func withDetail(code codes.Code, message string, detail proto.Message) error {
	st, err := status.New(code, strings.ToValidUTF8(message, "\uFFFD")).WithDetails(protoadapt.MessageV1Of(detail))
	if err != nil {
		return status.Error(code, message)
	}
	return st.Err()
}
