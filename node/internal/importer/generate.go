package importer

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// seats are where invented holders sit: as in files of real ones, provinces and districts by name.
var seats = []struct {
	province, district string
	region             string
}{
	{"北京", "东城", "110101"}, {"北京", "西城", "110102"}, {"北京", "朝阳", "110105"}, {"北京", "海淀", "110108"},
	{"北京", "丰台", "110106"}, {"北京", "通州", "110112"}, {"北京", "昌平", "110114"},
	{"天津", "和平", "120101"}, {"天津", "滨海", "120116"}, {"天津", "南开", "120104"}, {"天津", "西青", "120111"},
	{"河北", "石家庄", "130102"}, {"河北", "廊坊", "131003"}, {"河北", "保定", "130602"}, {"河北", "唐山", "130202"},
}

var (
	nameSyllables = []string{"澄", "岚", "禾", "砚", "沐", "璟", "苒", "泓", "翊", "榕", "弈", "朔", "珩", "霁", "湛", "槿", "麓", "溪", "衡", "岫"}
	nameTrades    = []string{"科技", "商贸", "食品", "医疗器械", "物流", "建筑工程", "文化传媒", "环保设备", "餐饮管理", "信息咨询"}
)

// codeAlphabet is that of the unified social credit code.
const codeAlphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// Generate writes n invented enterprises in the columns name, uscc, registration_date, province and
// district, which the shipped map enterprises-bth reads. The same seed gives the same file.
//
// The codes are valid and no two are alike. Their organisation codes begin with X, which no code in use
// does, so none is anybody's.
func Generate(w io.Writer, n int, seed uint64) error {
	if n < 0 || n > 31*31*31*31*31 {
		return fmt.Errorf("cannot invent %d enterprises", n)
	}
	r := rand.New(rand.NewPCG(seed, 0x7a68656e676c))
	out := bufio.NewWriter(w)
	if _, err := out.WriteString("name,uscc,registration_date,province,district\n"); err != nil {
		return err
	}
	first := model.Date("2001-01-01").Days()
	span := model.Date("2025-12-31").Days() - first
	start := r.IntN(31 * 31 * 31)
	for i := range n {
		seat := seats[r.IntN(len(seats))]
		code, err := inventedCode(seat.region, i, start)
		if err != nil {
			return err
		}
		pick := func(from []string) string { return from[r.IntN(len(from))] }
		stem := pick(nameSyllables) + pick(nameSyllables) + pick(nameSyllables)
		trade := pick(nameTrades)
		var name string
		switch r.IntN(4) {
		case 0:
			name = stem + "（" + seat.province + "）" + trade + "有限公司"
		case 1:
			name = stem + "(" + seat.province + ")" + trade + "有限公司"
		case 2:
			name = seat.province + stem + trade + "有限责任公司"
		default:
			name = seat.province + stem + trade + "股份有限公司"
		}
		day := model.DateFromDays(first + uint32(r.IntN(int(span))))
		if _, err := fmt.Fprintf(out, "%s,%s,%s,%s,%s\n", name, code, day, seat.province, seat.district); err != nil {
			return err
		}
	}
	return out.Flush()
}

// inventedCode is the i-th code of a file. The letter X within keeps it from reading as a citizen id.
func inventedCode(region string, i, start int) (model.USCC, error) {
	b := []byte("X00" + "00000")
	for at, v := 7, i; at >= 3; at, v = at-1, v/31 {
		b[at] = codeAlphabet[v%31]
	}
	for at, v := 2, start; at >= 1; at, v = at-1, v/31 {
		b[at] = codeAlphabet[v%31]
	}
	for _, check := range "0123456789X" {
		if _, err := model.ParseOrganisationCode(string(b) + string(check)); err == nil {
			return model.USCCFrom("91" + region + string(b) + string(check))
		}
	}
	return "", model.E(model.CodeBadOrgCode)
}
