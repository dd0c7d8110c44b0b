package doctor

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

var now = time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)

// well is a running node that nothing is wrong with.
func well() *Facts {
	return &Facts{
		Target: &Target{Dir: "/srv/node", Node: "beijing", Listen: "127.0.0.1:8801", Admin: "127.0.0.1:9801", Records: "/srv/node/records", Archive: "/srv/node/archive", Reserve: 64 << 20, Backup: now.AddDate(0, 0, -1)},
		Now:    now, Disk: Disk{Free: 80 << 30, Total: 100 << 30, Used: 1 << 30}, InStep: SyncKept,
		Running: &Status{Node: "beijing", Blocks: 9, Archived: 9, Position: 20, Ledger: model.TimeOf(now.Add(-time.Hour)),
			Ready: sdk.Readiness{Components: []sdk.Component{{Name: "follower", Status: sdk.OK}, {Name: "writes", Status: sdk.OK}}}},
		Clocks:  []ClockFact{{Who: "https://a", Offset: time.Second}},
		Dialled: []DialFact{{Gateway: Gateway{Address: "a:7051"}, Until: now.AddDate(1, 0, 0)}},
		Certs:   []CertFact{{CertFile: CertFile{Name: Text{"身份", "identity"}, Cert: "identity.crt", Renew: Text{"重签", "renew"}}, From: now.AddDate(-1, 0, 0), Until: now.AddDate(1, 0, 0)}},
	}
}

func TestJudge(t *testing.T) {
	cases := []struct {
		name   string
		change func(*Facts)
		want   []Code
	}{
		{"well", func(*Facts) {}, nil},
		{"five percent left", func(f *Facts) { f.Disk.Free = 4 << 30 }, []Code{DiskNearlyFull}},
		{"below the reserve", func(f *Facts) { f.Disk.Free = 1 << 20 }, []Code{DiskNearlyFull}},
		{"fills in three weeks", func(f *Facts) { f.Disk.PerDay = 4 << 30 }, []Code{DiskFilling}},
		{"fills in three months", func(f *Facts) { f.Disk.PerDay = 900 << 20 }, nil},
		{"clock ahead of the others'", func(f *Facts) { f.Clocks[0].Offset = 3 * time.Hour }, []Code{ClockSkew}},
		{"clock behind the others'", func(f *Facts) { f.Clocks[0].Offset = -3 * time.Hour }, []Code{ClockSkew}},
		{"one of three others is wrong", func(f *Facts) {
			f.Clocks = []ClockFact{{Offset: time.Second}, {Offset: -5 * time.Hour}, {Offset: 0}}
		}, nil},
		{"clock behind the ledger", func(f *Facts) { f.Clocks, f.Running.Ledger = nil, model.TimeOf(now.Add(time.Hour)) }, []Code{ClockSkew}},
		{"clock moved by hours", func(f *Facts) { f.Running.Stepped = -7200 }, []Code{ClockStepped}},
		{"expired", func(f *Facts) { f.Certs[0].Until = now.Add(-time.Hour) }, []Code{CertificateExpired}},
		{"expiring", func(f *Facts) { f.Certs[0].Until = now.AddDate(0, 0, 20) }, []Code{CertificateExpiring}},
		{"not yet", func(f *Facts) { f.Certs[0].From = now.Add(time.Hour) }, []Code{CertificateEarly}},
		{"not a certificate", func(f *Facts) { f.Certs[0].Err = errors.New("x") }, []Code{CertificateBad}},
		{"restored and not confirmed", func(f *Facts) { f.Restored = now.AddDate(0, 0, -1) }, []Code{RestoreUnconfirmed}},
		{"API key ends", func(f *Facts) { f.Keys = []Key{{ID: "key-a", Expires: now.AddDate(0, 0, 3)}, {ID: "key-b"}} }, []Code{KeyExpiring}},
		{"no gateway, and what follows from it", func(f *Facts) {
			f.Dialled[0].TCP = syscall.ECONNREFUSED
			f.Running.Age, f.Running.Oldest = 900, 900
			f.Running.Ready.Components[0].Status = sdk.Degraded
		}, []Code{LedgerUnreachable}},
		{"one of two gateways", func(f *Facts) {
			f.Dialled = append(f.Dialled, DialFact{Gateway: Gateway{Address: "b:7051"}, TLS: errors.New("unknown authority")})
			f.Running.Age = 900
		}, []Code{LedgerTLS, NodeLagging}},
		{"lags", func(f *Facts) { f.Running.Age, f.Running.Behind = 900, true }, []Code{NodeLagging}},
		{"writes wait", func(f *Facts) { f.Running.Waiting, f.Running.Oldest = 3, 120 }, []Code{WritesWaiting}},
		{"the search is rebuilt", func(f *Facts) {
			f.Running.Ready.Components = append(f.Running.Ready.Components, sdk.Component{Name: "search", Status: sdk.Degraded, Detail: "rebuilding"})
		}, []Code{NodeNotReady}},
		{"archive behind the records", func(f *Facts) { f.Running.Archived = 7 }, []Code{StoreGap}},
		{"stopped by a finding", func(f *Facts) { f.Finding = "chain.fork: …"; f.Running.Age = 900 }, []Code{NodeFinding}},
		{"down", func(f *Facts) { f.Running, f.Down = nil, errors.New("refused") }, []Code{NodeDown}},
		{"hung", func(f *Facts) { f.Running, f.At.InUse = nil, true }, []Code{NodeHung}},
		{"down, records of another build", func(f *Facts) { f.Running, f.At.Records = nil, errors.New("format") }, []Code{StoreDamaged, NodeDown}},
		{"down, archive damaged", func(f *Facts) { f.Running, f.At.Archive = nil, errors.New("block 7") }, []Code{StoreDamaged, NodeDown}},
		{"down, port taken", func(f *Facts) {
			f.Running, f.Ports = nil, []PortFact{{"listen", "127.0.0.1:8801", syscall.EADDRINUSE}, {"admin", "10.9.9.9:1", syscall.EADDRNOTAVAIL}}
		}, []Code{PortTaken, PortForeign, NodeDown}},
		{"of an older version", func(f *Facts) { f.Upgrade, f.Missing = errors.New("older"), []string{"inbox"} }, []Code{StoreOlder}},
		{"of a newer version", func(f *Facts) { f.Upgrade, f.Newer = errors.New("newer"), true }, []Code{StoreNewer}},
		{"files", func(f *Facts) { f.Missing, f.Exposed = []string{"vault"}, []string{"identity.key"} }, []Code{FileMissing, FileExposed}},
	}
	seen := map[Code]bool{ConfigBad: true}
	for _, c := range cases {
		f := well()
		c.change(f)
		r := Judge(f)
		var got []Code
		for _, x := range r.Findings {
			got = append(got, x.Code)
			seen[x.Code] = true
			if x.What.Zh == "" || x.What.En == "" || x.Cure.Zh == "" || x.Cure.En == "" || x.Subject == "" {
				t.Errorf("%s: %s lacks a text: %+v", c.name, x.Code, x)
			}
		}
		if !slices.Equal(got, c.want) || r.Healthy != (len(c.want) == 0) || r.Exit() != map[bool]int{true: 0, false: 1}[r.Healthy] {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		for _, lang := range []string{"zh", "en"} {
			var b strings.Builder
			if err := r.Print(&b, lang); err != nil || strings.Contains(b.String(), "%!") {
				t.Errorf("%s: %s, %v", c.name, &b, err)
			}
		}
	}
	for _, c := range Codes() {
		if !seen[c] {
			t.Errorf("%s is in no case", c)
		}
	}
}

// A node that is merely down is to be started: nothing stands above that could be cured first.
func TestDownAlone(t *testing.T) {
	f := well()
	f.Running = nil
	if r := Judge(f); strings.Contains(r.Findings[0].Cure.En, "above") || strings.Contains(r.Findings[0].Cure.Zh, "上面") {
		t.Errorf("%+v", r.Findings[0].Cure)
	}
	f.Missing = []string{"vault"}
	if r := Judge(f); !strings.Contains(r.Findings[1].Cure.En, "above") {
		t.Errorf("%+v", r.Findings)
	}
}

// Every code has a line in both languages' pages.
func TestCodesDocumented(t *testing.T) {
	for _, lang := range []string{"en", "zh-CN"} {
		raw, err := os.ReadFile("../../../docs/ops/doctor." + lang + ".md")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range Codes() {
			if !strings.Contains(string(raw), "\n| `"+string(c)+"` |") {
				t.Errorf("%s: %s has no line", lang, c)
			}
		}
	}
}

// The time is taken from an answer, whatever certificate it comes under; who tells none is named.
func TestClock(t *testing.T) {
	date := ""
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header()["Date"] = []string{date} }))
	defer s.Close()
	date = time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)
	if c := clock(context.Background(), s.URL); c.Err != nil || (c.Offset-time.Hour).Abs() > 5*time.Second {
		t.Errorf("%+v", c)
	}
	date = "yesterday"
	if c := clock(context.Background(), s.URL); c.Err == nil {
		t.Error("no time, and no error")
	}
	if c := clock(context.Background(), "http://127.0.0.1:1"); c.Err == nil {
		t.Error("nobody, and no error")
	}
}
