package main

import (
	"encoding/csv"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/xuri/excelize/v2"
	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/zhenglian/zhenglian/sdk"
)

// workbook makes a workbook of a CSV file: workbook FILE.csv FILE.xlsx. A cell that begins with "n:" is a
// number, with "d:" the serial number of a day, with "f:" a formula, with "m:" merged with the next cell.
func workbook(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: workbook FILE.csv FILE.xlsx")
	}
	rows, err := csv.NewReader(strings.NewReader(ts.ReadFile(args[0]))).ReadAll()
	ts.Check(err)
	x := excelize.NewFile()
	day, err := x.NewStyle(&excelize.Style{NumFmt: 14})
	ts.Check(err)
	for i, row := range rows {
		for k, s := range row {
			if s == "" {
				continue
			}
			cell, err := excelize.CoordinatesToCellName(k+1, i+1)
			ts.Check(err)
			kind, rest, _ := strings.Cut(s, ":")
			switch kind {
			case "n", "d":
				n, err := strconv.ParseFloat(rest, 64)
				ts.Check(err)
				ts.Check(x.SetCellValue("Sheet1", cell, n))
				if kind == "d" {
					ts.Check(x.SetCellStyle("Sheet1", cell, cell, day))
				}
			case "f":
				ts.Check(x.SetCellFormula("Sheet1", cell, rest))
			case "m":
				next, err := excelize.CoordinatesToCellName(k+2, i+1)
				ts.Check(err)
				ts.Check(x.SetCellValue("Sheet1", cell, rest))
				ts.Check(x.MergeCell("Sheet1", cell, next))
			default:
				ts.Check(x.SetCellValue("Sheet1", cell, s))
			}
		}
	}
	ts.Check(x.SaveAs(ts.MkAbs(args[1])))
}

// approveBatches is the second person at every node of a demo: it agrees to all batches that wait.
func approveBatches(t *testing.T, demo string) {
	t.Helper()
	nodes, err := readDemo(demo)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		c := &sdk.Client{BaseURL: n.URL, Key: n.Keys["approver"]}
		page, err := c.Drafts(t.Context(), sdk.DraftQuery{State: sdk.DraftPending})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page.Drafts {
			if d.Batch == nil {
				continue
			}
			if _, err := c.ApproveDraft(t.Context(), d.ID, d.Content, sdk.Write{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// gbk writes a file in GB 18030: gbk FROM TO.
func gbk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: gbk FROM TO")
	}
	out, err := simplifiedchinese.GB18030.NewEncoder().String(ts.ReadFile(args[0]))
	ts.Check(err)
	w, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	_, err = w.WriteString(out)
	ts.Check(err)
	ts.Check(w.Close())
}
