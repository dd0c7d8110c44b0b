//go:build !linux

package doctor

func kernelSync() Sync { return SyncUnknown }
