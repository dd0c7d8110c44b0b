package model

import (
	"time"
)

// Shanghai is the zone of every legal day. It has had no daylight saving since 1991, and the fixed offset
// keeps chaincode independent of a machine's zone files.
var Shanghai = time.FixedZone("Asia/Shanghai", shanghaiOffset)

const shanghaiOffset = 8 * 3600 // seconds

// Date is a day in Asia/Shanghai, "YYYY-MM-DD". The zero value means none: as an end, 长期 (no end).
type Date string

// ParseDate accepts only days that exist, from 1900 to 2999.
func ParseDate(s string) (Date, error) {
	if len(s) != 10 || s[4] != '-' || s[7] != '-' {
		return "", E(CodeBadDate)
	}
	n := [8]int{}
	for i, at := range [8]int{0, 1, 2, 3, 5, 6, 8, 9} {
		if s[at] < '0' || s[at] > '9' {
			return "", E(CodeBadDate)
		}
		n[i] = int(s[at] - '0')
	}
	year, month, day := n[0]*1000+n[1]*100+n[2]*10+n[3], n[4]*10+n[5], n[6]*10+n[7]
	if year < 1900 || year > 2999 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) {
		return "", E(CodeBadDate)
	}
	return Date(s), nil
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// DateOf is the Shanghai day of an instant.
func DateOf(t time.Time) Date {
	s := t.Unix() + shanghaiOffset
	days := s / 86400
	if s%86400 < 0 {
		days--
	}
	return civilDate(days)
}

// UnmarshalText parses.
func (d *Date) UnmarshalText(b []byte) error { return parseInto(d, b, ParseDate) }

// Start is the first instant of the day.
func (d Date) Start() time.Time {
	t, _ := time.ParseInLocation(time.DateOnly, string(d), Shanghai)
	return t
}

// End is the last instant of the day that a Time can hold.
func (d Date) End() time.Time { return d.Start().AddDate(0, 0, 1).Add(-time.Millisecond) }

// Days counts days since 1900-01-01, starting at 1; 0 is the zero Date. Pages store dates so.
func (d Date) Days() uint32 {
	if len(d) != 10 {
		return 0
	}
	n := func(i int) int { return int(d[i] - '0') }
	return uint32(civilDays(n(0)*1000+n(1)*100+n(2)*10+n(3), n(5)*10+n(6), n(8)*10+n(9))-civilEpoch) + 1
}

// DateFromDays is the inverse of Days.
func DateFromDays(n uint32) Date {
	if n == 0 {
		return ""
	}
	return civilDate(int64(n) - 1 + civilEpoch)
}

const civilEpoch = -25567 // 1900-01-01 in days since 1970-01-01

// civilDays counts days since 1970-01-01 in the proleptic Gregorian calendar, from the year 0 on.
func civilDays(y, m, d int) int64 {
	if m <= 2 {
		y--
		m += 12
	}
	if y < 0 { // January and February of the year 0
		y += 400
		d -= 146097
	}
	return int64(365*y + y/4 - y/100 + y/400 + (153*(m-3)+2)/5 + d - 719469)
}

// civilDate is the inverse of civilDays, written. Every page holds three dates a header, so it is worth
// its own arithmetic: years run from March here, which puts the leap day at their end.
func civilDate(days int64) Date {
	z := days + 719468
	era := z / 146097
	if z < 0 {
		era = (z - 146096) / 146097
	}
	doe := z - era*146097
	yoe := (doe - doe/1460 + doe/36524 - doe/146096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	d, m, y := doy-(153*mp+2)/5+1, mp+3, yoe+era*400
	if m > 12 {
		m, y = m-12, y+1
	}
	if y < 0 || y > 9999 {
		return Date(time.Unix(days*86400, 0).UTC().Format(time.DateOnly))
	}
	b := [10]byte{'0', '0', '0', '0', '-', '0', '0', '-', '0', '0'}
	for _, f := range [...]struct {
		at int
		n  int64
	}{{3, y}, {6, m}, {9, d}} {
		for i, n := f.at, f.n; n > 0; i, n = i-1, n/10 {
			b[i] += byte(n % 10)
		}
	}
	return Date(b[:])
}

// Window is a range of days, both ends inclusive; a zero Until has no end.
type Window struct {
	From  Date `json:"from" zl:"public,date"`
	Until Date `json:"until" zl:"public,date"`
}

// Holds reports whether d lies in the window.
func (w Window) Holds(d Date) bool { return w.From <= d && (w.Until == "" || d <= w.Until) }

// Check refuses a window without beginning or that ends before it begins.
func (w Window) Check(field string) error {
	if w.From == "" {
		return E(CodeMissingField, field+".from")
	}
	if w.Until != "" && w.Until < w.From {
		return E(CodeBadDate, field+".until")
	}
	return nil
}

// Time is an instant in UTC with millisecond precision, written "2006-01-02T15:04:05.000Z".
type Time struct{ ms int64 }

const timeLayout = "2006-01-02T15:04:05.000Z"

// TimeOf truncates to milliseconds.
func TimeOf(t time.Time) Time { return Time{t.UnixMilli()} }

// ParseTime accepts the one written form.
func ParseTime(s string) (Time, error) {
	if len(s) != len(timeLayout) {
		return Time{}, E(CodeBadTime)
	}
	n := [7]int{} // year, month, day, hour, minute, second, millisecond
	f := 0
	for i := 0; i < len(s); i++ {
		c, form := s[i], timeLayout[i]
		switch {
		case form >= '0' && form <= '9':
			if c < '0' || c > '9' {
				return Time{}, E(CodeBadTime)
			}
			n[f] = n[f]*10 + int(c-'0')
		case c != form:
			return Time{}, E(CodeBadTime)
		default:
			f++
		}
	}
	if n[1] < 1 || n[1] > 12 || n[2] < 1 || n[2] > daysIn(n[0], n[1]) || n[3] > 23 || n[4] > 59 || n[5] > 59 {
		return Time{}, E(CodeBadTime)
	}
	seconds := civilDays(n[0], n[1], n[2])*86400 + int64(n[3]*3600+n[4]*60+n[5])
	return Time{seconds*1000 + int64(n[6])}, nil
}

// Time converts.
func (t Time) Time() time.Time { return time.UnixMilli(t.ms).UTC() }

// IsZero reports whether t was never set.
func (t Time) IsZero() bool { return t.ms == 0 }

// Date is the Shanghai day.
func (t Time) Date() Date { return DateOf(t.Time()) }

func (t Time) String() string { return t.Time().Format(timeLayout) }

// MarshalText writes the one form; the zero Time as "".
func (t Time) MarshalText() ([]byte, error) {
	if t.ms == 0 {
		return []byte{}, nil
	}
	return t.Time().AppendFormat(make([]byte, 0, 24), timeLayout), nil
}

// UnmarshalText parses.
func (t *Time) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*t = Time{}
		return nil
	}
	v, err := ParseTime(string(b))
	*t = v
	return err
}
