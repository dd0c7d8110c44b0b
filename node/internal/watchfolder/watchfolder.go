// Package watchfolder takes files that a back office puts into a folder. Each file is taken once: it moves from the
// folder to taken/, and with its answer file (NAME.answer.json) to done/ or failed/. docs/spec/watch-folder.md is the
// format.
//
// Reading order: arrive.go (which names and files are taken, and when a file is whole), folder.go (the loop).
package watchfolder

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/push"
)

// Config says which folder, and how patiently.
type Config struct {
	Name   string        // of the folder in metrics and idempotency keys; never changes
	Dir    string        // the folder; the three others are made in it
	Settle time.Duration // how long a file must have stayed as it is before it is taken; default 5 s. A marker NAME.ok says so at once
	GiveUp time.Duration // how long a file may stay unfinished before it is set aside; default 10 min
	Poll   time.Duration // between looks; default 2 s
}

// Folders inside the folder.
const (
	takenDir  = "taken"
	doneDir   = "done"
	failedDir = "failed"
)

const (
	answerSuffix = ".answer.json"
	markerSuffix = ".ok"
	maxFile      = 8 << 20 // bytes of one file
	maxName      = 200     // bytes of a name, so that those made of it fit
)

// Answers is the content of an answer file.
type Answers struct {
	File       string        `json:"file"`
	SHA256     string        `json:"sha256,omitempty"` // of the file
	State      push.State    `json:"state"`            // refused if one is, else what comes last
	Code       model.Code    `json:"code,omitempty"`
	Zh         string        `json:"zh,omitempty"`
	En         string        `json:"en,omitempty"`
	Time       string        `json:"time"` // of this answer, RFC 3339
	Operations []push.Answer `json:"operations,omitempty"`
}

// sum is the state of a file whose operations have these.
func sum(answers []push.Answer) push.State {
	counts := map[push.State]int{}
	for _, a := range answers {
		counts[a.State]++
	}
	for _, s := range []push.State{push.Taken, push.Held, push.Accepted, push.Refused} {
		if counts[s] > 0 {
			return s
		}
	}
	return push.Committed
}

// put writes a file whole or not at all, and durably.
func put(path string, content []byte) error {
	dir, name := filepath.Split(path)
	temporary := dir + ".zl-" + name[:min(len(name), 100)] + ".tmp"
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	if _, err = f.Write(content); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = os.Remove(temporary)
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (a *Answers) encode() []byte {
	raw, err := json.MarshalIndent(a, "", " ")
	if err != nil {
		panic(err) // plain values always encode
	}
	return append(raw, '\n')
}
