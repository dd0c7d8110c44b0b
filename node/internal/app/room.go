package app

import "github.com/zhenglian/zhenglian/node/internal/doctor"

// littleRoom reports whether the disk has less than what uploads must leave: 1 GiB and a twentieth of it, at most 10 GiB.
// Beyond that the outbox and the access log still have room.
func littleRoom(dir string) bool {
	free, total, err := doctor.Free(dir)
	return err == nil && free < min(max(total/20, 1<<30), 10<<30)
}
