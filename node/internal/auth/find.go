package auth

// Find is the principal of an id as it is now, nil where none may sign in: a user who is disabled, a key that is revoked
// or expired, or an id that nobody ever had.
func (d *Directory) Find(id string) *Principal {
	s, ok := d.current.Load().byID[id]
	if !ok || (s.expires != 0 && d.now().UnixMilli() >= s.expires) {
		return nil
	}
	p, err := d.admit(s.principal)
	if err != nil {
		return nil
	}
	return p
}
