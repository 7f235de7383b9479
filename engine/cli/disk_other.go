// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !darwin && !freebsd

package cli

import (
	"errors"
	"fmt"
)

// freeBytes is not known on this system.
func freeBytes(dir string) (int64, error) {
	return 0, fmt.Errorf("look up the free space of %s: %w", dir, errors.ErrUnsupported)
}
