package fabric

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"path/filepath"
	"strconv"
	"time"
)

// Orderer is an ordering node. Each belongs to an organisation of the consortium, under the organisation's own
// membership: nobody outside orders its transactions.
type Orderer struct {
	*Process
	Number     int
	Address    string // host:port of ordering
	Admin      string // host:port of the channel participation service
	Operations string // host:port of /healthz and /metrics

	org  Org
	dir  string
	port int
}

func (n *Network) newOrderer(number int, org Org) (*Orderer, error) {
	s := n.state
	name := "orderer-" + strconv.Itoa(number)
	for _, suffix := range []string{"", "-admin", "-operations"} {
		if _, err := s.port(name + suffix); err != nil {
			return nil, err
		}
	}
	o := &Orderer{
		Process: n.process(s.Spec.Dir, name, KindOrderer, org.ID), Number: number, org: org,
		Address: s.address(name), Admin: s.address(name + "-admin"), Operations: s.address(name + "-operations"),
		dir: filepath.Join(s.Spec.Dir, "orderers", name), port: s.Ports[name],
	}
	o.program = filepath.Join(s.Spec.Bin, "orderer")
	o.env = append(o.env, "FABRIC_CFG_PATH="+o.dir, "FABRIC_LOGGING_SPEC="+s.Spec.Log)
	return o, nil
}

// MSP is the organisation's membership.
func (o *Orderer) MSP() string { return o.org.MSP }

// TLSRoots is the PEM file of the authority of its TLS certificate.
func (o *Orderer) TLSRoots() string { return o.org.TLSRoots() }

// ServerName is the name in its TLS certificate.
func (o *Orderer) ServerName() string { return o.org.host(o.Name) }

func (o *Orderer) identity() Identity { return o.org.issued(o.Name, o.org.MSP) }
func (o *Orderer) tls() Identity      { return o.org.issued(o.Name+"-tls", o.org.MSP) }
func (o *Orderer) mspDir() string     { return filepath.Join(o.dir, "msp") }

// configure renders the orderer's configuration.
func (n *Network) configureOrderer(o *Orderer) error {
	spec := n.Spec()
	return render(filepath.Join(o.dir, "orderer.yaml"), "orderer.yaml.tmpl", struct {
		Name, MSP, Bind, Address, Admin, Operations string
		Port                                        int
		TLSCert, TLSKey, TLSRoots, MSPDir, Dir      string
	}{
		o.Name, o.org.MSP, spec.Bind, o.Address, o.Admin, o.Operations, o.port,
		o.tls().Cert, o.tls().Key, o.org.TLSRoots(), o.mspDir(), o.dir,
	})
}

// Membership is what an orderer says of its place in the channel.
type Membership struct {
	Status   string `json:"status"` // active, onboarding, inactive, failed
	Relation string `json:"consensusRelation"`
	Height   uint64 `json:"height"`
}

// errNotJoined says that an orderer does not know the channel.
var errNotJoined = errors.New("has not joined the channel")

// Membership asks the orderer's participation service.
func (o *Orderer) Membership(ctx context.Context) (Membership, error) {
	var m Membership
	raw, status, err := o.participation(ctx, http.MethodGet, "/"+Channel, "", nil)
	switch {
	case err != nil:
		return m, err
	case status == http.StatusNotFound:
		return m, fmt.Errorf("%s %w", o.Name, errNotJoined)
	case status != http.StatusOK:
		return m, fmt.Errorf("%s: status %d: %.200s", o.Name, status, raw)
	}
	return m, json.Unmarshal(raw, &m)
}

// Height is the number of blocks that the orderer has.
func (o *Orderer) Height(ctx context.Context) (uint64, error) {
	m, err := o.Membership(ctx)
	return m.Height, err
}

func (o *Orderer) join(ctx context.Context, block []byte) error {
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	part, err := w.CreateFormFile("config-block", Channel+".block")
	if err != nil {
		return err
	}
	if _, err := part.Write(block); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	raw, status, err := o.participation(ctx, http.MethodPost, "", w.FormDataContentType(), &body)
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("%s joins the channel: status %d: %.300s", o.Name, status, raw)
	}
	return err
}

func (o *Orderer) participation(ctx context.Context, method, path, contentType string, body io.Reader) ([]byte, int, error) {
	admin := o.org.AdminTLS()
	config, err := tlsConfig(&admin, o.org.TLSRoots())
	if err != nil {
		return nil, 0, err
	}
	t := &http.Transport{TLSClientConfig: config}
	defer t.CloseIdleConnections()
	return fetch(ctx, &http.Client{Transport: t, Timeout: 10 * time.Second}, method, "https://"+o.Admin+"/participation/v1/channels"+path, contentType, body)
}

// maxAnswer bounds what is read of any administrative answer.
const maxAnswer = 4 << 20 // bytes

func fetch(ctx context.Context, c *http.Client, method, url, contentType string, body io.Reader) ([]byte, int, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return nil, 0, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	r, err := c.Do(req)
	if err != nil {
		return nil, 0, err
	}
	defer r.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	return raw, r.StatusCode, err
}

// Leads tells whether the orderer says that it leads (Raft).
func (o *Orderer) Leads(ctx context.Context) (bool, error) {
	m, err := scrape(ctx, o.Operations)
	if err != nil {
		return false, err
	}
	v, _ := m.value("consensus_etcdraft_is_leader", "channel", Channel)
	return v == 1, nil
}
