package params

import (
	"slices"
	"sync"
)

// Region is one entry of GB/T 2260.
type Region struct {
	Code     string // six digits; a province ends in 0000, a city in 00
	Name     string
	Province string // the province's name, also for the province itself
	City     string // the city's name, also for the city itself; empty for a province and where the level is a mere heading
}

// RegionTable is GB/T 2260 in the edition that Edition("regions") names.
type RegionTable struct{ byCode map[string]Region }

var regions = sync.OnceValue(func() RegionTable {
	rows := mustTable("regions", "code", "name")
	names := make(map[string]string, len(rows))
	for _, r := range rows {
		names[r[0]] = r[1]
	}
	t := RegionTable{make(map[string]Region, len(rows))}
	for _, r := range rows {
		code := r[0]
		region := Region{Code: code, Name: r[1], Province: names[code[:2]+"0000"]}
		if code[2:] != "0000" && !slices.Contains(headings, names[code[:4]+"00"]) {
			region.City = names[code[:4]+"00"]
		}
		t.byCode[code] = region
	}
	return t
})

// headings stand in the place of a city where counties belong to the province directly.
var headings = []string{"市辖区", "县", "省直辖县级行政区划", "自治区直辖县级行政区划"}

// Regions returns the table of regions.
func Regions() RegionTable { return regions() }

// Lookup finds a region by its six digits.
func (t RegionTable) Lookup(code string) (Region, bool) {
	r, ok := t.byCode[code]
	return r, ok
}

// Known tells whether the edition has the code. Codes leave the table when regions are merged or
// renamed, and identifiers that carry them stay valid.
func (t RegionTable) Known(code string) bool {
	_, ok := t.byCode[code]
	return ok
}
