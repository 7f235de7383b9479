// SPDX-License-Identifier: Apache-2.0

//go:build linux || darwin || freebsd

package cli

import (
	"fmt"
	"syscall"
)

// freeBytes is the space on the file system of dir that this user may fill.
func freeBytes(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("look up the free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
