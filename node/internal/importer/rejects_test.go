package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// Rows of a JSON Lines file whose first has a thousand long names are rejected in as many bytes as they have, about, and
// what was put right is imported all the same.
func TestRejectsHoldWhatRowsHold(t *testing.T) {
	var file bytes.Buffer
	file.WriteString("{")
	for i := range 900 {
		fmt.Fprintf(&file, `"%s%d":"",`, strings.Repeat("n", 60), i)
	}
	fmt.Fprintf(&file, `"name":"甲","uscc":%q,"registration_date":"2020-01-01","province":"北京","district":"东城","scope":"x"}`+"\n", code(t, 1))
	for i := range 100 {
		fmt.Fprintf(&file, `{"name":"乙","uscc":%q,"registration_date":"2020-02-30","province":"北京","district":"东城"}`+"\n", code(t, i+2))
	}
	m := mustMap(t, "enterprises-bth")
	m.Fields["face.scope"] = Source{Column: "scope"}
	im := newImport(m, file.Bytes(), newLedger(t).targets("beijing"))
	var out bytes.Buffer
	if _, err := im.Check(context.Background()); err != nil {
		t.Fatal(err)
	}
	if n, err := im.WriteRejects(context.Background(), &out, nil); err != nil || n != 100 || out.Len() > 100*1000 {
		t.Fatal(n, out.Len(), err)
	}
	again := newImport(m, bytes.ReplaceAll(out.Bytes(), []byte("02-30"), []byte("02-28")), newLedger(t).targets("beijing"))
	if c, err := again.Check(context.Background()); err != nil || c.Good != 100 {
		t.Fatal(c, err)
	}
}

// However short rows are, what is said of them is bounded, in each format.
func TestRejectsAreBounded(t *testing.T) {
	long := strings.Repeat("长", 5000)
	var csv, lines bytes.Buffer
	fmt.Fprintf(&csv, "%s,uscc,registration_date,province,district\n", long)
	for range 50 {
		csv.WriteString(",,,,\n")
		fmt.Fprintf(&lines, `{%q:"","uscc":"","registration_date":"","province":"","district":""}`+"\n", long)
	}
	for format, file := range map[Format][]byte{CSV: csv.Bytes(), JSONL: lines.Bytes()} {
		m := mustMap(t, "enterprises-bth")
		m.Fields["holder_name"] = Source{Column: long}
		im := newImport(m, file, newLedger(t).targets("beijing"))
		im.mostRejects = 300_000
		if _, err := im.Check(context.Background()); err != nil {
			t.Fatal(err)
		}
		var whole *FileError
		if _, err := im.WriteRejects(context.Background(), io.Discard, nil); !errors.As(err, &whole) || whole.Zh == "" || whole.En == "" {
			t.Errorf("%s: %v", format, err)
		}
		im.mostRejects = 0
		if n, err := im.WriteRejects(context.Background(), io.Discard, nil); err != nil || n != 50 {
			t.Errorf("%s: %d, %v", format, n, err)
		}
	}
}
