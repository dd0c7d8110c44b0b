package importer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// Encoding is how a text file's characters are written.
type Encoding string

// The encodings. GB18030 is that of 2022, of which GBK and GB 2312 are parts.
const (
	UTF8    Encoding = "utf-8"
	GB18030 Encoding = "gb18030"
	UTF16LE Encoding = "utf-16le"
	UTF16BE Encoding = "utf-16be"
)

// ParseEncoding reads an encoding's name; "" and "auto" are "".
func ParseEncoding(s string) (Encoding, error) {
	switch Fold(s) {
	case "", "auto":
		return "", nil
	case "utf-8", "utf8":
		return UTF8, nil
	case "gb18030", "gbk", "gb2312", "cp936":
		return GB18030, nil
	case "utf-16le", "utf-16":
		return UTF16LE, nil
	case "utf-16be":
		return UTF16BE, nil
	}
	return "", fmt.Errorf("encodings are auto, utf-8, gb18030, utf-16le and utf-16be, not %q", s)
}

// sampled is how much of a file tells its encoding, from the first byte on that is not ASCII.
const sampled = 1 << 20

// decodeText gives a file as UTF-8 without byte order mark.
func decodeText(f File, given Encoding) (io.Reader, Encoding, int, error) {
	enc, confidence, mark, err := findEncoding(f)
	if err != nil {
		return nil, "", 0, err
	}
	if given != "" {
		if given != enc {
			mark = 0
		}
		enc, confidence = given, 100
	}
	in := io.NewSectionReader(f, int64(mark), f.Size()-int64(mark))
	var d encoding.Encoding
	switch enc {
	case GB18030:
		return &gbReader{in: in, out: simplifiedchinese.GB18030.NewDecoder()}, enc, confidence, nil
	case UTF16LE:
		d = unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM)
	case UTF16BE:
		d = unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)
	default:
		return in, enc, confidence, nil
	}
	return transform.NewReader(in, d.NewDecoder()), enc, confidence, nil
}

// findEncoding looks at the mark, and without one at the first lines that are not ASCII: lines of Chinese in
// GB 18030 are next to never good UTF-8, so lines vote. confidence is the winners' share.
func findEncoding(f File) (enc Encoding, confidence, mark int, err error) {
	buf := make([]byte, 64<<10)
	n, err := f.ReadAt(buf[:4], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", 0, 0, err
	}
	switch head := buf[:n]; {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		return UTF8, 100, 3, nil
	case bytes.HasPrefix(head, []byte("\xff\xfe")):
		return UTF16LE, 100, 2, nil
	case bytes.HasPrefix(head, []byte("\xfe\xff")):
		return UTF16BE, 100, 2, nil
	case n == 4 && head[1] == 0 && head[3] == 0 && head[0] != 0:
		return UTF16LE, 90, 0, nil
	case n == 4 && head[0] == 0 && head[2] == 0 && head[1] != 0:
		return UTF16BE, 90, 0, nil
	}
	at := int64(0)
	for { // to the first byte that is not ASCII
		n, err := f.ReadAt(buf, at)
		if i := bytes.IndexFunc(buf[:n], func(r rune) bool { return r >= utf8.RuneSelf }); i >= 0 {
			at += int64(bytes.LastIndexByte(buf[:i], '\n') + 1)
			break
		}
		at += int64(n)
		if errors.Is(err, io.EOF) {
			return UTF8, 100, 0, nil
		}
		if err != nil {
			return "", 0, 0, err
		}
	}
	sample := make([]byte, sampled)
	n, err = f.ReadAt(sample, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", 0, 0, err
	}
	sample = sample[:n]
	if end := bytes.LastIndexByte(sample, '\n'); err == nil && end > 0 {
		sample = sample[:end]
	}
	good, bad := 0, 0
	for line := range bytes.Lines(sample) {
		switch {
		case !utf8.Valid(line):
			bad++
		case len(line) != utf8.RuneCount(line):
			good++
		}
	}
	if good >= bad {
		return UTF8, 100 * good / (good + bad), 0, nil
	}
	// Not UTF-8. GB 18030 is believed as far as what it makes of the sample is Chinese in use.
	text, err := io.ReadAll(&gbReader{in: bytes.NewReader(sample), out: simplifiedchinese.GB18030.NewDecoder()})
	if err != nil {
		return "", 0, 0, err
	}
	usual, all := 0, 0
	for _, r := range string(text) {
		if r < utf8.RuneSelf {
			continue
		}
		all++
		if r >= 0x4e00 && r <= 0x9fff || r >= 0x3000 && r <= 0x30ff || r >= 0xff00 && r <= 0xffee || r >= 0x2010 && r <= 0x2027 || r == 0xb7 {
			usual++
		}
	}
	confidence = 100 * usual / max(1, all)
	if confidence < 50 {
		return "", 0, 0, badFile("无法判断文件编码（既不是 UTF-8，也不像 GB18030），请用 --encoding 指明", "the file's encoding cannot be told (neither UTF-8 nor, as it seems, GB 18030): say it with --encoding")
	}
	return GB18030, confidence, 0, nil
}

// gbReader decodes GB 18030-2022. The decoder of x/text knows the standard but for what was private use in
// earlier editions; those codes are decoded here.
type gbReader struct {
	in   io.Reader
	out  *encoding.Decoder
	raw  []byte // not yet decoded
	text []byte // decoded, not yet read
	err  error  // of in
}

func (g *gbReader) Read(p []byte) (int, error) {
	for len(g.text) == 0 {
		if g.err != nil && len(g.raw) == 0 {
			return 0, g.err
		}
		if g.err == nil {
			buf := make([]byte, 32<<10)
			n, err := g.in.Read(buf)
			g.raw, g.err = append(g.raw, buf[:n]...), err
		}
		g.decode(g.err != nil)
	}
	n := copy(p, g.text)
	g.text = g.text[n:]
	return n, nil
}

// decode takes whole characters off raw; at the end, all of it.
func (g *gbReader) decode(end bool) {
	g.text = g.text[:0]
	from, i := 0, 0
	flush := func() {
		if t, err := g.out.Bytes(g.raw[from:i]); err == nil && !bytes.ContainsRune(t, utf8.RuneError) {
			g.text = append(g.text, t...)
			from = i
		}
		for n := 0; from < i; from += n { // what is no character becomes U+FFFD, which the row's check finds
			if n = gbLength(g.raw[from:i]); n == 0 {
				n = i - from
			}
			if t, err := g.out.Bytes(g.raw[from : from+n]); err == nil && !bytes.ContainsRune(t, utf8.RuneError) {
				g.text = append(g.text, t...)
			} else {
				g.text = utf8.AppendRune(g.text, utf8.RuneError)
			}
		}
	}
	for i < len(g.raw) {
		n := gbLength(g.raw[i:])
		if n == 0 {
			if !end {
				break
			}
			n = len(g.raw) - i
		}
		if n == 2 {
			if r := gbPrivate(g.raw[i], g.raw[i+1]); r != 0 {
				flush()
				g.text = utf8.AppendRune(g.text, r)
				i += 2
				from = i
				continue
			}
		}
		i += n
	}
	flush()
	g.raw = append([]byte{}, g.raw[i:]...)
}

// gbLength is how many bytes the first character of b has, 0 where b ends within it.
func gbLength(b []byte) int {
	switch {
	case b[0] < 0x81 || b[0] == 0xff:
		return 1
	case len(b) < 2:
		return 0
	case b[1] >= 0x30 && b[1] <= 0x39:
		if len(b) < 4 {
			return 0
		}
		return 4
	case b[1] < 0x40:
		return 1 // no character: the next byte begins one
	}
	return 2
}

// gbNamed are two-byte codes that stood for private use characters before 2022 (the last six: in names that
// use them, they have stood for characters of extension B since 2005).
var gbNamed = map[uint16]rune{
	0xa6d9: 0xfe10, 0xa6da: 0xfe12, 0xa6db: 0xfe11, 0xa6dc: 0xfe13, 0xa6dd: 0xfe14, 0xa6de: 0xfe15, 0xa6df: 0xfe16,
	0xa6ec: 0xfe17, 0xa6ed: 0xfe18, 0xa6f3: 0xfe19, 0xfe59: 0x9fb4, 0xfe61: 0x9fb5, 0xfe66: 0x9fb6, 0xfe67: 0x9fb7,
	0xfe6d: 0x9fb8, 0xfe7e: 0x9fb9, 0xfe90: 0x9fba, 0xfea0: 0x9fbb, 0xa8bc: 0x1e3f,
	0xfe51: 0x20087, 0xfe52: 0x20089, 0xfe53: 0x200cc, 0xfe6c: 0x215d7, 0xfe76: 0x2298f, 0xfe91: 0x241fe,
}

// gbPrivate is a character that x/text does not decode: a named one, or one of the three user-defined areas,
// which are private use in Unicode too. 0 for all others.
func gbPrivate(a, b byte) rune {
	if b < 0x40 || b == 0x7f || b == 0xff {
		return 0
	}
	if r := gbNamed[uint16(a)<<8|uint16(b)]; r != 0 {
		return r
	}
	switch {
	case a >= 0xaa && a <= 0xaf && b >= 0xa1:
		return 0xe000 + rune(a-0xaa)*94 + rune(b-0xa1)
	case a >= 0xf8 && a <= 0xfe && b >= 0xa1:
		return 0xe234 + rune(a-0xf8)*94 + rune(b-0xa1)
	case a >= 0xa1 && a <= 0xa7 && b <= 0xa0:
		i := rune(b - 0x40)
		if b > 0x7f {
			i--
		}
		return 0xe4c6 + rune(a-0xa1)*96 + i
	}
	return 0
}
