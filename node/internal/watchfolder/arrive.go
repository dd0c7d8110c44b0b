package watchfolder

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/push"
)

// passedOver are names that are no business of ours: hidden files, files that say of themselves that they are not
// finished, markers, answers.
func passedOver(name string) bool {
	lower := strings.ToLower(name)
	for _, suffix := range []string{".tmp", ".part", ".partial", ".crdownload", "~", markerSuffix, answerSuffix} {
		if strings.HasSuffix(lower, suffix) {
			return true
		}
	}
	return strings.HasPrefix(name, ".")
}

// plain reports whether a name can be shown, written into an answer and given to other programs as it is.
func plain(name string) bool {
	if len(name) > maxName || !utf8.ValidString(name) {
		return false
	}
	for _, r := range name {
		if !unicode.IsPrint(r) || r == utf8.RuneError || r == '/' || r == '\\' {
			return false
		}
	}
	return strings.TrimSpace(name) == name
}

// safeName stands for a name that is not plain.
func safeName(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "refused-" + hex.EncodeToString(sum[:8])
}

// errNotYet says that a file may still be written.
var errNotYet = errors.New("not yet whole")

// errRefused is a file that is never read.
var errRefused = model.E(model.CodeFileRefused)

// seen is what a file looked like when it began to stay as it is.
type seen struct {
	size     int64
	modified time.Time
	inode    uint64
	since    time.Time // by this machine's own count of time: clocks of file servers differ
}

// read reads a regular file of one name, whole. The name is one component; what it points to, if it is a link, is never
// opened, and a pipe is never waited for. errRefused: it is something else. errNotYet: it grows while it is read.
func read(path string) ([]byte, fs.FileInfo, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENXIO) {
		return nil, nil, errRefused
	}
	if err != nil {
		return nil, nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	// A second name of the same file lies where somebody else can still write to it, or is somebody else's.
	if st, ok := before.Sys().(*syscall.Stat_t); !before.Mode().IsRegular() || !ok || st.Nlink != 1 {
		return nil, before, errRefused
	}
	if before.Size() > maxFile {
		return nil, before, model.E(model.CodeTooLarge).With("at most %d bytes", maxFile)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, before, err
	}
	after, err := f.Stat()
	if err != nil {
		return nil, before, err
	}
	if after.Size() != int64(len(raw)) || !after.ModTime().Equal(before.ModTime()) {
		return nil, before, errNotYet
	}
	return raw, before, nil
}

func inode(i fs.FileInfo) uint64 {
	if st, ok := i.Sys().(*syscall.Stat_t); ok {
		return st.Ino
	}
	return 0
}

// units are what a file's content asks for, at most model.MaxOperations each. errNotYet: the content ends early.
func units(source, name string, raw []byte) ([]push.Unit, error) {
	digest := model.DigestOf(raw)
	var drafts []model.Draft
	var err error
	switch ext := strings.ToLower(filepath.Ext(name)); ext {
	case ".json":
		var index int
		if drafts, index, err = push.DecodeDrafts(raw); err != nil && index >= 0 {
			err = at(err, "[%d]", index)
		}
	case ".jsonl":
		drafts, err = lines(raw)
	default:
		return nil, model.E(model.CodeFileRefused).OneOf(".json", ".jsonl")
	}
	if err != nil {
		return nil, err
	}
	var out []push.Unit
	for i := 0; i < len(drafts); i += model.MaxOperations {
		part := drafts[i:min(i+model.MaxOperations, len(drafts))]
		out = append(out, push.Unit{
			Source: source, ID: fmt.Sprintf("%s\n%s\n%d", name, digest, i/model.MaxOperations), Digest: digest, Count: len(part), Drafts: part,
		})
	}
	return out, nil
}

// lines reads one operation a line; empty lines count as nothing.
func lines(raw []byte) (drafts []model.Draft, err error) {
	n := 0
	for len(raw) > 0 {
		line, rest, ended := bytes.Cut(raw, []byte("\n"))
		raw = rest
		n++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		d, err := push.DecodeDraft(line)
		if err != nil {
			if ended && errors.Is(err, model.E(model.CodeInvalidJSON)) {
				// The end of the file can be early; a line in the middle cannot.
				err = model.E(model.CodeBadValue).With("not valid JSON")
			}
			return nil, at(err, "line %d", n)
		}
		drafts = append(drafts, d)
	}
	if len(drafts) == 0 {
		return nil, model.E(model.CodeInvalidJSON).With("the file is empty")
	}
	return drafts, nil
}

// at says where in the file.
func at(err error, format string, n int) error {
	e := *model.AsError(err)
	e.Field = strings.TrimSuffix(fmt.Sprintf(format, n)+" "+e.Field, " ")
	return &e
}
