package verify

import (
	"container/list"
	"sync"
	"time"

	"github.com/zhenglian/zhenglian/chaincode/model"
)

// cache holds licences that were asked for, up to a number of bytes, the ones asked for longest ago going
// first.
//
// What it holds is right for every reader whose snapshot is not older than it: the records name each
// licence that changes before a reader can see the change, and what was read before that is not taken in
// afterwards, which the generation tells: a reader notes it first, and who notes the one after a change gets
// a snapshot that has it.
type cache struct {
	limit int

	mu     sync.Mutex
	byID   map[model.RecordID]*list.Element  // guarded by mu
	byName map[model.LicenceID]*list.Element // guarded by mu; current identifiers of what byID holds
	recent *list.List                        // guarded by mu; of *cached, the latest first
	bytes  int                               // guarded by mu
	gen    uint64                            // guarded by mu
}

type cached struct {
	id      model.RecordID
	licence *licence
}

func newCache(limit int) *cache {
	return &cache{limit: limit, byID: map[model.RecordID]*list.Element{}, byName: map[model.LicenceID]*list.Element{}, recent: list.New()}
}

func (c *cache) generation() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gen
}

// get is a licence for a reader at a position, nil if it is not here.
func (c *cache) get(id model.RecordID, position uint64) *licence {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byID[id]
	if e == nil {
		return nil
	}
	l := e.Value.(*cached).licence
	if l.asOf > position {
		return nil
	}
	c.recent.MoveToFront(e)
	return l
}

// named is the licence whose current identifier is given, for a reader at a position. A name that several
// claim is not answered from here.
func (c *cache) named(name model.LicenceID, position uint64) *licence {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byName[name]
	if e == nil {
		return nil
	}
	l := e.Value.(*cached).licence
	if l.asOf > position {
		return nil
	}
	c.recent.MoveToFront(e)
	return l
}

func (c *cache) put(id model.RecordID, l *licence, generation uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation != c.gen || l.size > c.limit {
		return
	}
	if e := c.byID[id]; e != nil {
		c.drop(e)
	}
	c.byID[id] = c.recent.PushFront(&cached{id, l})
	if name := l.name(); name != "" {
		c.byName[name] = c.byID[id]
	}
	c.bytes += l.size
	for c.bytes > c.limit {
		c.drop(c.recent.Back())
	}
}

// name is the identifier under which the cache answers for the licence: none for one that has ended or
// shares its names, which a query may not mean.
func (l *licence) name() model.LicenceID {
	if l.view.Duplicate || l.view.State.Ended() {
		return ""
	}
	for i := len(l.versions) - 1; i >= 0; i-- {
		if t := l.versions[i].Type; l.versions[i].Value != nil && t != model.LicenceTransfer {
			return l.versions[i].Value.Identifier
		}
	}
	return ""
}

// drop takes a licence out. The caller holds mu.
func (c *cache) drop(e *list.Element) {
	x := c.recent.Remove(e).(*cached)
	delete(c.byID, x.id)
	if name := x.licence.name(); name != "" && c.byName[name] == e {
		delete(c.byName, name)
	}
	c.bytes -= x.licence.size
}

func (c *cache) forget(ids []model.RecordID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen++
	for _, id := range ids {
		if e := c.byID[id]; e != nil {
			c.drop(e)
		}
	}
}

// dayClock gives the Shanghai day without formatting it for every query.
type dayClock struct {
	mu    sync.Mutex
	day   model.Date // guarded by mu
	until time.Time  // guarded by mu; when the day ends
	from  time.Time  // guarded by mu
}

func (d *dayClock) today(now time.Time) model.Date {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.day == "" || now.Before(d.from) || now.After(d.until) {
		d.day = model.DateOf(now)
		d.from, d.until = d.day.Start(), d.day.End()
	}
	return d.day
}
