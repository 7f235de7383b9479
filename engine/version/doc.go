// SPDX-License-Identifier: Apache-2.0

// Package version tells what this binary was built from, as the Go toolchain has recorded it.
package version
