package e2e

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"google.golang.org/protobuf/proto"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/sdk"
)

const operatorPermit = "11100000MB0143028R002"

// Values that stand nowhere else in the world.
const (
	secretName           = "欧阳试验者甲"
	secretRepresentative = "慕容保密人乙"
	publicNumber         = "公开编号-7f3a9c"
	publicPermit         = "公开作业证-55d1e0"
)

// citizenID is an invented person's valid identity number (GB 11643).
func citizenID(body string) string {
	weights := []int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2}
	sum := 0
	for i, w := range weights {
		sum += int(body[i]-'0') * w
	}
	return body + string("10X98765432"[sum%11])
}

// confidential issues licences with confidential fields and then looks for their values and salts at
// everybody else's: in the ledger's folder as bytes, as database entries and as decoded blocks, in the other
// nodes' folders, in what every process printed, and in what the other nodes answer.
func confidential(t *testing.T, c *consortium) {
	c.start("beijing", "tianjin", "hebei")
	n, other := c.nodes["beijing"], c.nodes["tianjin"]
	person := citizenID("11010519900307421")

	var permit, permit2, licence model.Outcome
	ask := func(number string) []byte {
		raw, err := json.Marshal(sdk.NewLicence{
			Type: operatorPermit, Number: number, Holder: sdk.Holder{Kind: model.HolderPerson, Code: person, Name: secretName},
			IssuedOn: "2026-01-05", ValidUntil: "2030-01-04", Face: map[string]any{"work_item": "A", "grade": "一级"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	n.mustPost("/v1/licences", ask(publicPermit), &permit)
	n.mustPost("/v1/licences", ask(publicPermit+"-2"), &permit2)
	uscc, err := model.InventUSCC("91110105X", 42)
	if err != nil {
		t.Fatal(err)
	}
	n.mustPost("/v1/licences", sdk.NewLicence{
		Type: businessLicence, Number: publicNumber, Holder: sdk.Holder{Code: string(uscc), Name: "北京样例科技发展有限公司"},
		IssuedOn: "2026-01-05", ValidUntil: "2046-01-04", ConfidentialFace: map[string]any{"representative": secretRepresentative},
	}, &licence)
	if len(permit.Presentation) != 2 || len(licence.Presentation) != 1 {
		t.Fatalf("presentations: %+v, %+v", permit, licence)
	}
	secrets := map[string][]byte{"person": []byte(person), "name": []byte(secretName), "representative": []byte(secretRepresentative)}
	for of, p := range map[string]model.Presentation{"permit": permit.Presentation, "second permit": permit2.Presentation, "licence": licence.Presentation} {
		for field, o := range p {
			name := "salt of " + of + " " + field
			secrets[name] = bytes.Clone(o.Salt[:])
			secrets[name+", hexadecimal"] = []byte(hex.EncodeToString(o.Salt[:]))
			secrets[name+", base64"] = []byte(base64.RawURLEncoding.EncodeToString(o.Salt[:]))
		}
	}
	eventually(t, 10*time.Second, "the others have everything", func() bool {
		return other.at().Position == n.at().Position && c.nodes["hebei"].at().Position == n.at().Position
	})

	other.tellsNothing(secrets, []model.Outcome{permit, permit2, licence})
	other.confirmsNoGuess(permit, person)
	var v model.Verdict
	other.mustPost("/v1/verify", model.Query{Record: permit.Record, Presentation: permit.Presentation}, &v)
	if v.Verdict != model.Valid {
		t.Errorf("with the salts: %s (%s)", v.Verdict, v.Reason)
	}
	a, b := commitments(t, other.record(permit.Record)), commitments(t, other.record(permit2.Record))
	for field := range a {
		if a[field] == b[field] {
			t.Errorf("two licences of one person can be linked by %s", field)
		}
	}

	for _, name := range []string{"beijing", "tianjin", "hebei"} {
		p := c.nodes[name].p
		p.stop()
		seek(t, name+" printed", p.out.bytes(), secrets)
	}
	dirs := []string{other.dir, c.nodes["hebei"].dir}
	if c.ledger != nil {
		c.ledger.p.stop()
		seek(t, "the ledger printed", c.ledger.p.out.bytes(), secrets)
		dirs = append(dirs, c.ledger.dir)
		if found := search(t, c.ledger.service, secrets); len(found) > 0 {
			t.Errorf("the ledger's configuration holds %q", found)
		}
	} else {
		dirs = append(dirs, c.stopped()...)
		defer c.start("beijing", "tianjin", "hebei")
	}

	// The search finds what is there: the public numbers at everybody's, the secrets at the issuer's.
	public := map[string][]byte{"number": []byte(publicNumber), "permit": []byte(publicPermit)}
	for _, dir := range dirs {
		found := search(t, dir, secrets)
		if len(found) > 0 {
			t.Errorf("%s holds %q", dir, found)
		}
		if len(search(t, dir, public)) != len(public) {
			t.Errorf("the search does not find the public numbers in %s", dir)
		}
	}
	own := search(t, n.dir, secrets)
	for _, name := range []string{"person", "name", "representative"} {
		if own[name] == "" {
			t.Errorf("the search does not find the %s at its own node", name)
		}
	}
}

func seek(t testing.TB, where string, b []byte, secrets map[string][]byte) {
	t.Helper()
	for name, s := range secrets {
		if bytes.Contains(b, s) {
			t.Errorf("%s the %s", where, name)
		}
	}
}

// tellsNothing reads everything about the records at a node that is not their issuer's.
func (n *node) tellsNothing(secrets map[string][]byte, outcomes []model.Outcome) {
	t := n.t
	t.Helper()
	for _, o := range outcomes {
		for _, path := range []string{"/v1/licences/", "/v1/records/licence/"} {
			for _, tail := range []string{"", "/history"} {
				if path == "/v1/licences/" && tail != "" {
					continue
				}
				a, err := n.send(context.Background(), http.MethodGet, n.url+path+string(o.Record)+tail, n.keys["auditor"], nil)
				if err != nil || a.status != http.StatusOK {
					t.Errorf("%s%s%s: %d %v", path, o.Record, tail, a.status, err)
				}
				seek(t, path+" tells", a.body, secrets)
			}
		}
		a, err := n.send(context.Background(), http.MethodGet, n.url+"/v1/operations/"+o.Operation.String(), n.keys["approver"], nil)
		if err != nil || strings.Contains(string(a.body), "presentation") {
			t.Errorf("the operation at another node: %d %.300s %v", a.status, a.body, err)
		}
		body, err := json.Marshal(model.Query{Record: o.Record})
		if err != nil {
			t.Fatal(err)
		}
		if a, err = n.post("/v1/verify", body); err != nil {
			t.Fatal(err)
		}
		seek(t, "a verdict tells", a.body, secrets)
	}
	for _, e := range n.log() {
		seek(t, "an event tells", e.Body, secrets)
	}
}

func (n *node) record(id model.RecordID) *model.View {
	n.t.Helper()
	var r sdk.Record
	n.mustGet("/v1/licences/"+string(id), &r)
	return &r.Record
}

func commitments(t testing.TB, v *model.View) map[string]model.Digest {
	t.Helper()
	var public struct {
		Commitments map[string]model.Digest `json:"commitments"`
	}
	if err := json.Unmarshal(v.Public, &public); err != nil || len(public.Commitments) == 0 {
		t.Fatalf("no commitments: %v %s", err, v.Public)
	}
	return public.Commitments
}

// confirmsNoGuess knows the person's number and tries to find out whether the licence is that person's
// without the salt: neither the node says it, nor can it be computed from what is public.
func (n *node) confirmsNoGuess(o model.Outcome, person string) {
	n.t.Helper()
	var first model.Verdict
	n.mustPost("/v1/verify", model.Query{Record: o.Record}, &first)
	if first.Verdict != model.Undetermined || first.Reason != model.ReasonSaltNeeded {
		n.t.Errorf("without a salt: %s (%s)", first.Verdict, first.Reason)
	}
	answers := map[string]bool{}
	for _, guess := range []string{person, citizenID("11010519900307422")} {
		var v model.Verdict
		n.mustPost("/v1/verify", model.Query{Record: o.Record, Presentation: model.Presentation{
			model.FieldHolderCode: {Salt: model.NewSalt(), Value: guess}}}, &v)
		if v.Verdict == model.Valid {
			n.t.Errorf("a guessed salt makes the licence valid")
		}
		answers[string(v.Verdict)+string(v.Reason)] = true
	}
	if len(answers) != 1 {
		n.t.Errorf("a right and a wrong guess are answered differently: %v", answers)
	}
	for field, c := range commitments(n.t, n.record(o.Record)) {
		for _, value := range []string{person, secretName} {
			quoted := []byte(`"` + value + `"`)
			for _, message := range [][]byte{[]byte(value), quoted, append([]byte("zhenglian commitment v1\n"+field+"\n"), quoted...)} {
				plain := sha256.Sum256(message)
				for _, key := range [][]byte{nil, make([]byte, 32), []byte(o.Record), []byte(field)} {
					mac := hmac.New(sha256.New, key)
					mac.Write(message)
					if bytes.Equal(plain[:], c[:]) || bytes.Equal(mac.Sum(nil), c[:]) {
						n.t.Errorf("the commitment to %s can be computed without the salt", field)
					}
				}
			}
		}
	}
}

// search looks for values below a stopped process's folder and says where it found each: in the files'
// bytes, in the entries of every database, in the archive's blocks unpacked, and in the operations of blocks
// decoded.
func search(t testing.TB, dir string, values map[string][]byte) map[string]string {
	t.Helper()
	found := map[string]string{}
	look := func(where string, b []byte) {
		for name, v := range values {
			if bytes.Contains(b, v) {
				found[name] = where
			}
		}
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if _, err := os.Stat(filepath.Join(path, "CURRENT")); err == nil {
				return entries(path, func(key, value []byte) {
					look(path, key)
					look(path, value)
					lookIntoBlock(path, value, look)
				})
			}
			return nil
		}
		raw := mustRead(t, path)
		look(path, raw)
		if strings.HasSuffix(path, ".blocks") {
			if blocks := unpack(t, path, raw, look); blocks == 0 {
				t.Errorf("%s holds no block", path)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// entries reads a database without changing it.
func entries(path string, yield func(key, value []byte)) error {
	db, err := leveldb.OpenFile(path, &opt.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	it := db.NewIterator(nil, nil)
	for it.Next() {
		yield(it.Key(), it.Value())
	}
	it.Release()
	if err := it.Error(); err != nil {
		return err
	}
	return db.Close()
}

// unpack reads an archive's segment as docs/spec/archive.md has it.
func unpack(t testing.TB, path string, raw []byte, look func(string, []byte)) (blocks int) {
	t.Helper()
	const header = 17
	for len(raw) >= header {
		size := int(binary.LittleEndian.Uint32(raw))
		if len(raw) < header+size {
			t.Fatalf("%s: a torn frame", path)
		}
		block, err := snappy.Decode(nil, raw[header:header+size])
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		look(path+" unpacked", block)
		lookIntoBlock(path+" unpacked", block, look)
		raw = raw[header+size:]
		blocks++
	}
	return blocks
}

// argumentsOf are what a transaction calls the contract with, unpacked; nil for a transaction of another shape.
func argumentsOf(data []byte) [][]byte {
	var tx peer.Transaction
	var action peer.ChaincodeActionPayload
	var proposal peer.ChaincodeProposalPayload
	var input peer.ChaincodeInvocationSpec
	if proto.Unmarshal(data, &tx) != nil || len(tx.GetActions()) == 0 || proto.Unmarshal(tx.GetActions()[0].GetPayload(), &action) != nil ||
		proto.Unmarshal(action.GetChaincodeProposalPayload(), &proposal) != nil || proto.Unmarshal(proposal.GetInput(), &input) != nil {
		return nil
	}
	args := input.GetChaincodeSpec().GetInput().GetArgs()
	if len(args) < 2 {
		return nil
	}
	out, err := model.Unpack(args[1:])
	if err != nil {
		return args
	}
	return out
}

// lookIntoBlock looks into the payloads of a block's transactions, where the value is one (stored after a
// checksum of 32 bytes, or bare).
func lookIntoBlock(where string, value []byte, look func(string, []byte)) {
	for _, skip := range []int{0, 32} {
		var b common.Block
		if len(value) <= skip || proto.Unmarshal(value[skip:], &b) != nil || b.GetHeader() == nil {
			continue
		}
		for _, raw := range b.GetData().GetData() {
			var e common.Envelope
			var p common.Payload
			if proto.Unmarshal(raw, &e) == nil && proto.Unmarshal(e.GetPayload(), &p) == nil {
				look(where+" decoded", p.GetData())
				for _, arg := range argumentsOf(p.GetData()) {
					look(where+" unpacked from a transaction", arg)
				}
			}
		}
	}
}
