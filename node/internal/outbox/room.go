package outbox

// Full reports whether requests are turned away because the disk has less than the reserve left, or failed
// and has not recovered. It asks the system each time, so it says at once when there is space again.
func (o *Outbox) Full() bool {
	if o.state.failed.Load() {
		return true
	}
	free, err := o.cfg.Free(o.dir)
	return err == nil && free < o.cfg.MinFree // an unreadable figure is no reason: see admit
}
