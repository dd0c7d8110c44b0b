package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/app"
)

// Options of the demo.
type Options struct {
	Program  string // the zhenglian binary, which runs the ledger and the nodes
	Dir      string // keeps the state; "" is a temporary folder, removed at the end
	BasePort int
	Lang     string // zh or en
	Exit     bool   // stop after the story
	Out      io.Writer
}

// Description is demo.json: how to reach what the demo started. It holds API keys, so only the user may
// read it.
type Description struct {
	Nodes     []NodeDescription `json:"nodes"`
	LedgerDir string            `json:"ledger_dir"`
}

// NodeDescription is one node of it. Keys are by role.
type NodeDescription struct {
	Name     model.NodeID      `json:"name"`
	URL      string            `json:"url"`
	AdminURL string            `json:"admin_url"`
	Keys     map[string]string `json:"keys"`
}

// DescriptionFile is its name in the demo's folder.
const DescriptionFile = "demo.json"

const startLimit = 30 * time.Second

// Run starts ledger and nodes, tells the story, and stays up until ctx ends (or not, with Exit). A folder
// of an earlier demo is started again as it is, with its records, and the story told anew.
func Run(ctx context.Context, o Options) (err error) {
	if o.Lang != "zh" && o.Lang != "en" {
		return fmt.Errorf("--lang: zh or en, not %q", o.Lang)
	}
	if o.BasePort < 1024 || o.BasePort > 64000 {
		return fmt.Errorf("--base-port: 1024 to 64000, not %d", o.BasePort)
	}
	begun := time.Now()
	if o.Dir == "" {
		if o.Dir, err = os.MkdirTemp("", "zhenglian-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil {
		return err
	}
	d, fresh, err := describe(o)
	if err != nil {
		return err
	}
	logs := filepath.Join(o.Dir, "logs")
	if err := os.MkdirAll(logs, 0o700); err != nil {
		return err
	}
	if f, ok := o.Out.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) || os.Getenv("NO_COLOR") != "" {
		text.DisableColors()
	}
	s := &stage{o: o, d: d, begun: begun, logs: logs}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := s.start(ctx); err != nil {
		return err
	}
	if err := s.tell(ctx, fresh); err != nil {
		if ctx.Err() != nil {
			return nil // interrupted by the user
		}
		return err
	}
	if o.Exit {
		return nil
	}
	s.next()
	return s.attend(ctx)
}

// describe founds the demo's ledger and nodes, or finds those of an earlier run.
func describe(o Options) (*Description, bool, error) {
	path := filepath.Join(o.Dir, DescriptionFile)
	raw, err := os.ReadFile(path)
	if err == nil {
		var d Description
		if err := json.Unmarshal(raw, &d); err != nil || len(d.Nodes) != 4 {
			return nil, false, fmt.Errorf("%s is not a demo's description", path)
		}
		return &d, false, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, false, err
	}
	if entries, err := os.ReadDir(o.Dir); err == nil && len(entries) > 0 {
		return nil, false, fmt.Errorf("%s is not empty and holds no demo; choose another --dir", o.Dir)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, false, err
	}
	ledger, err := free()
	if err != nil {
		return nil, false, err
	}
	admin, err := free()
	if err != nil {
		return nil, false, err
	}
	p := plan(o.BasePort, ledger, admin, o.Lang, time.Now())
	var ports []string
	for _, n := range p.Nodes {
		ports = append(ports, n.Listen, n.Admin)
	}
	if err := taken(ports); err != nil {
		return nil, false, err
	}
	f, err := app.Found(o.Dir, p)
	if err != nil {
		return nil, false, err
	}
	d := &Description{LedgerDir: f.LedgerDir}
	for i, n := range p.Nodes {
		d.Nodes = append(d.Nodes, NodeDescription{Name: n.ID, URL: "http://" + n.Listen, AdminURL: "http://" + n.Admin, Keys: f.Nodes[i].Keys})
	}
	if raw, err = json.MarshalIndent(d, "", "  "); err != nil {
		return nil, false, err
	}
	return d, true, os.WriteFile(path, append(raw, '\n'), 0o600)
}

// stage is the running demo.
type stage struct {
	o     Options
	d     *Description
	begun time.Time
	logs  string

	ledger *process
	nodes  []*process
	number string // of the licence that the story issued
	record model.RecordID
}

func (s *stage) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	service := filepath.Join(s.o.Dir, "ledger-service")
	cfg, err := app.LoadLedger(service)
	if err != nil {
		return err
	}
	if s.ledger, err = start("ledger", s.logs, s.o.Program, "ledger", "serve", "--dir", service); err != nil {
		return err
	}
	if err := s.ledger.listening(ctx, cfg.Listen); err != nil {
		return err
	}
	for _, n := range s.d.Nodes {
		p, err := start(string(n.Name), s.logs, s.o.Program, "serve", "--dir", filepath.Join(s.o.Dir, "nodes", string(n.Name)))
		if err != nil {
			return err
		}
		s.nodes = append(s.nodes, p)
	}
	for i, n := range s.d.Nodes {
		if err := s.nodes[i].ready(ctx, n.URL+"/readyz"); err != nil {
			return err
		}
	}
	return nil
}

// stop ends the nodes and then the ledger.
func (s *stage) stop() error {
	var errs []error
	done := make(chan error, len(s.nodes))
	for _, p := range s.nodes {
		go func() { done <- p.stop() }()
	}
	for range s.nodes {
		errs = append(errs, <-done)
	}
	if s.ledger != nil {
		errs = append(errs, s.ledger.stop())
	}
	return errors.Join(errs...)
}

// attend stays until ctx ends. A process that ends meanwhile, killed perhaps to see what happens, is started
// again: the others go on, and it takes up where it was.
func (s *stage) attend(ctx context.Context) error {
	running := []**process{&s.ledger}
	for i := range s.nodes {
		running = append(running, &s.nodes[i])
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, p := range running {
			select {
			case <-(*p).done:
			default:
				continue
			}
			s.print("%s", s.say(fmt.Sprintf("%s 已退出（%v），正在重新启动", (*p).name, (*p).err), fmt.Sprintf("%s ended (%v) and is started again", (*p).name, (*p).err)))
			again, err := start((*p).name, s.logs, s.o.Program, (*p).cmd.Args[1:]...)
			if err != nil {
				return err
			}
			*p = again
			select { // one that cannot stay up is not started in a storm
			case <-ctx.Done():
				return nil
			case <-time.After(time.Second):
			}
		}
	}
}
