package params

import "sync"

// CustomsDistrict is one entry of the customs' own table of districts 关区.
type CustomsDistrict struct {
	Code     string // four digits
	Name     string
	District string // code of the district that it belongs to; its own for the district itself
}

// CustomsDistrictTable holds Beijing, Tianjin and Shijiazhuang, in the edition that
// Edition("customs-districts") names.
type CustomsDistrictTable struct{ byCode map[string]CustomsDistrict }

var customsDistricts = sync.OnceValue(func() CustomsDistrictTable {
	t := CustomsDistrictTable{map[string]CustomsDistrict{}}
	for _, r := range mustTable("customs-districts", "code", "name", "district") {
		t.byCode[r[0]] = CustomsDistrict{Code: r[0], Name: r[1], District: r[2]}
	}
	return t
})

// CustomsDistricts returns the table of customs districts.
func CustomsDistricts() CustomsDistrictTable { return customsDistricts() }

// Lookup finds a district or an office by its four digits.
func (t CustomsDistrictTable) Lookup(code string) (CustomsDistrict, bool) {
	d, ok := t.byCode[code]
	return d, ok
}

// Known tells whether the edition has the code.
func (t CustomsDistrictTable) Known(code string) bool {
	_, ok := t.byCode[code]
	return ok
}
