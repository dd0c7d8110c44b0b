package app_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/app"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/auth/authtest"
	"github.com/zhenglian/zhenglian/node/internal/demo"
	"github.com/zhenglian/zhenglian/node/internal/ledger/msp"
	"github.com/zhenglian/zhenglian/sdk"
	"github.com/zhenglian/zhenglian/sdk/envelope"
)

// office is a node that serves TLS, trusts an issuer, and acts for a city's regulator, a district below it, and another
// office of the city.
type office struct {
	t       *testing.T
	dir     string
	url     string
	admin   string
	keys    map[string]string
	roots   *x509.CertPool
	ca      *msp.CA
	at      *authtest.Issuer
	client  *http.Client
	running func()
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, at: authtest.New(t)}
	listen := freeAddress(t)
	o.admin, o.url = freeAddress(t), "https://"+listen
	plan := app.NodePlan{ID: "beijing", Msp: "BeijingMSP", NameZh: "北京", Home: "bj-scjg", Listen: listen, Admin: o.admin}
	for n, a := range []model.Agency{{ID: "bj-scjg"}, {ID: "bj-dc-scjg", Parent: "bj-scjg"}, {ID: "bj-jtw"}} {
		var err error
		if a.USCC, err = model.InventUSCC("11110000X", 1001+n); err != nil {
			t.Fatal(err)
		}
		a.NameZh, a.Region, a.Roles = "局", "110000", []model.Role{model.RoleIssuer}
		plan.Agencies = append(plan.Agencies, app.AgencyPlan{Alg: envelope.ES256, Agency: a})
	}
	made, err := app.Found(t.TempDir(), app.Plan{Channel: "jjj", Chaincode: "zhenglian", Created: time.Now(), Nodes: []app.NodePlan{plan},
		Types: demo.Types(map[model.AgencyID]model.Region{"bj-scjg": "110000", "bj-dc-scjg": "110000", "bj-jtw": "110000"})})
	if err != nil {
		t.Fatal(err)
	}
	o.dir, o.keys = made.Nodes[0].Dir, made.Nodes[0].Keys
	if o.ca, err = msp.NewCA("BeijingMSP", "ca.tls"); err != nil {
		t.Fatal(err)
	}
	cert, key, err := o.ca.IssueTLS("beijing", []string{"127.0.0.1"}, msp.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	o.write("tls.crt", cert)
	o.write("tls.key", key)
	o.write("secret", []byte(authtest.Secret+"\n"))
	file := filepath.Join(o.dir, app.ConfigFile)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("tls_cert: \"\"", "tls_cert: tls.crt", "tls_key: \"\"", "tls_key: tls.key").Replace(string(raw))
	text += "approval: {off: [registry], reason: a test}\n" +
		"oidc: [{issuer: '" + o.at.URL + "', client_id: " + authtest.ClientID + ", client_secret_file: secret, redirect_url: '" + o.url + "/auth/callback'}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o.roots = x509.NewCertPool()
	if !o.roots.AppendCertsFromPEM(o.ca.Root()) {
		t.Fatal("no authority")
	}
	o.client = o.http()
	return o
}

func (o *office) write(name string, content []byte) {
	o.t.Helper()
	if err := os.WriteFile(filepath.Join(o.dir, name), content, 0o600); err != nil {
		o.t.Fatal(err)
	}
}

// http is a client that presents certificates.
func (o *office) http(certs ...tls.Certificate) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: o.roots, Certificates: certs, MinVersion: tls.VersionTLS12}}
	o.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

func (o *office) as(bearer string) *sdk.Client {
	return &sdk.Client{BaseURL: o.url, Key: bearer, HTTP: o.client}
}

func (o *office) start() {
	o.t.Helper()
	cfg, err := app.LoadConfig(o.dir)
	if err != nil {
		o.t.Fatal(err)
	}
	o.running = background(o.t, func(ctx context.Context) error { return app.Run(ctx, cfg, quietLog) })
	o.until("the node is ready", func() bool {
		_, err := o.as(o.keys["auditor"]).Entry(o.t.Context(), model.KindAgency, "bj-scjg")
		return err == nil
	})
}

func (o *office) until(what string, ok func() bool) {
	o.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			o.t.Fatalf("timed out: %s", what)
		}
	}
}

func (o *office) add(s auth.UserSpec) *auth.User {
	o.t.Helper()
	cfg, err := app.LoadConfig(o.dir)
	if err != nil {
		o.t.Fatal(err)
	}
	people, err := app.People(cfg)
	if err != nil {
		o.t.Fatal(err)
	}
	made, err := people.Apply(auth.Change{Action: auth.AddUser, User: &s})
	if err != nil {
		o.t.Fatal(err)
	}
	return made.User
}

func (o *office) subject(name string) []auth.Subject {
	return []auth.Subject{{Issuer: o.at.URL, Subject: name}}
}

func (o *office) adminSays(path string) string {
	o.t.Helper()
	res, err := http.Get("http://" + o.admin + path)
	if err != nil {
		o.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return string(raw)
}

func is(err error, code model.Code) bool { return errors.Is(err, model.E(code)) }

// A node as an agency runs it: its people come with the issuer's word, its systems with certificates, each for its own
// agency and those below.
func TestPeopleOfANode(t *testing.T) {
	o := newOffice(t)
	if err := os.Mkdir(filepath.Join(o.dir, auth.LocalPolicies), 0o700); err != nil {
		t.Fatal(err)
	}
	o.write("policies/local.cedar", []byte(`@id("no-transfers-here") forbid (principal, action == Action::"licence.transfer", resource);`))
	city := o.add(auth.UserSpec{Name: "王芳", Agency: "bj-scjg", Roles: []auth.Role{auth.Drafter}, Subjects: o.subject("wangfang")})
	o.add(auth.UserSpec{Name: "李四", Agency: "bj-dc-scjg", Roles: []auth.Role{auth.Drafter}, Subjects: o.subject("lisi")})
	uscc, err := model.InventUSCC("91110000X", 77)
	if err != nil {
		t.Fatal(err)
	}
	o.add(auth.UserSpec{Name: "货代", Party: uscc, Roles: []auth.Role{auth.TradeParty}, Subjects: o.subject("broker")})
	certPEM, keyPEM, err := o.ca.IssueTLS("back office", nil, msp.Validity{})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	system := o.add(auth.UserSpec{Name: "政务平台", Agency: "bj-scjg", Roles: []auth.Role{auth.Verifier}, Pins: []model.Digest{sha256.Sum256(pair.Leaf.RawSubjectPublicKeyInfo)}})
	o.start()
	ctx := t.Context()

	wang, li := o.as(o.at.Token("wangfang", nil)), o.as(o.at.Token("lisi", nil))
	who, err := wang.Whoami(ctx)
	if err != nil || who.ID != city.ID || who.Name != "王芳" || strings.Contains(strings.Join(who.May, " "), "licence.transfer") {
		t.Fatalf("%+v, %v", who, err)
	}
	if _, err := o.as(o.at.Token("zhaoliu", nil)).Whoami(ctx); !is(err, model.CodeUnauthenticated) {
		t.Errorf("nobody here: %v", err)
	}
	if who, err := (&sdk.Client{BaseURL: o.url, HTTP: o.http(pair)}).Whoami(ctx); err != nil || who.ID != system.ID {
		t.Errorf("with a certificate: %+v, %v", who, err)
	}
	strange, err := o.ca.ServerTLS("stranger")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&sdk.Client{BaseURL: o.url, HTTP: o.http(strange.Certificates...)}).Whoami(ctx); !is(err, model.CodeUnauthenticated) {
		t.Errorf("with a certificate that is nobody's: %v", err)
	}

	issue := func(c *sdk.Client, agency model.AgencyID, n int) error {
		t.Helper()
		holder, err := model.InventUSCC("91110105X", n)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Issue(ctx, sdk.NewLicence{Agency: agency, Type: demo.BusinessLicence, Number: string(holder),
			Holder: sdk.Holder{Code: string(holder), Name: "样例有限公司"}}, sdk.Write{})
		return err
	}
	for _, tt := range []struct {
		name   string
		c      *sdk.Client
		agency model.AgencyID
		want   model.Code
	}{
		{"the city for itself", wang, "bj-scjg", ""},
		{"the city for its district", wang, "bj-dc-scjg", ""},
		{"the district for itself", li, "bj-dc-scjg", ""},
		{"the district for the city", li, "bj-scjg", model.CodeForbidden},
		{"the district for another office", li, "bj-jtw", model.CodeForbidden},
		{"the city for another office", wang, "bj-jtw", model.CodeForbidden},
		{"the city for another city", wang, "tj-scjg", model.CodeForbidden},
	} {
		err := issue(tt.c, tt.agency, 100+len(tt.name))
		var e *model.Error
		if tt.want == "" && errors.As(err, &e) && e.Kind() == model.Denied || tt.want != "" && !is(err, tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	if err := issue(wang, "bj-scjg", 1); err != nil {
		t.Errorf("the city issues: %v", err)
	}

	// The party's people come in once this node hosts it.
	broker := o.as(o.at.Token("broker", nil))
	if _, err := broker.Whoami(ctx); !is(err, model.CodeUnauthenticated) {
		t.Errorf("a party that nobody hosts: %v", err)
	}
	if _, err := o.as(o.keys["approver"]).HostParty(ctx, sdk.NewParty{Value: model.Party{Host: "bj-scjg", NameZh: "货代", Trades: []string{"broker"}, USCC: uscc}}, sdk.Write{}); err != nil {
		t.Fatal(err)
	}
	if who, err := broker.Whoami(ctx); err != nil || who.Party != uscc || who.Agency != "" {
		t.Errorf("%+v, %v", who, err)
	}
	if err := issue(broker, "bj-scjg", 2); !is(err, model.CodeForbidden) {
		t.Errorf("a broker issues: %v", err)
	}

	// The issuer goes down: whom it has vouched for goes on, whom it has not hears why, and the operator sees it.
	if says := o.adminSays("/readyz"); strings.Contains(says, string(model.CodeIssuerUnreachable)) {
		t.Errorf("%s", says)
	}
	o.running()
	o.at.Down(true)
	o.start()
	short, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(short, "GET", o.url+"/v1/whoami", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+o.at.Token("wangfang", nil))
	res, err := o.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if raw, err := io.ReadAll(res.Body); err != nil || res.StatusCode != 503 || !strings.Contains(string(raw), o.at.URL) {
		t.Errorf("%d %s %v", res.StatusCode, raw, err)
	}
	if says := o.adminSays("/readyz"); !strings.Contains(says, string(model.CodeIssuerUnreachable)) || !strings.Contains(says, o.at.URL) {
		t.Errorf("%s", says)
	}
	if _, err := o.as(o.keys["verifier"]).Whoami(ctx); err != nil {
		t.Errorf("a key: %v", err)
	}
	o.at.Down(false)
	o.until("the issuer is heard again", func() bool {
		_, err := o.as(o.at.Token("wangfang", nil)).Whoami(ctx)
		return err == nil
	})

	// The right goes while the node runs.
	cfg, err := app.LoadConfig(o.dir)
	if err != nil {
		t.Fatal(err)
	}
	people, err := app.People(cfg)
	if err != nil {
		t.Fatal(err)
	}
	since := time.Now()
	if _, err := people.Apply(auth.Change{Action: auth.DisableUser, ID: city.ID}); err != nil {
		t.Fatal(err)
	}
	o.until("the disabled user is out", func() bool {
		_, err := wang.Whoami(ctx)
		return is(err, model.CodeUnauthenticated)
	})
	if took := time.Since(since); took > 3*time.Second {
		t.Errorf("that took %v", took)
	}
	o.until("the access log says so", func() bool {
		for e, err := range o.as(o.keys["audit-admin"]).Access(ctx, sdk.AccessQuery{}) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Action == auth.DisableUser && len(e.Records) == 1 && e.Records[0] == (sdk.AccessRecord{Kind: "user", ID: city.ID}) && strings.HasPrefix(e.Person, "os:") {
				return true
			}
		}
		return false
	})
}

// A node does not start with policies or issuers that cannot be meant.
func TestBadPoliciesStopTheStart(t *testing.T) {
	o := newOffice(t)
	if err := os.Mkdir(filepath.Join(o.dir, auth.LocalPolicies), 0o700); err != nil {
		t.Fatal(err)
	}
	o.write("policies/local.cedar", []byte(`@id("all") permit (principal, action, resource);`))
	run := func() error {
		cfg, err := app.LoadConfig(o.dir)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return app.Run(ctx, cfg, quietLog)
	}
	if err := run(); err == nil || !strings.Contains(err.Error(), "may only forbid") {
		t.Errorf("a policy that permits: %v", err)
	}
	o.write("policies/local.cedar", nil)
	if err := os.Chmod(filepath.Join(o.dir, "secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(); err == nil || !strings.Contains(err.Error(), "others can read") {
		t.Errorf("a secret that others can read: %v", err)
	}
}
