// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"bytes"
	"slices"
	"sort"
)

// keyRange is [start, end) of keys after the store id.
type keyRange struct{ start, end []byte }

// keyRanges are the ranges deleted in an epoch: sorted, not overlapping.
type keyRanges []keyRange

// cover says whether the key was deleted by a range.
func (r keyRanges) cover(key []byte) bool { return r.covering(key) != nil }

// covering returns the end of the range that deleted the key, or nil.
func (r keyRanges) covering(key []byte) []byte {
	if len(r) == 0 {
		return nil
	}
	i := sort.Search(len(r), func(i int) bool { return bytes.Compare(r[i].start, key) > 0 })
	if i == 0 || bytes.Compare(key, r[i-1].end) >= 0 {
		return nil
	}
	return r[i-1].end
}

// add merges [start, end) into the ranges. The slices must not change later.
func (r *keyRanges) add(start, end []byte) {
	if bytes.Compare(start, end) >= 0 {
		return
	}
	old := *r
	// [lo, hi) are the ranges that touch the new one.
	lo := sort.Search(len(old), func(i int) bool { return bytes.Compare(old[i].end, start) >= 0 })
	hi := sort.Search(len(old), func(i int) bool { return bytes.Compare(old[i].start, end) > 0 })
	if lo < hi {
		if bytes.Compare(old[lo].start, start) < 0 {
			start = old[lo].start
		}
		if bytes.Compare(old[hi-1].end, end) > 0 {
			end = old[hi-1].end
		}
	}
	*r = slices.Replace(old, lo, hi, keyRange{start, end})
}
