package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/accesslog"
	"github.com/zhenglian/zhenglian/node/internal/auth"
	"github.com/zhenglian/zhenglian/node/internal/inbox"
	"github.com/zhenglian/zhenglian/sdk"
)

// What was taken from somebody after the backup, a restore would give back: a leaked key that was revoked is in the
// backup as one in use, a dismissed clerk as one who works here. Keys and invitations are texts that anybody may hold, so
// they end with the restore. So do open batches: what was sent under them after the backup is not counted in it, and could
// be sent again as something else, and drafts: one that waits in the backup may have been rejected or withdrawn after it, a
// key that was granted may have been drawn and revoked. People, their roles and the node's own policies stay, since the node is of no use without
// them: the operator looks through them, and until he says that he has, doctor names it. Browsers' sessions are in no
// backup.

// ActionRestored is the action of the entry that begins a restored node's part of the access log; it counts the API keys
// that were ended.
const ActionRestored = "node.restored"

// endRights ends what a restored folder's keys, invitations, batches and drafts allow.
func (r *Restored) endRights(dir string, keepKeys bool) (err error) {
	if !keepKeys {
		if r.KeysEnded, err = auth.RevokeAll(dir, time.Now()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	invitations, err := filepath.Glob(filepath.Join(dir, invitationsDir, "*.json"))
	if err != nil {
		return err
	}
	r.Invitations = len(invitations)
	if err := os.RemoveAll(filepath.Join(dir, invitationsDir)); err != nil {
		return err
	}
	ended, err := inbox.Restored(filepath.Join(dir, inboxDir), r.Created, time.Now())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	r.Batches, r.Drafts = ended.Batches, ended.Drafts
	log, err := accesslog.Open(filepath.Join(dir, AccessLogDir), accesslog.Options{})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, accesslog.ErrDamaged) {
		return nil // the node says so when it starts
	}
	if err != nil {
		return err
	}
	err = log.Append(&sdk.AccessEntry{Time: model.TimeOf(time.Now()), Action: ActionRestored, Status: 200, Count: uint64(r.KeysEnded)})
	return errors.Join(err, log.Close())
}

func readRestored(dir string) (*restoredFrom, error) {
	raw, err := os.ReadFile(filepath.Join(dir, restoredMark))
	if err != nil {
		return nil, err
	}
	m := new(restoredFrom)
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("%s: %w", restoredMark, err)
	}
	return m, nil
}

func (m *restoredFrom) write(dir string) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, restoredMark+".*.new") // made with mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, restoredMark))
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

// updateRestored changes the note of a restored node; the node and an operator's command may do so at once.
func updateRestored(dir string, change func(*restoredFrom)) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() // and with it the lock
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	m, err := readRestored(dir)
	if err != nil {
		return err
	}
	change(m)
	return m.write(dir)
}

// ConfirmRestored notes that the operator has looked through what a restore gave back. The node may be running.
func ConfirmRestored(cfg *Config) error {
	err := updateRestored(cfg.dir, func(m *restoredFrom) {
		if m.Confirmed.IsZero() {
			m.Confirmed = time.Now().UTC()
		}
	})
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s was not restored from a backup", cfg.dir)
	}
	return err
}
