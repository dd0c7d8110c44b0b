package accesslog

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// Anchor is a version of a node's record on the ledger: what the node said then of its log.
type Anchor struct {
	model.AccessLog
	Version uint64     // of the record
	Time    model.Time // recorded at
}

// Finding is something wrong with a log.
type Finding struct {
	File   string     `json:"file,omitempty"`   // of the folder
	Entry  uint64     `json:"entry,omitempty"`  // the first entry that it concerns
	Offset int64      `json:"offset,omitempty"` // byte in the file
	Since  model.Time `json:"since"`            // of the last entry before it that is good; zero where there is none
	Zh     string     `json:"zh"`
	En     string     `json:"en"`
}

// Report is what Verify found.
type Report struct {
	Start    model.Digest `json:"start"`
	First    uint64       `json:"first"` // number of the first entry that is kept
	Count    uint64       `json:"count"` // number of the last one
	Head     model.Digest `json:"head"`  // the chain's hash after it
	Files    int          `json:"files"`
	Anchors  int          `json:"anchors"`  // that the log was held against and fits
	Anchored uint64       `json:"anchored"` // entries that the newest fitting anchor covers
	Day      model.Date   `json:"day"`      // the last day that it covers
	Earlier  int          `json:"earlier"`  // anchors of logs that this node kept before this one
	Removed  int          `json:"removed"`  // anchors behind the first entry that is kept
	Torn     int64        `json:"torn"`     // bytes that a crash, or a write under way, left at the end
	Findings []Finding    `json:"findings"`
}

// Verify reads a whole log and recomputes its chain, and holds it against the anchors of its node. It only reads; the log
// may be open in another process. The error is about reading; what is wrong with the log is a finding.
func Verify(dir string, anchors []Anchor) (*Report, error) {
	files, err := listSegments(dir)
	if err != nil {
		return nil, err
	}
	v := verifier{dir: dir, report: &Report{Files: len(files), Findings: []Finding{}}}
	if len(files) == 0 {
		v.find(Finding{}, "日志目录中没有任何日志文件", "the folder holds no file of entries: the log is gone")
		v.report.Findings[0].Entry = 1
	}
	slices.SortFunc(anchors, func(a, b Anchor) int { return int(int64(a.Version) - int64(b.Version)) })
	for i, f := range files {
		if err := v.segment(f, i == 0, i == len(files)-1, anchors); err != nil {
			return nil, err
		}
	}
	v.ending(anchors)
	return v.report, nil
}

type verifier struct {
	dir    string
	report *Report
	head   model.Digest // after the last entry read
	last   uint64       // its number
	since  model.Time   // its time
	known  bool         // head is what the entries say, not only what a file's header says
	fitted map[uint64]bool
	bad    map[uint64]bool
}

func (v *verifier) find(f Finding, zh, en string) {
	f.Since = v.since
	if f.File != "" {
		f.File = filepath.Base(f.File)
	}
	f.Zh, f.En = zh, en
	v.report.Findings = append(v.report.Findings, f)
}

func (v *verifier) segment(f segmentFile, first, last bool, anchors []Anchor) error {
	s, err := openSegment(f.path, f.size)
	if err != nil {
		if last && !first && f.size <= int64(headerBytes) {
			v.report.Torn = f.size // a file that was just begun
			return nil
		}
		v.find(Finding{File: f.path, Entry: f.first}, "文件头损坏："+err.Error(), "the file's header cannot be read: "+err.Error())
		v.known = false
		return nil
	}
	defer s.close()
	h := s.header
	switch {
	case h.first != f.first:
		v.find(Finding{File: f.path, Entry: f.first}, "文件名与内容的起始序号不符", "the file's name and the first entry that it states differ")
	case first:
		v.report.Start, v.report.First = h.start, h.first
	case h.start != v.report.Start:
		v.find(Finding{File: f.path, Entry: h.first}, "该文件属于另一份日志", "the file belongs to another log")
		return nil
	case h.first != v.last+1 && v.known:
		v.find(Finding{File: f.path, Entry: v.last + 1}, fmt.Sprintf("缺少第 %d 条至第 %d 条", v.last+1, h.first-1),
			fmt.Sprintf("entries %d to %d are missing: the file before ends early, or a file is gone", v.last+1, h.first-1))
	case h.before != v.head && v.known:
		v.find(Finding{File: f.path, Entry: h.first}, "该文件与前一文件不衔接：其中之一被改动过", "the file does not continue the one before: one of them was changed")
	}
	v.head, v.last, v.known = h.before, h.first-1, true
	v.hold(anchors)
	for {
		entry, _, err := s.step()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			var e Entry
			if e, err = decode(entry); err == nil {
				v.head, v.last, v.since = s.chain.head, e.Sequence, e.Time
				v.hold(anchors)
				continue
			}
		}
		if last && errors.Is(err, errTorn) {
			behind, err := goodFrameBehind(f.path, s.at, s.next)
			if err != nil {
				return err
			}
			if !behind {
				v.report.Torn = f.size - s.at
				return nil
			}
		}
		v.find(Finding{File: f.path, Entry: s.next, Offset: s.at}, "第 "+fmt.Sprint(s.next)+" 条损坏或被改动，其后至文件结束的内容无法证明",
			fmt.Sprintf("entry %d is damaged or was changed (%v); what follows it in this file cannot be proved", s.next, err))
		v.known = false
		return nil
	}
}

// hold compares the chain with the anchors that speak of as many entries as were read.
func (v *verifier) hold(anchors []Anchor) {
	for i := range anchors {
		a := &anchors[i]
		if a.Start != v.report.Start || a.Count != v.last {
			continue
		}
		if v.fitted == nil {
			v.fitted, v.bad = map[uint64]bool{}, map[uint64]bool{}
		}
		switch {
		case a.Head == v.head:
			if !v.fitted[a.Version] {
				v.fitted[a.Version] = true
				v.report.Anchors++
				if a.Count >= v.report.Anchored {
					v.report.Anchored, v.report.Day = a.Count, a.Until
				}
			}
		case !v.bad[a.Version]:
			v.bad[a.Version] = true
			v.find(Finding{Entry: v.report.Anchored + 1},
				fmt.Sprintf("与账本上 %s 的存证（版本 %d，共 %d 条）不符：第 %d 条至第 %d 条之间有改动", a.Until, a.Version, a.Count, v.report.Anchored+1, a.Count),
				fmt.Sprintf("the log differs from the anchor of %s on the ledger (version %d, %d entries): something was changed in entries %d to %d", a.Until, a.Version, a.Count, v.report.Anchored+1, a.Count))
		}
	}
}

// ending judges the anchors that no entry met.
func (v *verifier) ending(anchors []Anchor) {
	r := v.report
	r.Count, r.Head = v.last, v.head
	for i := range anchors {
		a := &anchors[i]
		switch {
		case a.Start != r.Start && r.Files > 0:
			r.Earlier++
		case v.fitted[a.Version] || v.bad[a.Version]:
		case a.Count+1 < r.First:
			r.Removed++
		case a.Count > v.last:
			v.find(Finding{Entry: v.last + 1},
				fmt.Sprintf("账本上 %s 的存证（版本 %d）称有 %d 条，本地只有 %d 条：末尾的 %d 条不见了", a.Until, a.Version, a.Count, v.last, a.Count-v.last),
				fmt.Sprintf("the anchor of %s on the ledger (version %d) speaks of %d entries and only %d are here: the last %d are gone", a.Until, a.Version, a.Count, v.last, a.Count-v.last))
		default: // it lies in what could not be read, which is a finding already
		}
	}
}

// HashAt is the chain's hash after so many entries: what an anchor of as many must say. It reads one file. ok is false
// where the log has no such entry, or no longer has it.
func (l *Log) HashAt(count uint64) (hash model.Digest, ok bool, err error) {
	l.mu.Lock()
	var in liveSegment
	for _, s := range l.segments {
		if s.first <= count+1 {
			in = s
		}
	}
	written := l.written
	l.mu.Unlock()
	if count == written.Count {
		return written.Hash, true, nil
	}
	if in.first == 0 || count > written.Count {
		return hash, false, nil
	}
	path := segmentPath(l.dir, in.first)
	s, err := openSegment(path, in.end)
	if err != nil {
		return hash, false, damagedFile(path, in.first, err)
	}
	defer s.close()
	for s.next <= count {
		if _, _, err := s.step(); err != nil {
			return hash, false, damagedFile(path, s.next, err)
		}
	}
	return s.chain.head, true, nil
}

// Head is the state of the chain as far as it is written.
func (l *Log) Head() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.written
}
