package app

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/doctor"
	"github.com/zhenglian/zhenglian/node/internal/httpapi"
	"github.com/zhenglian/zhenglian/sdk"
)

// operatorFile holds the admin token of the run. Who may read it owns the folder.
const operatorFile = "admin-token"

// openOperator draws the run's admin token: the file has a new one at each start, so that a copy of an old folder or
// backup opens nothing.
func (n *Node) openOperator() error {
	n.metrics.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zhenglian_backup_timestamp_seconds", Help: "When the last backup was made here; 0 for never."}, func() float64 {
			if at := lastBackup(n.cfg); !at.IsZero() {
				return float64(at.Unix())
			}
			return 0
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zhenglian_disk_free_bytes", Help: "Bytes free on the disk under the node's folder."}, func() float64 {
			free, _, err := doctor.Free(n.cfg.dir)
			if err != nil {
				return math.NaN()
			}
			return float64(free)
		}),
	)
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails since Go 1.24
	n.operator = base64.RawURLEncoding.EncodeToString(raw[:])
	path := n.path(operatorFile)
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := writeNew(path+".new", []byte(n.operator+"\n"), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// operate is what the admin listener does for the operator.
func (n *Node) operate() *httpapi.Operator {
	return &httpapi.Operator{Token: n.operator, Level: &n.logs.level, Routes: map[string]http.Handler{
		"GET /status":        http.HandlerFunc(n.getStatus),
		"POST /backup":       http.HandlerFunc(n.postBackup),
		"POST /unregistered": http.HandlerFunc(n.postUnregistered),
		"POST /erase":        http.HandlerFunc(n.postErase),
		"GET /log": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(n.logs.last.text()) // the client may be gone
		}),
	}}
}

func (n *Node) status() doctor.Status {
	now := time.Now()
	s := doctor.Status{
		Node: n.cfg.Node, Version: Version(), PID: os.Getpid(), Started: n.started, Now: now,
		Stepped: (now.Round(0).Sub(n.started.Round(0)) - now.Sub(n.started)).Seconds(), // wall clocks against monotonic ones
		Blocks:  n.records.Height(), Archived: n.archive.Height(), Position: n.records.Position(), Ledger: n.records.LedgerTime(),
		Age: -1, Behind: n.follower.Behind(), Endpoints: n.elsewhere(),
	}
	if age := n.follower.Age(); age < 100*365*24*time.Hour {
		s.Age = age.Seconds()
	}
	var oldest time.Time
	if s.Waiting, _, oldest = n.outbox.Depth(); s.Waiting > 0 && !oldest.IsZero() {
		s.Oldest = now.Sub(oldest).Seconds()
	}
	s.Ready = readiness(health{n}.Components())
	return s
}

// elsewhere lists the registered addresses of other nodes, at most a handful.
func (n *Node) elsewhere() []doctor.Address {
	out := []doctor.Address{}
	views, err := n.records.List(model.KindAgency, "", 200)
	if err != nil {
		return out
	}
	seen := map[string]bool{}
	for _, v := range views {
		a, err := n.records.Agency(model.AgencyID(v.ID))
		if err != nil || a.Endpoint == "" || a.Node == n.cfg.Node || seen[a.Endpoint] || len(out) == 8 {
			continue
		}
		seen[a.Endpoint] = true
		out = append(out, doctor.Address{Agency: a.ID, URL: a.Endpoint})
	}
	return out
}

func readiness(components []sdk.Component) sdk.Readiness {
	r := sdk.Readiness{Status: sdk.OK, Components: components}
	for _, c := range components {
		if c.Status == sdk.Failed || r.Status == sdk.OK {
			r.Status = c.Status
		}
	}
	return r
}

func (n *Node) getStatus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(n.status()) // the client may be gone
}

// Admin asks a running node's admin listener, as the operator whose folder it is.
type Admin struct {
	url, token string
	client     http.Client
}

// ErrDown says that no node of this folder answers.
var ErrDown = errors.New("the node does not run")

// NewAdmin makes a client for the node of a folder. It asks nothing yet.
func NewAdmin(cfg *Config) *Admin {
	raw, _ := os.ReadFile(cfg.path(operatorFile)) // absent before the first start: then nobody is let in
	return &Admin{url: "http://" + cfg.Admin, token: strings.TrimSpace(string(raw))}
}

// Do sends a request; the caller closes the body. An answer that is not 2xx is an error. ErrDown: nobody listens, or
// somebody else does.
func (a *Admin) Do(ctx context.Context, method, path string, body []byte) (io.ReadCloser, error) {
	r, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+a.token)
	res, err := a.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDown, err)
	}
	if res.StatusCode/100 == 2 {
		return res.Body, nil
	}
	defer res.Body.Close()
	raw, _ := io.ReadAll(io.LimitReader(res.Body, 4096)) // what there is of it explains
	if res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("%w: another program listens on %s (%s %s)", ErrDown, a.url, method, res.Status)
	}
	return nil, fmt.Errorf("%s %s: %s: %s", method, path, res.Status, raw)
}

// Get reads a short answer.
func (a *Admin) Get(ctx context.Context, path string) ([]byte, error) {
	b, err := a.Do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(io.LimitReader(b, 64<<20))
}

// Status asks how the node is.
func (a *Admin) Status(ctx context.Context) (*doctor.Status, error) {
	raw, err := a.Get(ctx, "/status")
	if err != nil {
		return nil, err
	}
	var s doctor.Status
	return &s, json.Unmarshal(raw, &s)
}

// LogLevel asks for the log's level, or sets it where level is not "".
func (a *Admin) LogLevel(ctx context.Context, level string) (string, error) {
	method, body := http.MethodGet, []byte(nil)
	if level != "" {
		method = http.MethodPut
		body, _ = json.Marshal(map[string]string{"level": level}) // strings always encode
	}
	b, err := a.Do(ctx, method, "/loglevel", body)
	if err != nil {
		return "", err
	}
	defer b.Close()
	var d struct {
		Level string `json:"level"`
	}
	return d.Level, json.NewDecoder(io.LimitReader(b, 4096)).Decode(&d)
}
