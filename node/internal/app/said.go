package app

import "fmt"

// Said is an error in both languages, for an operator who reads one of them. Error is the English one.
type Said struct{ Zh, En string }

func (e *Said) Error() string { return e.En }

// said makes one; both texts take the same arguments.
func said(zh, en string, args ...any) error {
	return &Said{fmt.Sprintf(zh, args...), fmt.Sprintf(en, args...)}
}
