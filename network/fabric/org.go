package fabric

import "path/filepath"

// Org is an organisation of the consortium.
type Org struct {
	ID     string // beijing: the node's id, and what folders and processes are called by
	MSP    string // BeijingMSP
	Domain string // beijing.zhenglian.test
	dir    string // the network's folder
}

// consortium is who takes part, in the order in which they joined: Customs is the fourth.
var consortium = []Org{
	{ID: "beijing", MSP: "BeijingMSP", Domain: "beijing.zhenglian.test"},
	{ID: "tianjin", MSP: "TianjinMSP", Domain: "tianjin.zhenglian.test"},
	{ID: "hebei", MSP: "HebeiMSP", Domain: "hebei.zhenglian.test"},
	{ID: "customs", MSP: "CustomsMSP", Domain: "customs.zhenglian.test"},
}

// Dir is the organisation's folder of key material, as cryptogen lays it out.
func (o Org) Dir() string { return filepath.Join(o.dir, "crypto", "peerOrganizations", o.Domain) }

// MSPDir is the folder of the organisation's membership definition: certificates only.
func (o Org) MSPDir() string { return filepath.Join(o.Dir(), "msp") }

// TLSRoots is the PEM file of the organisation's TLS authority.
func (o Org) TLSRoots() string {
	return filepath.Join(o.Dir(), "tlsca", "tlsca."+o.Domain+"-cert.pem")
}

// Admin is the organisation's administrator, who installs, approves and commits contracts.
func (o Org) Admin() Identity {
	msp := filepath.Join(o.Dir(), "users", "Admin@"+o.Domain, "msp")
	return Identity{MSP: o.MSP, Cert: filepath.Join(msp, "signcerts", "Admin@"+o.Domain+"-cert.pem"), Key: filepath.Join(msp, "keystore", "priv_sk")}
}

// Node is the identity that the organisation's node signs with: its certificate's common name is the node's id.
func (o Org) Node() Identity { return o.issued("node", o.MSP) }

// AdminTLS is the TLS client certificate that orderers' participation services ask for.
func (o Org) AdminTLS() Identity { return o.issued("admin-tls", o.MSP) }

// issued are key pairs that this package issues from the organisation's authorities.
func (o Org) issued(name, msp string) Identity {
	base := filepath.Join(o.dir, "crypto", "issued", o.ID, name)
	return Identity{MSP: msp, Cert: base + ".crt", Key: base + ".key"}
}

// Identity names the files of a certificate and its private key, both PEM.
type Identity struct {
	MSP  string `json:"msp"`
	Cert string `json:"cert"`
	Key  string `json:"key"`
}

// host is the name of one of the organisation's servers, as its certificate has it.
func (o Org) host(server string) string { return server + "." + o.Domain }
