package sdk_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The walls between the project's parts. They are held for the whole module from here, because this
// package is the one that outsiders build against.

const (
	module   = "github.com/zhenglian/zhenglian"
	ethereum = "github.com/ethereum/go-ethereum"
	fabSDK   = "github.com/hyperledger/fabric-sdk-go"
)

// contractMay lists what a contract may import besides the standard library, model and itself: the
// shim and the types that the shim's own methods speak.
var contractMay = []string{
	"github.com/hyperledger/fabric-chaincode-go/v2",
	"github.com/hyperledger/fabric-protos-go-apiv2",
	"google.golang.org/protobuf",
}

// adapterMay lists the imports between adapters that are allowed, with the reason.
var adapterMay = map[[2]string]string{
	{"ledger/fabblock", "ledger/msp"}:      "a block's identities are checked against memberships",
	{"ledger/embedded", "ledger/fabblock"}: "both speak Fabric's blocks",
	{"ledger/embedded", "ledger/msp"}:      "the ledger is the channel's membership service",
	{"follow", "ledger/fabblock"}:          "the follower believes no block that it did not check",
	{"importer", "fold"}:                   "names are compared alike wherever they are typed",
	{"imports", "importer"}:                "imports are the importer's work, queued and told of",
	{"search", "fold"}:                     "names are compared alike wherever they are typed",
	{"intake", "vault"}:                    "an operation is accepted only after its salts are kept: one rule over both",
	{"exchangetable", "push"}:              "push is the vocabulary of both ways in, and no adapter",
	{"watchfolder", "push"}:                "push is the vocabulary of both ways in, and no adapter",
	{"databasetest", "ledger/msp"}:         "the certificate of a server for tests",
}

// goPackage is what `go list -json` says of a package, as far as the walls go.
type goPackage struct {
	ImportPath   string
	Standard     bool
	Imports      []string
	TestImports  []string
	XTestImports []string
}

func TestWalls(t *testing.T) {
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range rootViolations(t, root) {
		t.Error(v)
	}
	for _, v := range violations(listPackages(t, root)) {
		t.Error(v)
	}
}

func listPackages(t *testing.T, root string) []goPackage {
	t.Helper()
	readFolders(t, root)
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Standard,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var pkgs []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// readFolders opens every folder with sources. go list is another process, so without this the test
// cache would not see that a file changed and would repeat an old success.
func readFolders(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && slices.Contains([]string{".git", "bin", "out", "node_modules", "testdata"}, d.Name()) {
			return fs.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func rootViolations(t *testing.T, root string) []string {
	t.Helper()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		switch {
		case strings.HasSuffix(e.Name(), ".go"):
			out = append(out, e.Name()+" lies at the root: every package sits under its owner")
		case e.Name() == "cmd":
			out = append(out, "a cmd folder lies at the root: every binary sits under its owner")
		}
	}
	return out
}

// violations returns a sentence for each import that breaks a wall.
func violations(pkgs []goPackage) []string {
	found := map[string]bool{}
	byPath := map[string]goPackage{}
	for _, p := range pkgs {
		byPath[p.ImportPath] = p
	}
	for _, p := range pkgs {
		everything := slices.Concat(p.Imports, p.TestImports, p.XTestImports)
		for _, i := range everything {
			if within(i, fabSDK) {
				found[p.ImportPath+" imports "+i+": it cannot share a binary with the Gateway client (docs/design/0001)"] = true
			}
		}
		from, ours := strings.CutPrefix(p.ImportPath, module+"/")
		if !ours {
			continue
		}
		for _, i := range everything {
			if within(i, ethereum) && from != "sdk/envelope/secp256k1" {
				found[from+" imports "+i+": LGPL-3.0, only sdk/envelope/secp256k1 may (docs/design/0002)"] = true
			}
		}
		for _, i := range p.Imports {
			to, own := strings.CutPrefix(i, module+"/")
			why := ""
			switch {
			case own:
				why = refuseOwn(from, to)
			case !byPath[i].Standard:
				why = refuseForeign(from, i)
			}
			if why != "" {
				found[from+" imports "+strings.TrimPrefix(i, module+"/")+": "+why] = true
			}
		}
		if within(from, "sdk/proof") {
			if chain := reach(byPath, p.ImportPath, "net/http"); chain != nil {
				found[strings.Join(chain, " → ")+": the offline verifier must not be able to ask anybody"] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// refuseOwn says why the package from may not import the package to, both of this module.
func refuseOwn(from, to string) string {
	model := within(to, "chaincode/model")
	switch {
	case within(from, "chaincode/model"):
		if !model {
			return "the vocabulary depends on nothing of ours"
		}
	case within(from, "chaincode/contract"):
		if !model && !within(to, "chaincode/contract") {
			return "a contract knows the model and the shim only"
		}
	case within(from, "chaincode"):
		if within(to, "node") {
			return "chaincode runs without a node"
		}
	case within(from, "sdk"):
		if !model && !within(to, "sdk") {
			return "outsiders build against sdk, which knows the model only"
		}
	case within(from, "node/internal/app"), within(from, "node/cmd"), within(from, "node/internal/demo"):
		// The ones that wire; the demo founds nodes as the command does and runs the command.
	case within(from, "node"):
		a, b := adapter(from), adapter(to)
		_, allowed := adapterMay[[2]string{a, b}]
		if !model && !within(to, "sdk") && !within(to, "node/params") && a != b && !allowed {
			return "adapters are strangers, only node/internal/app wires them"
		}
	}
	return ""
}

// refuseForeign says why the package from may not import another module's package to.
func refuseForeign(from, to string) string {
	// A package of test support, such as contracttest, is in no binary.
	if !within(from, "chaincode/contract") || strings.HasSuffix(from, "test") {
		return ""
	}
	for _, m := range contractMay {
		if within(to, m) {
			return ""
		}
	}
	return "a contract knows the model and the shim only"
}

// adapter names the unit that a package of the node belongs to: the first folder, and one more
// below ledger, whose folders are adapters themselves.
func adapter(path string) string {
	rest, ok := strings.CutPrefix(path, "node/internal/")
	if !ok {
		return path
	}
	parts := strings.SplitN(rest, "/", 3)
	if parts[0] == "ledger" && len(parts) > 1 {
		return parts[0] + "/" + parts[1]
	}
	return parts[0]
}

// within tells whether path is dir or lies below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

// reach returns a chain of imports from one package to another, or nil.
func reach(pkgs map[string]goPackage, from, to string) []string {
	seen := map[string]bool{}
	var walk func(string) []string
	walk = func(at string) []string {
		if at == to {
			return []string{at}
		}
		if seen[at] {
			return nil
		}
		seen[at] = true
		for _, next := range pkgs[at].Imports {
			if chain := walk(next); chain != nil {
				return append([]string{at}, chain...)
			}
		}
		return nil
	}
	return walk(from)
}

// Each wall stops what it is for, and lets through what the design allows.
func TestWallsStop(t *testing.T) {
	tests := []struct {
		from, to string
		refused  bool
	}{
		{"chaincode/model", "chaincode/contract", true},
		{"chaincode/model", "sdk/envelope", true},
		{"chaincode/model/modeltest", "chaincode/model", false},
		{"chaincode/contract", "sdk/envelope", true},
		{"chaincode/contract", "node/params", true},
		{"chaincode/contract/licence", "chaincode/model", false},
		{"chaincode/contract", "chaincode/contract/registry", false},
		{"chaincode/contract", "github.com/hyperledger/fabric-chaincode-go/v2/shim", false},
		{"chaincode/contract", "github.com/syndtr/goleveldb/leveldb", true},
		{"chaincode/contract/contracttest", "pgregory.net/rapid", false},
		{"chaincode/contract/contracttest", "node/params", true},
		{"chaincode/cmd/zl-chaincode", "chaincode/contract", false},
		{"chaincode/cmd/zl-chaincode", "node/internal/ledger/embedded", true},
		{"sdk", "node/internal/httpapi", true},
		{"sdk", "node/params", true},
		{"sdk/envelope", "chaincode/contract", true},
		{"sdk", "chaincode/model", false},
		{"sdk/cmd/zl-verify", "sdk/proof", false},
		{"node/internal/outbox", "node/internal/records", true},
		{"node/internal/submit", "node/internal/ledger/fabblock", true},
		{"node/internal/submit", "chaincode/contract", true},
		{"node/internal/ledger/embedded", "node/internal/ledger/client", true},
		{"node/internal/ledger/embedded", "chaincode/contract", true},
		{"node/internal/httpapi", "node/internal/app", true},
		{"node/params", "node/internal/records", true},
		{"node/internal/ledger/embedded", "node/internal/ledger/fabblock", false},
		{"node/internal/ledger/embedded/embeddedtest", "node/internal/ledger/embedded", false},
		{"node/internal/follow", "node/internal/ledger/fabblock", false},
		{"node/internal/records", "chaincode/model", false},
		{"node/internal/httpapi", "sdk/envelope", false},
		{"node/internal/httpapi", "node/params", false},
		{"node/internal/app", "node/internal/records", false},
		{"node/cmd/zhenglian", "node/internal/app", false},
		{"sdk/envelope", ethereum + "/crypto", true},
		{"sdk/envelope/secp256k1", ethereum + "/crypto", false},
		{"network/cmd/zl-network", fabSDK + "/pkg/client", true},
		{"sdk/proof", "net/http", true},
		{"sdk", "net/http", false},
	}
	for _, tt := range tests {
		name := tt.to
		if within(name, "chaincode") || within(name, "sdk") || within(name, "node") {
			name = module + "/" + name
		}
		got := violations([]goPackage{
			{ImportPath: "net/http", Standard: true},
			{ImportPath: module + "/" + tt.from, Imports: []string{name}},
		})
		if (len(got) != 0) != tt.refused {
			t.Errorf("%s → %s: %q, want refused %v", tt.from, tt.to, got, tt.refused)
		}
	}

	far := []goPackage{
		{ImportPath: module + "/sdk/proof", Imports: []string{"example.org/notes"}},
		{ImportPath: "example.org/notes", Imports: []string{"net/http"}},
		{ImportPath: "net/http", Standard: true},
	}
	if got := violations(far); len(got) != 1 || !strings.Contains(got[0], "example.org/notes → net/http") {
		t.Errorf("net/http behind another module: %q", got)
	}
	inTest := []goPackage{{ImportPath: module + "/sdk", XTestImports: []string{ethereum + "/crypto"}, TestImports: []string{fabSDK}}}
	if got := violations(inTest); len(got) != 2 {
		t.Errorf("imports of tests: %q", got)
	}
	behind := []goPackage{{ImportPath: "example.org/x", Imports: []string{fabSDK + "/pkg/fab"}}}
	if got := violations(behind); len(got) != 1 {
		t.Errorf("fabric-sdk-go behind another module: %q", got)
	}
}

func TestRootWall(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"main.go", "go.mod"} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "cmd"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := rootViolations(t, root); len(got) != 2 {
		t.Errorf("violations: %q", got)
	}
}
