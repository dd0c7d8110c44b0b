package importer

import (
	"archive/zip"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// Bounds of a workbook. Excel's own largest sheet, 1,048,576 rows of some 20 columns, is within them.
const (
	MaxFile        = 256 << 20 // bytes as it lies on disk
	maxParts       = 4096      // files in the archive
	maxPart        = 2 << 30   // bytes of a part once unpacked
	maxUnpacked    = 3 << 30   // of all parts together
	maxRatio       = 250       // of unpacked to packed, of a part above freeUnpacked; sheets have 5 to 30
	freeUnpacked   = 8 << 20
	maxSharedText  = 192 << 20 // bytes of the table of texts, which is kept in memory
	maxSharedCount = 4_000_000
	maxMarkup      = 1 << 20 // bytes from one "<" to the next: a cell's longest text, or a tag
	maxStyles      = 64_000
	maxZeros       = 64 // digits that a number format shows at least
)

// workbookFiles are a workbook's parts, by name in lower case.
type workbookFiles map[string]*zip.File

// errBomb is an archive that unpacks to more than a workbook ever does.
func errBomb(what string) error {
	return badFile("文件解压后过大或结构异常（"+what+"），疑似压缩炸弹，已拒绝", "the file unpacks to too much, or is built like no workbook ("+what+"): refused as a zip bomb")
}

// openParts reads the archive's directory and refuses what no spreadsheet program writes. Nothing is unpacked.
func openParts(f File) (workbookFiles, error) {
	if f.Size() > MaxFile {
		return nil, badFile("文件超过 256 MB，请拆分", "the file is larger than 256 MB: split it")
	}
	z, err := zip.NewReader(f, f.Size())
	if err != nil {
		return nil, badFile("文件不是完整的 .xlsx 工作簿（ZIP 目录损坏）", "the file is no whole .xlsx workbook (its zip directory is damaged)")
	}
	if len(z.File) > maxParts {
		return nil, errBomb(fmt.Sprintf("%d parts", len(z.File)))
	}
	parts := workbookFiles{}
	var sum uint64
	for _, p := range z.File {
		name := strings.ToLower(strings.TrimPrefix(strings.ReplaceAll(p.Name, "\\", "/"), "/"))
		if parts[name] != nil {
			return nil, errBomb("part twice: " + name)
		}
		if p.Flags&1 != 0 {
			return nil, badFile("工作簿已加密，请取消密码后另存", "the workbook is encrypted: take the password off and save it again")
		}
		n := p.UncompressedSize64
		if sum += n; n > maxPart || sum > maxUnpacked {
			return nil, errBomb(fmt.Sprintf("%s: %d MB", name, n>>20))
		}
		if n > freeUnpacked && n/maxRatio > p.CompressedSize64 {
			return nil, errBomb(fmt.Sprintf("%s: %d to 1", name, n/max(1, p.CompressedSize64)))
		}
		parts[name] = p
	}
	return parts, nil
}

// part is one part that is being read.
type part struct {
	name  string
	in    io.ReadCloser
	guard *guard
	xml   *xml.Decoder
}

// open unpacks a part as it is read.
func (w workbookFiles) open(name string) (*part, error) {
	f := w[strings.ToLower(name)]
	if f == nil {
		return nil, badFile("工作簿缺少部件 "+name, "the workbook lacks its part "+name)
	}
	in, err := f.Open()
	if err != nil {
		return nil, badFile("工作簿部件 "+name+" 无法解压", "the workbook's part "+name+" cannot be unpacked")
	}
	g := &guard{in: in, left: int64(f.UncompressedSize64)}
	d := xml.NewDecoder(g)
	return &part{name: name, in: in, guard: g, xml: d}, nil
}

// next is the next tag or text; io.EOF ends the part. Names have no prefix that matters.
func (p *part) next() (xml.Token, error) {
	t, err := p.xml.RawToken()
	if err == nil {
		return t, nil
	}
	if errors.Is(err, io.EOF) && p.guard.err == nil {
		return nil, io.EOF
	}
	var whole *FileError
	if errors.As(p.guard.err, &whole) {
		return nil, whole
	}
	return nil, badFile("工作簿部件 "+p.name+" 损坏", "the workbook's part "+p.name+" is damaged")
}

func (p *part) close() { _ = p.in.Close() }

// guard keeps what the XML decoder keeps in memory small, whatever a part holds: it refuses more bytes than
// the archive's directory has announced, a long way without a tag, and what workbooks do without (document
// types, entities, comments).
type guard struct {
	in   io.Reader
	left int64 // announced and not yet read
	run  int   // bytes since the last "<"
	at   int64
	last byte
	head bool  // within <?xml … ?>
	err  error // why there is no more, nil at the announced end
}

func (g *guard) Read(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	n, err := g.in.Read(p)
	if g.left -= int64(n); g.left < 0 {
		g.err = errBomb("more than announced")
		return 0, g.err
	}
	for _, c := range p[:n] {
		g.head = g.head || g.last == '<' && c == '?' && g.at < 8
		if g.last == '<' && (c == '!' || c == '?' && !g.head) || g.head && (c == '<' || c == '>' && g.last != '?') {
			g.err = badFile("工作簿的 XML 含有文档类型、实体或注释，已拒绝", "the workbook's XML holds a document type, an entity or a comment: refused")
			return 0, g.err
		}
		if g.run++; c == '<' {
			g.run = 0
		} else if g.run > maxMarkup {
			g.err = errBomb("a text of over 1 MB")
			return 0, g.err
		}
		g.head = g.head && c != '>'
		g.last = c
		g.at++
	}
	if err != nil && !errors.Is(err, io.EOF) {
		g.err = err
	}
	return n, err
}

func attr(t xml.StartElement, name string) string {
	for _, a := range t.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func flag(s string) bool { return s == "1" || s == "true" || s == "on" }

// relation is what a part refers to.
type relation struct{ id, kind, target string }

// relations reads the relations of a part; none is no error.
func (w workbookFiles) relations(of string) ([]relation, error) {
	dir, base := path.Split(of) // of "", the workbook as a whole
	name := path.Join(dir, "_rels", base+".rels")
	if w[strings.ToLower(name)] == nil {
		return nil, nil
	}
	p, err := w.open(name)
	if err != nil {
		return nil, err
	}
	defer p.close()
	var out []relation
	for {
		t, err := p.next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if s, ok := t.(xml.StartElement); ok && s.Name.Local == "Relationship" {
			r := relation{id: attr(s, "Id"), kind: path.Base(attr(s, "Type")), target: attr(s, "Target")}
			if attr(s, "TargetMode") != "External" {
				if strings.HasPrefix(r.target, "/") {
					r.target = strings.TrimPrefix(path.Clean(r.target), "/")
				} else {
					r.target = path.Join(path.Dir(of), r.target)
				}
			}
			if out = append(out, r); len(out) > maxParts {
				return nil, errBomb("relations")
			}
		}
	}
}
