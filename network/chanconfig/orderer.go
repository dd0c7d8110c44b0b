package chanconfig

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"github.com/hyperledger/fabric-protos-go-apiv2/orderer/etcdraft"
	"google.golang.org/protobuf/proto"
)

// blockValidation is the policy that a block's signatures must meet.
const blockValidation = "BlockValidation"

// leastBFT orderers bear one that fails or lies; fewer bear none.
const leastBFT = 4

// Orderer describes an orderer that enters.
type Orderer struct {
	MSP      string // the organisation that runs it: a member, or one that orders already
	Address  string // host:port by which other orderers, peers and clients reach it
	TLS      []byte // its TLS certificate, PEM: the others know it by this
	Identity []byte // the certificate that it signs blocks with, PEM; for BFT only, nil otherwise
}

// AddOrderer takes an orderer in, and its organisation among those that order if this is its first. One orderer an
// update: Fabric takes no more. It counts for the quorum from then on, whether it runs already or not.
func (c *Config) AddOrderer(o Orderer) error {
	s, err := c.ordering()
	if err != nil {
		return err
	}
	host, port, err := address(o.Address)
	if err != nil {
		return err
	}
	if s.at(o.Address) != nil {
		return fmt.Errorf("the channel has an orderer at %s already: set-orderer-cert exchanges its certificate", o.Address)
	}
	switch bft := s.bft(); {
	case bft && o.Identity == nil:
		return errors.New("BFT knows orderers by the certificate that they sign with: give it as well")
	case !bft && o.Identity != nil:
		return errors.New("the certificate that it signs with is for BFT only: Raft knows orderers by their TLS certificates")
	}
	org, entered, err := c.orders(o.MSP)
	if err != nil {
		return err
	}
	var conf msp.MSPConfig
	var of msp.FabricMSPConfig
	if err := errors.Join(proto.Unmarshal(org.GetValues()["MSP"].GetValue(), &conf), proto.Unmarshal(conf.GetConfig(), &of)); err != nil {
		return err
	}
	key, err := issued(o.TLS, of.GetTlsRootCerts(), of.GetTlsIntermediateCerts())
	if err != nil {
		return fmt.Errorf("TLS certificate of %s: %w", o.MSP, err)
	}
	for _, other := range s.consenters {
		if known, err := publicKey(other.GetServerTlsCert()); err == nil && bytes.Equal(known, key) {
			return fmt.Errorf("this TLS certificate's key is that of the orderer at %s", place(other))
		}
	}
	if o.Identity != nil {
		if _, err := issued(o.Identity, of.GetRootCerts(), of.GetIntermediateCerts()); err != nil {
			return fmt.Errorf("signing certificate of %s: %w", o.MSP, err)
		}
	}
	made := &common.Consenter{Host: host, Port: port, ClientTlsCert: o.TLS, ServerTlsCert: o.TLS}
	if s.bft() {
		made.MspId, made.Identity, made.Id = o.MSP, o.Identity, 1
		for _, other := range s.consenters {
			made.Id = max(made.Id, other.GetId()+1)
		}
	}
	if entered && !s.bft() {
		if err := s.name(o.MSP); err != nil {
			return err
		}
	}
	if err := setEndpoints(org, append(endpoints(org), o.Address)); err != nil {
		return err
	}
	if s.group.Groups == nil {
		s.group.Groups = map[string]*common.ConfigGroup{}
	}
	s.group.Groups[o.MSP] = org
	s.consenters = append(s.consenters, made)
	return s.save()
}

// RemoveOrderer takes the orderer at an address out, and its organisation from among those that order if it was its
// last. Refused where nobody would be left, and under BFT where fewer than four would.
func (c *Config) RemoveOrderer(at string) error {
	s, err := c.ordering()
	if err != nil {
		return err
	}
	gone := s.at(at)
	if gone == nil {
		return s.nobody(at)
	}
	switch n := len(s.consenters); {
	case n == 1:
		return errors.New("the last orderer cannot leave: nothing could be written any more, this change neither")
	case s.bft() && n <= leastBFT:
		return fmt.Errorf("BFT with %d orderers bears none that fails: take another in first (add-orderer)", n-1)
	}
	owner := s.owner(gone)
	org := s.group.GetGroups()[owner]
	if org == nil {
		return fmt.Errorf("no organisation has %s among its orderers' endpoints: whose it is cannot be told", at)
	}
	s.consenters = slices.DeleteFunc(s.consenters, func(o *common.Consenter) bool { return o == gone })
	left := slices.DeleteFunc(endpoints(org), func(e string) bool { return e == at })
	if len(left) > 0 || slices.ContainsFunc(s.consenters, func(o *common.Consenter) bool { return o.GetMspId() == owner }) {
		if err := setEndpoints(org, left); err != nil {
			return err
		}
		return s.save()
	}
	if !s.bft() {
		if err := s.forget(owner); err != nil {
			return err
		}
	}
	delete(s.group.Groups, owner)
	return s.save()
}

// orders is an organisation's group among those that order. entered: it is made here, of what the channel knows of the
// member.
func (c *Config) orders(name string) (org *common.ConfigGroup, entered bool, err error) {
	if org = c.group("Orderer").GetGroups()[name]; org != nil {
		return org, false, nil
	}
	member := c.group("Application").GetGroups()[name]
	if member == nil {
		return nil, false, fmt.Errorf("%s is no member; members are %s; add-org takes it in", name, strings.Join(c.Orgs(), ", "))
	}
	role := func(roles ...msp.MSPRole_MSPRoleType) *common.ConfigPolicy { return anyOf(name, roles...) }
	return &common.ConfigGroup{
		ModPolicy: "Admins", Groups: map[string]*common.ConfigGroup{},
		Policies: map[string]*common.ConfigPolicy{
			// An orderer reads the channel to catch up with the others.
			"Readers": role(msp.MSPRole_ADMIN, msp.MSPRole_ORDERER, msp.MSPRole_PEER, msp.MSPRole_CLIENT),
			"Writers": role(msp.MSPRole_ADMIN, msp.MSPRole_ORDERER),
			"Admins":  role(msp.MSPRole_ADMIN),
		},
		Values: map[string]*common.ConfigValue{"MSP": {Value: member.GetValues()["MSP"].GetValue(), ModPolicy: "Admins"}},
	}, true, nil
}

// ordering is who orders the channel, the same for Raft and BFT: of Raft's consenters Id, MspId and Identity are empty.
type ordering struct {
	group      *common.ConfigGroup
	kind       orderer.ConsensusType
	raft       etcdraft.ConfigMetadata // but for its consenters
	consenters []*common.Consenter
}

func (c *Config) ordering() (*ordering, error) {
	s := &ordering{group: c.group("Orderer")}
	if err := proto.Unmarshal(s.group.GetValues()["ConsensusType"].GetValue(), &s.kind); err != nil {
		return nil, err
	}
	if s.bft() {
		if s.group.GetValues()["Orderers"] == nil || s.group.GetPolicies()[blockValidation] == nil {
			return nil, errors.New("BFT without orderers or without a policy for blocks: no configuration of Fabric's")
		}
		var all common.Orderers
		err := proto.Unmarshal(s.group.GetValues()["Orderers"].GetValue(), &all)
		s.consenters = all.GetConsenterMapping()
		return s, err
	}
	if s.kind.GetType() != "etcdraft" {
		return nil, fmt.Errorf("ordering of the kind %q is not known", s.kind.GetType())
	}
	err := proto.Unmarshal(s.kind.GetMetadata(), &s.raft)
	for _, o := range s.raft.GetConsenters() {
		s.consenters = append(s.consenters, &common.Consenter{Host: o.GetHost(), Port: o.GetPort(), ClientTlsCert: o.GetClientTlsCert(), ServerTlsCert: o.GetServerTlsCert()})
	}
	return s, err
}

// save writes the consenters back. BFT's orderers hold the policy for blocks to the consenters, byte by byte, and do not
// get over a configuration in which they differ.
func (s *ordering) save() error {
	if s.bft() {
		s.group.GetPolicies()[blockValidation].Policy = signedByQuorum(s.consenters)
		return set(s.group.GetValues()["Orderers"], &common.Orderers{ConsenterMapping: s.consenters})
	}
	s.raft.Consenters = nil
	for _, o := range s.consenters {
		s.raft.Consenters = append(s.raft.Consenters, &etcdraft.Consenter{Host: o.GetHost(), Port: o.GetPort(), ClientTlsCert: o.GetClientTlsCert(), ServerTlsCert: o.GetServerTlsCert()})
	}
	raw, err := proto.Marshal(&s.raft)
	if err != nil {
		return err
	}
	s.kind.Metadata = raw
	return set(s.group.GetValues()["ConsensusType"], &s.kind)
}

func (s *ordering) bft() bool { return s.kind.GetType() == "BFT" }

func place(o *common.Consenter) string {
	return net.JoinHostPort(o.GetHost(), strconv.FormatUint(uint64(o.GetPort()), 10))
}

// at is the consenter at an address, or nil.
func (s *ordering) at(at string) *common.Consenter {
	for _, o := range s.consenters {
		if place(o) == at {
			return o
		}
	}
	return nil
}

func (s *ordering) nobody(at string) error {
	var all []string
	for _, o := range s.consenters {
		all = append(all, place(o))
	}
	return fmt.Errorf("the channel has no orderer at %s; it has them at %s", at, strings.Join(all, ", "))
}

// owner is the organisation that runs an orderer; "" where the configuration does not tell.
func (s *ordering) owner(o *common.Consenter) string {
	if s.bft() {
		return o.GetMspId()
	}
	for name, org := range s.group.GetGroups() {
		if slices.Contains(endpoints(org), place(o)) {
			return name
		}
	}
	return ""
}

// endpoints are the addresses by which peers and clients reach an organisation's orderers.
func endpoints(org *common.ConfigGroup) []string {
	var all common.OrdererAddresses
	if proto.Unmarshal(org.GetValues()["Endpoints"].GetValue(), &all) != nil {
		return nil
	}
	return all.GetAddresses()
}

func setEndpoints(org *common.ConfigGroup, all []string) error {
	v := org.GetValues()["Endpoints"]
	if v == nil {
		v = &common.ConfigValue{ModPolicy: "Admins"}
		if org.Values == nil {
			org.Values = map[string]*common.ConfigValue{}
		}
		org.Values["Endpoints"] = v
	}
	return set(v, &common.OrdererAddresses{Addresses: all})
}

// signedByQuorum is the policy that Fabric demands of BFT: so many of the consenters, each by its own certificate, that
// any two quorums share one that is honest.
func signedByQuorum(all []*common.Consenter) *common.Policy {
	var ids []*msp.MSPPrincipal
	for _, o := range all {
		raw, _ := proto.Marshal(&msp.SerializedIdentity{Mspid: o.GetMspId(), IdBytes: o.GetIdentity()}) // of two plain fields: it cannot fail
		ids = append(ids, &msp.MSPPrincipal{PrincipalClassification: msp.MSPPrincipal_IDENTITY, Principal: raw})
	}
	n, f := len(all), (len(all)-1)/3
	return outOf((n+f+2)/2, ids) // ⌈(n+f+1)/2⌉
}

// name lets the blocks of an organisation's orderers count, where the policy says by name whose do.
func (s *ordering) name(org string) error {
	p := s.group.GetPolicies()[blockValidation]
	if p.GetPolicy().GetType() != int32(common.Policy_SIGNATURE) {
		return nil // by a rule about all who order
	}
	all, flat, err := principals(p)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(m *msp.MSPPrincipal) bool { return mspOf(m) == org }) {
		return nil
	}
	if !flat {
		return notFlat(blockValidation)
	}
	raw, _ := proto.Marshal(&msp.MSPRole{MspIdentifier: org, Role: msp.MSPRole_ORDERER})
	p.Policy = outOf(1, append(all, &msp.MSPPrincipal{PrincipalClassification: msp.MSPPrincipal_ROLE, Principal: raw}))
	return nil
}

// forget takes an organisation that orders no more out of the policies about ordering that name it.
func (s *ordering) forget(org string) error {
	changed := map[string]*common.Policy{}
	for name, p := range s.group.GetPolicies() {
		if p.GetPolicy().GetType() != int32(common.Policy_SIGNATURE) {
			continue
		}
		all, flat, err := principals(p)
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(slices.Clone(all), func(m *msp.MSPPrincipal) bool { return mspOf(m) == org })
		switch {
		case len(left) == len(all):
		case !flat:
			return notFlat(name)
		case len(left) == 0:
			return fmt.Errorf("the policy %s of the orderers' group names nobody but %s: have it name others first", name, org)
		default:
			changed[name] = outOf(1, left)
		}
	}
	for name, p := range changed {
		s.group.GetPolicies()[name].Policy = p
	}
	return nil
}

func notFlat(policy string) error {
	return fmt.Errorf("the policy %s of the orderers' group names organisations otherwise than by OR(…): change it first, with Fabric's configtxlator", policy)
}

// principals are those that a signature policy speaks of. flat: the signature of any one of them meets it.
func principals(p *common.ConfigPolicy) (all []*msp.MSPPrincipal, flat bool, err error) {
	var e common.SignaturePolicyEnvelope
	if err := proto.Unmarshal(p.GetPolicy().GetValue(), &e); err != nil {
		return nil, false, err
	}
	n := e.GetRule().GetNOutOf()
	flat = n.GetN() == 1 && len(n.GetRules()) == len(e.GetIdentities())
	for i, r := range n.GetRules() {
		by, ok := r.GetType().(*common.SignaturePolicy_SignedBy)
		flat = flat && ok && int(by.SignedBy) == i
	}
	return e.GetIdentities(), flat, nil
}

// mspOf is the organisation that a principal is of; "" where it is of none.
func mspOf(m *msp.MSPPrincipal) string {
	var role msp.MSPRole
	var unit msp.OrganizationUnit
	var id msp.SerializedIdentity
	var err error
	switch m.GetPrincipalClassification() {
	case msp.MSPPrincipal_ROLE:
		err = proto.Unmarshal(m.GetPrincipal(), &role)
	case msp.MSPPrincipal_ORGANIZATION_UNIT:
		err = proto.Unmarshal(m.GetPrincipal(), &unit)
	case msp.MSPPrincipal_IDENTITY:
		err = proto.Unmarshal(m.GetPrincipal(), &id)
	}
	if err != nil {
		return ""
	}
	return role.GetMspIdentifier() + unit.GetMspIdentifier() + id.GetMspid() // one of them is set
}

// issued checks that a PEM text is one certificate of an organisation's authorities and returns its public key.
// Whether it is valid today is Fabric's to judge.
func issued(raw []byte, roots, intermediates [][]byte) ([]byte, error) {
	if err := onlyCerts(raw); err != nil {
		return nil, err
	}
	block, rest := pem.Decode(raw)
	if more, _ := pem.Decode(rest); more != nil {
		return nil, errors.New("more than one certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	o := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: cert.NotBefore,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	for _, r := range roots {
		o.Roots.AppendCertsFromPEM(r)
	}
	for _, r := range intermediates {
		o.Intermediates.AppendCertsFromPEM(r)
	}
	if _, err := cert.Verify(o); err != nil {
		return nil, fmt.Errorf("%s is not of the authorities that the channel knows of it: %w", cert.Subject, err)
	}
	return cert.RawSubjectPublicKeyInfo, nil
}

func publicKey(raw []byte) ([]byte, error) {
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, errors.New("no PEM certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	return cert.RawSubjectPublicKeyInfo, nil
}
