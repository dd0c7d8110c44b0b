package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

const (
	picked   = "columns selected and renamed, white space put in order"
	singleWd = "kennard520/JeecgBoot, Single Window schema"
	dcsa     = "dcsaorg/DCSA-Information-Model, reference data"
)

// tables is everything that ships. Enterprises, declarations and OFD files of the reference data are
// test input and have no place here.
var tables = []table{
	{
		name: "regions", title: "行政区划代码 GB/T 2260: provinces, cities, areas",
		from:   []string{"gb2260/provinces.csv", "gb2260/cities.csv", "gb2260/areas.csv"},
		source: "modood/Administrative-divisions-of-China", licence: "WTFPL",
		changes: "three levels in one table, codes filled with zeros to six digits, sorted",
		header:  []string{"code", "name"}, build: regions,
	},
	{
		name: "customs-districts", title: "关区代码: Beijing, Tianjin, Shijiazhuang",
		from:   []string{"codes/customs-district-bth.csv"},
		source: "published code tables, collected by hand", licence: "facts",
		changes: picked, header: []string{"code", "name", "district"},
		build: columns("code", "name", "district"),
	},
	{
		name: "customs-receipt-channels", title: "报关单回执 channels",
		from:   []string{"codes/customs-receipt-channel.csv"},
		source: "published code tables, collected by hand", licence: "facts",
		changes: picked, header: []string{"code", "name", "state"},
		build: columns("code", "cn", "suggested_state"),
	},
	{
		name: "single-window-dictionary", title: "单一窗口 dictionary",
		from: []string{"codes/single-window-dict.csv"}, source: singleWd, licence: "Apache-2.0",
		changes: picked + "; the empty column of descriptions left out",
		header:  []string{"dictionary", "dictionary_name", "code", "name"},
		build:   columns("dict_code", "dict_name", "value", "text"),
	},
	{
		name: "single-window-fields", title: "单一窗口 DecMessage fields",
		from: []string{"single-window/decmessage-fields.csv"}, source: singleWd, licence: "Apache-2.0",
		changes: picked,
		header: []string{"table", "table_name", "column", "name", "xml", "type", "length",
			"required_draft", "required_declare", "note"},
		build: columns("table", "table_name", "column", "cn_name", "xml_code", "type", "length",
			"required_draft", "required_declare", "note"),
	},
	{
		name: "iso-countries", title: "ISO 3166-1 countries",
		from: []string{"iso/iso3166.csv"}, source: "lukes/ISO-3166-Countries-with-Regional-Codes",
		licence: "CC BY-SA 4.0", changes: picked, header: []string{"alpha2", "alpha3", "numeric", "name"},
		build: columns("alpha-2", "alpha-3", "country-code", "name"),
	},
	{
		name: "iso-currencies", title: "ISO 4217 currencies",
		from: []string{"iso/iso4217.csv"}, source: "datasets/currency-codes", licence: "PDDL-1.0",
		changes: picked + "; entities without a currency left out",
		header:  []string{"code", "numeric", "minor_unit", "name", "entity", "withdrawn"}, build: currencies,
	},
	{
		name: "unece-units", title: "UNECE Recommendation 20 units of measure",
		from: []string{"iso/unece-rec20-units.csv"}, source: "datasets/unece-units-of-measure",
		licence: "PDDL-1.0", changes: picked + "; descriptions left out",
		header: []string{"code", "name", "symbol", "factor", "level", "status"},
		build:  columns("CommonCode", "Name", "Symbol", "ConversionFactor", "LevelAndCategory", "Status"),
	},
	{
		name: "un-locode", title: "UN/LOCODE of CN, HK, JP, KR, SG, US, DE",
		from: []string{"un-locode/CN.csv", "un-locode/HK.csv", "un-locode/JP.csv", "un-locode/KR.csv",
			"un-locode/SG.csv", "un-locode/US.csv", "un-locode/DE.csv"},
		source: "geoapify/un-locode", licence: "MIT",
		changes: "code and name only; broken names mended, the first of several names of a code kept, sorted by code",
		header:  []string{"code", "name"}, build: locodes,
	},
	dcsaTable("document-types", "document types", "documenttypecodes.csv",
		"document_type_code", "document_type_name", "document_type_description"),
	dcsaTable("equipment-events", "equipment event types", "equipmenteventtypecodes.csv",
		"equipment_event_type_code", "equipment_event_type_name", "equipment_event_type_description"),
	// The description column of transport events has the equipment events' name in the source.
	dcsaTable("transport-events", "transport event types", "transporteventtypecodes.csv",
		"transport_event_type_code", "transport_event_type_name", "equipment_event_type_description"),
	dcsaTable("shipment-events", "shipment event types", "shipmenteventtypecodes.csv",
		"shipment_event_type_code", "shipment_event_type_name", "shipment_event_type_description"),
	dcsaTable("facility-types", "facility types", "facilitytypes.csv",
		"Facility Type Code", "Facility Type Name", "Facility Type Description"),
	{
		name: "iata-cargo-status", title: "IATA Cargo-IMP status codes",
		from: []string{"codes/cargo-imp-status-codes.csv"}, source: "IATA-Cargo/ONE-Record", licence: "MIT",
		changes: picked, header: []string{"code", "description"}, build: columns("code", "description"),
	},
	{
		name: "iata-airports", title: "IATA and ICAO airport codes",
		from: []string{"iata/iata-icao.csv"}, source: "ip2location/ip2location-iata-icao",
		licence: "CC BY-SA 4.0", changes: picked + "; airports without an IATA code left out, sorted by it",
		header: []string{"iata", "icao", "country", "name"}, build: airports,
	},
	{
		name: "hs", title: "Harmonized System: chapters, headings, subheadings",
		from: []string{"harmonized-system/harmonized-system.csv"}, source: "datasets/harmonized-system",
		licence: "PDDL-1.0", changes: picked + "; the row of the total left out",
		header: []string{"code", "section", "name"}, build: harmonized,
	},
	{
		name: "hs-sections", title: "Harmonized System: sections",
		from: []string{"harmonized-system/sections.csv"}, source: "datasets/harmonized-system",
		licence: "PDDL-1.0", changes: picked, header: []string{"section", "name"},
		build: columns("section", "name"),
	},
}

func dcsaTable(name, title, file, code, label, description string) table {
	return table{
		name: "dcsa-" + name, title: "DCSA " + title, from: []string{"dcsa/" + file},
		source: dcsa, licence: "Apache-2.0", changes: picked,
		header: []string{"code", "name", "description"}, build: columns(code, label, description),
	}
}

func columns(names ...string) func([]*source) ([][]string, []string, error) {
	return func(s []*source) ([][]string, []string, error) {
		rows, err := s[0].pick(names...)
		return rows, nil, err
	}
}

func regions(s []*source) ([][]string, []string, error) {
	seen := map[string]string{}
	var rows [][]string
	var notes []string
	for level, src := range s {
		picked, err := src.pick("code", "name")
		if err != nil {
			return nil, nil, err
		}
		for _, row := range picked {
			if len(row[0]) != 2*(level+1) || row[1] == "" {
				return nil, nil, fmt.Errorf("%s: %q", src.name, row)
			}
			code := row[0] + "000000"[len(row[0]):]
			// A city without counties stands in both the cities and the areas.
			if name, ok := seen[code]; ok {
				if name != row[1] {
					return nil, nil, fmt.Errorf("%s is %s and %s", code, name, row[1])
				}
				notes = append(notes, fmt.Sprintf("%s %s stands on two levels, kept once", code, name))
				continue
			}
			seen[code] = row[1]
			rows = append(rows, []string{code, row[1]})
		}
	}
	sortByCode(rows)
	return rows, notes, nil
}

func currencies(s []*source) ([][]string, []string, error) {
	rows, err := s[0].pick("AlphabeticCode", "NumericCode", "MinorUnit", "Currency", "Entity", "WithdrawalDate")
	if err != nil {
		return nil, nil, err
	}
	n := len(rows)
	rows = slices.DeleteFunc(rows, func(r []string) bool { return r[0] == "" })
	return rows, []string{fmt.Sprintf("%d entities without a currency left out", n-len(rows))}, nil
}

func airports(s []*source) ([][]string, []string, error) {
	rows, err := s[0].pick("iata", "icao", "country_code", "airport")
	if err != nil {
		return nil, nil, err
	}
	n := len(rows)
	rows = slices.DeleteFunc(rows, func(r []string) bool { return r[0] == "" })
	notes := []string{fmt.Sprintf("%d airports without an IATA code left out", n-len(rows))}
	sortByCode(rows)
	for i := 1; i < len(rows); i++ {
		if rows[i][0] == rows[i-1][0] {
			notes = append(notes, fmt.Sprintf("%s is both %s and %s, both kept", rows[i][0], rows[i-1][3], rows[i][3]))
		}
	}
	return rows, notes, nil
}

func harmonized(s []*source) ([][]string, []string, error) {
	rows, err := s[0].pick("hscode", "section", "description")
	if err != nil {
		return nil, nil, err
	}
	rows = slices.DeleteFunc(rows, func(r []string) bool { return r[0] == "TOTAL" })
	for _, r := range rows {
		if n := len(r[0]); (n != 2 && n != 4 && n != 6) || strings.Trim(r[0], "0123456789") != "" {
			return nil, nil, fmt.Errorf("code %q", r[0])
		}
	}
	return rows, nil, nil
}

func sortByCode(rows [][]string) {
	slices.SortStableFunc(rows, func(a, b []string) int { return cmp.Compare(a[0], b[0]) })
}

// editionOf names the edition: the one its publisher declares, else the snapshot by its digest. No
// other table of the reference data declares one.
func editionOf(data fs.FS, t table, digest []byte) (string, error) {
	snapshot := "snapshot sha256 " + short(digest)
	if t.source != "datasets/harmonized-system" {
		return snapshot, nil
	}
	const name = "harmonized-system/datapackage.json"
	raw, err := fs.ReadFile(data, name)
	if err != nil {
		return "", err
	}
	var p struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal(bytes.TrimPrefix(raw, []byte("\ufeff")), &p); err != nil || p.Version == "" {
		return "", fmt.Errorf("%s: no version: %v", name, err)
	}
	return p.Version + ", " + snapshot, nil
}
