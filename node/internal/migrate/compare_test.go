package migrate_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/migrate"
)

// memory is records in memory.
type memory struct {
	leaves []migrate.Leaf
	views  []model.View // in the order of kind and id
}

func (m *memory) Position() uint64 { return uint64(len(m.leaves)) }

func (m *memory) Leaves(from uint64, limit int) ([]migrate.Leaf, error) {
	if from >= m.Position() {
		return nil, nil
	}
	return slices.Clone(m.leaves[from:min(int(from)+limit, len(m.leaves))]), nil
}

func (m *memory) List(kind model.Kind, after model.RecordID, limit int) (out []model.View, err error) {
	for _, v := range m.views {
		if v.Kind == kind && v.ID > after && len(out) < limit {
			out = append(out, v)
		}
	}
	return out, nil
}

// records are n licences, each issued and every third suspended.
func records(n int) *memory {
	m := &memory{}
	leaf := func(typ model.Type, id model.RecordID) {
		p := uint64(len(m.leaves))
		m.leaves = append(m.leaves, migrate.Leaf{
			Position: p, Hash: model.DigestOf(fmt.Append(nil, "leaf", p)), Operation: model.NewOpID(), Type: typ, Kind: model.KindLicence, ID: id,
			Digest: model.DigestOf(fmt.Append(nil, "op", p)), Record: model.DigestOf(fmt.Append(nil, "record", p)), Msp: "BeijingMSP",
		})
	}
	for i := range n {
		id := model.RecordID(fmt.Sprintf("bj-scjg.%06d", i))
		leaf(model.LicenceIssue, id)
		if i%3 == 0 {
			leaf(model.LicenceSuspend, id)
		}
		last := m.leaves[len(m.leaves)-1]
		m.views = append(m.views, model.View{Kind: model.KindLicence, ID: id, Header: model.Header{Version: 1, Owner: "bj-scjg"}, Public: json.RawMessage(`{"a":1}`),
			Digest: last.Record, Position: last.Position, Leaf: last.Hash})
	}
	return m
}

func (m *memory) clone() *memory {
	return &memory{slices.Clone(m.leaves), slices.Clone(m.views)}
}

func (m *memory) close() *memory {
	m.leaves = append(m.leaves, migrate.Leaf{Position: m.Position(), Type: model.ImportClosed, Kind: model.KindImport, ID: model.ImportID})
	m.views = append(m.views, model.View{Kind: model.KindImport, ID: model.ImportID, Position: m.Position() - 1})
	return m
}

func TestCompare(t *testing.T) {
	was := records(1700)
	end, err := migrate.EndOf(t.Context(), was, was.Position(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*memory)
		codes  string
		since  uint64
	}{
		{"the same", func(*memory) {}, "", 0},
		{"closed", func(m *memory) { m.close() }, "", 1},
		{"closed, and one written to since", func(m *memory) {
			m.close()
			m.leaves = append(m.leaves, migrate.Leaf{Position: m.Position(), Type: model.LicenceCancel})
			m.views[7].Position, m.views[7].Version = m.Position()-1, 9
		}, "", 2},
		{"a leaf is another", func(m *memory) { m.leaves[900].Hash[3] ^= 1 }, "leaf.differs", 0},
		{"an operation is another", func(m *memory) { m.leaves[5].Operation[0] ^= 1 }, "leaf.differs", 0},
		{"a record digest is another", func(m *memory) { m.leaves[5].Record[0] ^= 1 }, "leaf.differs", 0},
		{"two in another order", func(m *memory) {
			m.leaves[10], m.leaves[11] = m.leaves[11], m.leaves[10]
			m.leaves[10].Position, m.leaves[11].Position = 10, 11
		}, "leaf.differs leaf.differs", 0},
		{"on another's word", func(m *memory) { m.leaves[3].Msp = "TianjinMSP" }, "leaf.word", 0},
		{"late", func(m *memory) { m.leaves[3].Late = true }, "leaf.word", 0},
		{"the last is missing", func(m *memory) { m.leaves = m.leaves[:len(m.leaves)-1] }, "leaf.missing", 0},
		{"one more", func(m *memory) {
			m.leaves = append(m.leaves, migrate.Leaf{Position: m.Position(), Type: model.LicenceCancel})
		}, "leaf.extra", 0},
		{"a record is missing", func(m *memory) { m.views = slices.Delete(m.views, 100, 101) }, "record.missing", 0},
		{"the last record is missing", func(m *memory) { m.views = m.views[:len(m.views)-1] }, "record.missing", 0},
		{"a record more", func(m *memory) {
			m.views = append(m.views, model.View{Kind: model.KindLicence, ID: "tj-scjg.1"})
		}, "record.extra", 0},
		{"a value is another", func(m *memory) { m.views[600].Public = json.RawMessage(`{"a":2}`) }, "record.differs", 0},
		{"a state is another", func(m *memory) { m.views[600].State = "suspended" }, "record.differs", 0},
		{"contested", func(m *memory) { m.views[600].Duplicate = true }, "record.differs", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			is := was.clone()
			c.change(is)
			got, err := migrate.Compare(t.Context(), was, is, nil)
			if err != nil {
				t.Fatal(err)
			}
			var codes []string
			for _, d := range got.Differences {
				codes = append(codes, d.Code)
				if d.En == "" || d.Zh == "" {
					t.Errorf("%+v", d)
				}
			}
			if strings.Join(codes, " ") != c.codes || got.End != end || got.Since != c.since || got.More {
				t.Errorf("%v, %+v", codes, got)
			}
		})
	}
}

// TestCompareAllOver ends early.
func TestCompareAllOver(t *testing.T) {
	was := records(2000)
	got, err := migrate.Compare(t.Context(), was, records(2000), nil)
	if err != nil || len(got.Differences) != 100 || !got.More || got.Leaves > 1000 {
		t.Fatal(len(got.Differences), got.More, got.Leaves, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := migrate.Compare(ctx, was, was, nil); err == nil {
		t.Error("a cancelled comparison succeeds")
	}
}
