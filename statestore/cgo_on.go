// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package statestore

/*
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

static void limit_arenas(void) {
#ifdef __GLIBC__
	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
}

static void release_free(void) {
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}
*/
import "C"

// pebbleOffHeap says that Pebble's block cache and memtables are allocated with
// malloc and therefore not seen by Go's garbage collector.
const pebbleOffHeap = true

// tuneAllocator keeps the C library from multiplying the block cache's memory.
// By default glibc gives each thread an arena of its own and never moves free
// memory between them; blocks are allocated by one thread and freed by another,
// so with 9.6 million keys and a budget of 512 MiB the process grew by 210 MiB
// of free memory. The second setting returns memtables to the system when they
// are freed; without it glibc raises the threshold above their size.
//
// It affects the whole process, which is what the budget is for, and is
// harmless when repeated.
func tuneAllocator() { C.limit_arenas() }

// releaseFree gives the whole pages that are free between blocks back to the
// system. The blocks of the cache are of many sizes and come and go, so that
// free memory grows to as much as is in use; glibc returns it only at the end of
// its heap.
func releaseFree() { C.release_free() }
