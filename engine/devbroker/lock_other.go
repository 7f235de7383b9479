// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package devbroker

import (
	"os"
	"path/filepath"
)

// lockFolder creates the folder. Where there is no flock, nothing keeps a second process out.
func lockFolder(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
}
