package follow

import (
	"context"
)

// Reindex rebuilds records from the archive: fresh records become what following the ledger made of the
// same blocks, byte for byte, and every block is verified again. progress is told now and then how far it
// has come; nil for nobody. The error is a *Finding where an archived block does not check.
//
// Source, Notify and Finding are not used. The caller puts the new records in the old ones' place.
func Reindex(ctx context.Context, cfg Config, progress func(done, total uint64)) error {
	cfg.defaults()
	total := cfg.Archive.Height()
	r, err := newRun(&cfg)
	if err != nil {
		return err
	}
	commit := func() error {
		if err := cfg.Records.Commit(); err != nil {
			return err
		}
		r.taken()
		if progress != nil {
			progress(r.next, total)
		}
		return ctx.Err()
	}
	for r.next < total {
		if err := r.takeArchived(); err != nil {
			return err
		}
		if r.full() {
			if err := commit(); err != nil {
				return err
			}
		}
	}
	return commit()
}
