package model

import (
	"sort"
	"unicode/utf8"
)

// The search for a citizen identity number in a text. It decides what an endorser accepts, so all that it
// knows of characters stands here and not in a library's tables, which grow with its releases: two builds
// must never differ.

// looksPersonal slides over the digits of a text: the decimal digits of every script are digits, what looks
// like an X is one, and up to maxGap characters that are neither letters nor digits may stand between any
// two. Chinese numerals (一二三) are letters.
func looksPersonal(text []byte) bool { return scanDigits(text, false) }

// mayBePersonal is looksPersonal for a whole JSON text: quotes end a string, an escape is one character.
// Where it finds nothing no string within holds a number; what it finds may be made of several.
func mayBePersonal(json []byte) bool { return scanDigits(json, true) }

// maxGap is how many characters may break a number up in one place.
const maxGap = 3

// digit is one of a number, and what stands between it and the one before.
type digit struct {
	value byte // '0'–'9' or 'X'
	gap   gap
}

type gap byte

const (
	joined gap = iota // nothing
	apart             // up to maxGap characters, or whatever begins a run
	colon             // one colon
)

func scanDigits(b []byte, json bool) bool {
	var run [18 + 8]digit // the last digits, oldest first: more than a number has, for the date that it may begin in
	n, gaps := 0, 0
	last := byte(0) // the last character of the gap
	for i := 0; i < len(b); {
		if n == 0 {
			for i < len(b) && passed[b[i]] {
				i++
			}
			if i == len(b) {
				return false
			}
			gaps = 0
		}
		c, size := b[i], 1
		switch {
		case c >= '0' && c <= '9':
		case c == 'x' || c == 'X':
			c = 'X'
		case c >= 0x80:
			if c > 0xe4 && c < 0xea && i+2 < len(b) && b[i+1] >= 0x80 && b[i+2] >= 0x80 { // Chinese characters
				n = 0
				i += 3
				continue
			}
			var r rune
			r, size = utf8.DecodeRune(b[i:])
			c, last = foldRune(r), 0
			if r == '：' {
				last = ':'
			}
		case c|0x20 >= 'a' && c|0x20 <= 'z':
			c = letter
		case json && c == '"':
			c = letter
		case json && c == '\\':
			if size = 2; i+1 < len(b) && b[i+1] == 'u' {
				size = 6
			}
			c, last = between, 0
		default:
			last, c = c, between
		}
		i += size
		switch c {
		case letter:
			n = 0
			continue
		case between:
			if gaps++; gaps > maxGap {
				n = 0
			}
			continue
		}
		d := digit{value: c}
		switch {
		case n == 0:
			d.gap = apart
		case gaps == 0:
		case gaps == 1 && last == ':':
			d.gap = colon
		default:
			d.gap = apart
		}
		gaps = 0
		if n == len(run) {
			copy(run[:], run[1:])
			n--
		}
		run[n] = d
		n++
		if n >= 18 && personal(run[:n]) {
			return true
		}
		if c == 'X' { // stands only at the end
			n = 0
		}
	}
	return false
}

// Classes of characters beside digits and X.
const (
	letter  = 'a'
	between = ' '
)

// passed are the bytes that begin nothing while no digit is at hand.
var passed = func() (p [256]bool) {
	for c := range 0x80 {
		p[c] = (c < '0' || c > '9') && c != '\\'
	}
	return
}()

// foldRune gives a digit or an X beyond ASCII its plain form and says of every other character whether it
// is a letter. Letters are those of the scripts that names and texts here are written in; the rest, marks and
// signs and letters of other scripts, stands between digits.
func foldRune(r rune) byte {
	switch {
	case r == 'Ｘ', r == 'ｘ', r == 'Ⅹ', r == 'ⅹ', r == 'Х', r == 'х', r == 'Χ', r == 'χ': // full-width, Roman, Cyrillic, Greek
		return 'X'
	}
	i := sort.Search(len(zeros), func(i int) bool { return zeros[i] > r })
	if i > 0 && r < zeros[i-1]+10 {
		return byte('0' + r - zeros[i-1])
	}
	for _, l := range letters {
		if r >= l[0] && r <= l[1] {
			return letter
		}
	}
	return between
}

// zeros are the zeros of all decimal digits beyond ASCII (general category Nd, Unicode 15); nine follow each.
var zeros = []rune{
	0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20,
	0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0,
	0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136, 0x111d0, 0x112f0,
	0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0, 0x11f50, 0x16a60, 0x16ac0,
	0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e4f0, 0x1e950, 0x1fbf0,
}

// letters are the ranges of Chinese characters, Latin, Greek and Cyrillic letters, kana and hangul.
var letters = [][2]rune{
	{0x4e00, 0x9fff}, {0xc0, 0xd6}, {0xd8, 0xf6}, {0xf8, 0x2af}, {0x370, 0x373}, {0x376, 0x377}, {0x37b, 0x37d}, {0x386, 0x386},
	{0x388, 0x3f5}, {0x3f7, 0x3ff}, {0x400, 0x481}, {0x48a, 0x52f}, {0x1e00, 0x1fbc}, {0x3041, 0x3096}, {0x30a1, 0x30fa}, {0x3400, 0x4dbf},
	{0xac00, 0xd7a3}, {0xf900, 0xfaff}, {0xff21, 0xff3a}, {0xff41, 0xff5a}, {0xff66, 0xff9d}, {0x20000, 0x323af},
}

// personal judges the last 18 of a run of at least so many.
func personal(run []digit) bool {
	var s [18]byte
	at := run[len(run)-18:]
	for i := range s {
		s[i] = at[i].value
	}
	if s[0] < '1' || s[0] > '9' || !plausibleProvince[int(s[0]-'0')*10+int(s[1]-'0')] {
		return false
	}
	if s[6] != '1' && s[6] != '2' || !citizenCheck(s[:]) {
		return false
	}
	_, err := ParseDate(string(s[6:10]) + "-" + string(s[10:12]) + "-" + string(s[12:14]))
	return err == nil && string(s[6:10]) < "2100" && !calendar(run)
}

// calendar reports that the digits are those of dates and times one after the other, as in 2026-01-05
// 12:00:00, 2026-01-06 12:00: one in eleven such rows has a right check character somewhere. Each must be
// written as one, from its first digit on, which may lie before the number's.
func calendar(run []digit) bool {
	for start := range len(run) - 17 {
		if run[start].gap != joined && calendarFrom(run[start:]) {
			return true
		}
	}
	return false
}

func calendarFrom(run []digit) bool {
	for len(run) > 0 {
		year, n := segment(run)
		switch {
		case n == 4 && (year/100 == 19 || year/100 == 20):
			run = run[n:]
			for _, most := range []int{12, 31} { // month and day
				v, n := segment(run)
				if n > 2 || v > most || v == 0 && n < len(run) { // a last 0 may be the first digit of two
					return false
				}
				run = run[n:]
			}
		case n == len(run) && n < 4: // what follows is not read yet
			return run[0].value == '1' || run[0].value == '2' || n < 3
		case n <= 2 && year < 25 && run[n].gap == colon:
			run = run[n:]
			for len(run) > 0 && run[0].gap == colon { // minutes and seconds
				v, n := segment(run)
				if n > 2 || v > 59 {
					return false
				}
				run = run[n:]
			}
			if _, n := segment(run); n == 3 { // milliseconds
				run = run[n:]
			}
		default:
			return false
		}
	}
	return true
}

// segment is the number that the first digits up to a gap make, and how many they are; of none 0, 0.
func segment(run []digit) (value, n int) {
	for n < len(run) && n < 5 && (n == 0 || run[n].gap == joined) && run[n].value != 'X' {
		value = value*10 + int(run[n].value-'0')
		n++
	}
	if n < len(run) && run[n].value == 'X' {
		n = 5 // no date holds one
	}
	return value, n
}

var plausibleProvince = func() (p [100]bool) {
	for _, r := range [][2]int{{11, 15}, {21, 23}, {31, 37}, {41, 46}, {50, 54}, {61, 65}, {71, 71}, {81, 83}, {91, 91}} {
		for i := r[0]; i <= r[1]; i++ {
			p[i] = true
		}
	}
	return
}()
