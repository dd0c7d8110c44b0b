package exchangetable

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/zhenglian/zhenglian/chaincode/model"
	"github.com/zhenglian/zhenglian/node/internal/push"
)

// Table works off one exchange table.
type Table struct {
	cfg   Config
	door  *push.Door
	log   *slog.Logger
	watch *push.Watch
	store *store
	wake  chan struct{}

	// Used by Run alone.
	cursor  int64 // of the sweep
	waiting bool  // the sweep has met something that is taken and waits for the node
	blocked bool  // so it was in the last whole sweep: nothing more is taken, so that order stays
}

// New prepares a table; Run works it off.
func New(cfg Config, door *push.Door, watch *push.Watch, log *slog.Logger) (*Table, error) {
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	if cfg.Poll <= 0 {
		cfg.Poll = 2 * time.Second
	}
	if cfg.Rows <= 0 {
		cfg.Rows = 200
	}
	return &Table{cfg: cfg, door: door, log: log, watch: watch, wake: make(chan struct{}, 1)}, nil
}

func (t *Table) source() string { return "table/" + t.cfg.Name }

// The longest pause between attempts while the table cannot be used.
const longestPause = 30 * time.Second

// Run works until ctx ends. A database that is away, locked or wrong is tried again and again; meanwhile the watch
// says so, and nothing else of the node is held up.
//
// What makes a row count once, wherever the process is killed (the unit's own part is at push.Door.Send):
//   - Before the claim commits, nothing has happened.
//   - With the claim the answer row stands as "taken", with the digest of what was taken. Killed after it, sweep finds
//     the row among those that are not final and sends it, as it does with every row that waits.
//   - Killed after the operations were accepted and before the answer is written, sweep sends it again, and Send
//     gives the answer of the same operations.
//   - An answer that is final is never looked at again.
func (t *Table) Run(ctx context.Context) {
	if t.cfg.Database == Postgres {
		listening := make(chan struct{})
		go func() { defer close(listening); t.listen(ctx) }()
		defer func() { <-listening }()
	}
	pause := time.Duration(0)
	for ctx.Err() == nil {
		full, err := t.round(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			pause = min(max(2*pause, time.Second), t.cfg.scaled(longestPause))
			t.watch.Failed(err)
			t.log.Log(ctx, push.Level(err), "the exchange table cannot be worked off now; it is tried again", "table", t.cfg.Name, "error", err, "pause", pause)
			t.sleep(ctx, pause/2+rand.N(pause/2), nil)
		default:
			pause = 0
			t.watch.Well()
			if !full {
				t.sleep(ctx, t.cfg.Poll, t.wake)
			}
		}
	}
	if t.store != nil {
		_ = t.store.db.Close()
	}
}

func (t *Table) sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-wake:
	}
}

// round takes what is new and goes on with what waits. full says that there may be more at once.
func (t *Table) round(ctx context.Context) (full bool, err error) {
	if err := t.connect(ctx); err != nil {
		return false, err
	}
	if _, err := t.door.Intake.SignIn(); err != nil {
		return false, err // nothing is taken that could not be sent
	}
	if err := t.sweep(ctx); err != nil {
		return false, err
	}
	if t.blocked {
		return false, nil
	}
	groups, err := t.store.claim(ctx, t.cfg.Rows)
	if err != nil || len(groups) == 0 {
		return false, err
	}
	if err := t.send(ctx, groups); err != nil {
		return false, err
	}
	return true, nil
}

func (t *Table) connect(ctx context.Context) error {
	if t.store != nil {
		return nil
	}
	db, err := t.cfg.open()
	if err != nil {
		return err
	}
	s := newStore(&t.cfg, db)
	if s.skip, err = skipLocked(ctx, &t.cfg, db); err != nil {
		return errors.Join(err, db.Close())
	}
	t.store = s
	return nil
}

// perSweep is how many waiting units are looked at in one round; the next goes on after them.
const perSweep = 200

// sweep goes on with units that have answers which are not final: what the process left behind when it ended, what
// waits for the ledger, and what waits for a person.
func (t *Table) sweep(ctx context.Context) error {
	list, err := t.store.open(ctx, t.cursor, perSweep)
	if err != nil {
		return err
	}
	var groups []group
	for i := range list {
		if o := &list[i]; i > 0 && o.unit == list[i-1].unit {
			groups[len(groups)-1].add(o)
		} else {
			groups = append(groups, group{rows: []*opened{o}})
		}
	}
	waits, err := t.drive(ctx, groups, false)
	if err != nil {
		return err
	}
	t.waiting = t.waiting || waits
	t.cursor = 0
	if len(groups) == perSweep {
		t.cursor = list[len(list)-1].unit
		t.blocked = t.blocked || waits
		return nil
	}
	t.blocked, t.waiting = t.waiting, false // all of them were looked at
	return nil
}

// send begins with rows that were just claimed.
func (t *Table) send(ctx context.Context, claimed [][]row) error {
	groups := make([]group, len(claimed))
	for i, rows := range claimed {
		for _, r := range rows {
			groups[i].add(&opened{row: r, digest: r.digest().String(), state: push.Taken})
		}
	}
	waits, err := t.drive(ctx, groups, true)
	t.blocked = t.blocked || waits
	return err
}

// group is the rows of one unit.
type group struct{ rows []*opened }

func (g *group) add(o *opened) { g.rows = append(g.rows, o) }

// lanes work side by side; operations on one record are in one lane, in the order of their rows.
const lanes = 16

// drive sends units and writes their answers. It reports whether one waits for the node.
func (t *Table) drive(ctx context.Context, groups []group, wait bool) (waits bool, err error) {
	results := make([][]answered, len(groups))
	errs := make([]error, len(groups))
	run := func(which []int) {
		for _, i := range which {
			results[i], errs[i] = t.one(ctx, &groups[i], false)
		}
	}
	var lane [lanes][]int
	flush := func() {
		var all sync.WaitGroup
		for n := range lane {
			if len(lane[n]) > 0 {
				all.Add(1)
				go func() { defer all.Done(); run(lane[n]) }()
			}
		}
		all.Wait()
		lane = [lanes][]int{}
	}
	for i := range groups {
		if len(groups[i].rows) > 1 { // it may touch any record: alone, after all before it
			flush()
			run([]int{i})
			continue
		}
		n := i % lanes
		if key := groups[i].rows[0].subject(); key != "" {
			h := fnv.New32a()
			h.Write([]byte(key))
			n = int(h.Sum32() % lanes)
		}
		lane[n] = append(lane[n], i)
	}
	flush()
	if wait { // those that are on their way now are waited for together, not one after another
		var all sync.WaitGroup
		for i := range groups {
			if len(results[i]) > 0 && results[i][0].State == push.Accepted {
				all.Add(1)
				go func() { defer all.Done(); results[i], errs[i] = t.one(ctx, &groups[i], true) }()
			}
		}
		all.Wait()
	}

	var write []answered
	for i := range results {
		for _, a := range results[i] {
			waits = waits || a.State == push.Taken && blocks(a.Code)
			if !a.same {
				write = append(write, a)
			}
		}
	}
	if len(write) > 0 {
		if err := t.store.answer(ctx, write); err != nil {
			return waits, err
		}
		for i := range write {
			t.watch.Answered(write[i].State)
		}
	}
	return waits, errors.Join(errs...)
}

// blocks reports whether a reason to wait is the node's, and not of one row.
func blocks(code model.Code) bool {
	switch model.E(code).Kind() {
	case model.Unavailable, model.Limited, model.Unknown, model.Unauthenticated:
		return true
	}
	return false
}

// subject is the record that a row acts on.
func (o *opened) subject() string {
	if o.values[colRecord].Valid {
		return o.text(colRecord)
	}
	if o.values[colDocument].Valid {
		if d, err := push.DecodeDraft([]byte(o.text(colDocument))); err == nil {
			return string(d.Record)
		}
	}
	return ""
}

// one sends a unit and gives the answers of its rows.
func (t *Table) one(ctx context.Context, g *group, wait bool) ([]answered, error) {
	u, err := t.unit(g)
	if err != nil {
		return g.answers(g.refused(err), false), nil
	}
	answers, err := t.door.Send(ctx, u, wait)
	changed := errors.Is(err, push.ErrChanged)
	if err != nil && !changed {
		return nil, err
	}
	return g.answers(answers, changed), nil
}

func (g *group) answers(answers []push.Answer, changed bool) (out []answered) {
	for i, o := range g.rows {
		a := push.Failed(push.Refused, model.E(model.CodeRowChanged)) // of a batch that is another size now
		if i < len(answers) {
			a = answers[i]
		}
		same := o.state.Final() && !changed || a.State == o.state && string(a.Code) == o.code
		out = append(out, answered{id: o.id, taken: o.digest, changed: changed, same: same, Answer: a})
	}
	return out
}

func (g *group) refused(err error) []push.Answer {
	out := make([]push.Answer, len(g.rows))
	var at *rowError
	errors.As(err, &at)
	for i := range out {
		out[i] = push.Failed(push.Refused, err)
		if at != nil && at.index != i {
			out[i] = push.Failed(push.Refused, model.E(model.AsError(err).Code).With("another row of the batch is wrong"))
			out[i].Zh = "同批另一行有误，整批未受理：" + out[i].Zh
		}
	}
	return out
}

// rowError is an error about one row of a batch.
type rowError struct {
	index int
	error
}

func (e *rowError) Unwrap() error { return e.error }

// unit makes of a group what the door takes. Its error is final: the content can never be accepted.
func (t *Table) unit(g *group) (push.Unit, error) {
	first := g.rows[0]
	u := push.Unit{Source: t.source(), ID: "row " + first.id, Count: len(g.rows)}
	if name, _ := first.batch(); name != "" {
		u.ID = "batch " + name + " " + first.id
	}
	digest := []byte{}
	for _, o := range g.rows {
		digest = append(append(digest, o.digest...), ' ')
	}
	u.Digest = model.DigestOf(digest)
	intact := true
	for _, o := range g.rows {
		intact = intact && !o.gone && o.row.digest().String() == o.digest
	}
	if !intact {
		return u, nil // what was taken is known to the journal alone, if at all
	}
	for i, o := range g.rows {
		d, err := o.draft(t.door.Now())
		if err == nil && len(g.rows) > 1 || err == nil && first.text(colBatch) != "" {
			if _, size := o.batch(); size != len(g.rows) {
				err = model.E(model.CodeBadValue, "batch_size").With("%d rows of this batch are here", len(g.rows))
			}
		}
		if err != nil {
			if o.state != push.Taken {
				return u, nil // it was accepted when it was taken
			}
			return u, &rowError{i, err}
		}
		u.Drafts = append(u.Drafts, d)
	}
	return u, nil
}

// listen wakes the loop when rows are written. It is a convenience: without it the table is polled.
func (t *Table) listen(ctx context.Context) {
	for ctx.Err() == nil {
		err := t.listenOnce(ctx)
		if ctx.Err() == nil {
			t.log.Debug("listening for new rows has ended; the table is polled meanwhile", "table", t.cfg.Name, "error", err)
			t.sleep(ctx, 5*time.Second+rand.N(5*time.Second), nil)
		}
	}
}

func (t *Table) listenOnce(ctx context.Context) error {
	cfg, err := t.cfg.pgConfig()
	if err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "LISTEN zl_request"); err != nil {
		return err
	}
	for {
		// A connection that died quietly is found by asking now and then.
		quiet, cancel := context.WithTimeout(ctx, time.Minute)
		_, err := conn.WaitForNotification(quiet)
		idle := quiet.Err() != nil && ctx.Err() == nil
		cancel()
		if err != nil && !idle {
			return err
		}
		if idle {
			if conn.IsClosed() {
				return errors.New("closed")
			}
			if err := conn.Ping(ctx); err != nil {
				return err
			}
			continue
		}
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}
