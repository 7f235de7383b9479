// SPDX-License-Identifier: Apache-2.0

//go:build unix

package s3server

import (
	"os"
	"syscall"
)

// lock waits for the lock of a file; the system releases it when the process ends, however it ends.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, err
	}
	return func() { file.Close() }, nil
}
