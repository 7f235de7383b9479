// SPDX-License-Identifier: Apache-2.0

//go:build !cgo

package statestore

// pebbleOffHeap says that Pebble's block cache and memtables are Go memory and
// count against the Go heap limit.
const pebbleOffHeap = false

// tuneAllocator has nothing to do: all memory is Go's.
func tuneAllocator() {}

// releaseFree has nothing to do either.
func releaseFree() {}
