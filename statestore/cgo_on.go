// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package statestore

// pebbleOffHeap says that Pebble's block cache and memtables are allocated with
// malloc and therefore not seen by Go's garbage collector.
const pebbleOffHeap = true
