package chanconfig

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"time"

	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/msp"
	"google.golang.org/protobuf/proto"
)

// Summary is what operators ask of a configuration.
type Summary struct {
	Channel       string              `json:"channel"`
	Capabilities  map[string][]string `json:"capabilities"`
	Organisations []Member            `json:"organisations"`
	Orderers      []OrdererPlace      `json:"orderers"`
}

// Member is an organisation and its authorities.
type Member struct {
	MSP         string      `json:"msp"`
	Authorities []Authority `json:"authorities"`
	TLS         []Authority `json:"tls_authorities"`
}

// Authority is a certificate authority.
type Authority struct {
	Name  string    `json:"name"`
	From  time.Time `json:"from"`
	Until time.Time `json:"until"`
}

// OrdererPlace is an orderer as the others know it.
type OrdererPlace struct {
	Address string    `json:"address"`
	MSP     string    `json:"msp"` // who runs it; "" where no organisation has the address among its endpoints
	Until   time.Time `json:"certificate_until"`
}

// Summary describes the configuration, changes included.
func (c *Config) Summary() (*Summary, error) {
	root := c.tx.UpdatedConfig().GetChannelGroup()
	s := &Summary{Channel: c.Channel, Capabilities: map[string][]string{}}
	for part, group := range map[string]*common.ConfigGroup{"channel": root, "orderer": c.group("Orderer"), "application": c.group("Application")} {
		var has common.Capabilities
		if err := proto.Unmarshal(group.GetValues()["Capabilities"].GetValue(), &has); err != nil {
			return nil, err
		}
		s.Capabilities[part] = []string{}
		for name := range has.GetCapabilities() {
			s.Capabilities[part] = append(s.Capabilities[part], name)
		}
		slices.Sort(s.Capabilities[part])
	}
	for name, org := range c.group("Application").GetGroups() {
		var m msp.MSPConfig
		var f msp.FabricMSPConfig
		if err := proto.Unmarshal(org.GetValues()["MSP"].GetValue(), &m); err != nil {
			return nil, err
		}
		if err := proto.Unmarshal(m.GetConfig(), &f); err != nil {
			return nil, err
		}
		s.Organisations = append(s.Organisations, Member{name, authorities(f.GetRootCerts()), authorities(f.GetTlsRootCerts())})
	}
	slices.SortFunc(s.Organisations, func(a, b Member) int { return strings.Compare(a.MSP, b.MSP) })
	return s, c.places(s)
}

func (c *Config) places(s *Summary) error {
	all, err := c.ordering()
	if err != nil {
		return err
	}
	for _, o := range all.consenters {
		p := OrdererPlace{Address: place(o), MSP: all.owner(o)}
		if certs := authorities([][]byte{o.GetServerTlsCert()}); len(certs) > 0 {
			p.Until = certs[0].Until
		}
		s.Orderers = append(s.Orderers, p)
	}
	return nil
}

func authorities(all [][]byte) []Authority {
	out := []Authority{}
	for _, raw := range all {
		block, _ := pem.Decode(raw)
		if block == nil {
			continue
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, Authority{cert.Subject.CommonName, cert.NotBefore, cert.NotAfter})
		}
	}
	return out
}
