// SPDX-License-Identifier: Apache-2.0

package statestore

import "math"

// timeline is what a window store knows of the times of its entries without
// looking: where the first one is, and from where on the cache is complete.
type timeline struct {
	// No entry is before first; the certainty tells more.
	first     int64
	certainty certainty
	// confirmed is first as an abort makes it.
	confirmed int64

	// The frontier splits time. Above it, an entry that Pebble has and no range
	// delete covers is in the cache, so a miss there needs no read: new windows
	// and timers are mostly there. It holds since a commit leaves the entries
	// that it writes in the cache, and whatever else makes a difference raises
	// the frontier: an entry with a value is evicted, an abort drops a change or
	// brings back what a range delete had hidden, a replay writes to Pebble. At
	// first it is the last time that Pebble has.
	frontier int64
	// dropped is the last time of the entries that this epoch's range deletes
	// took out of the cache.
	dropped int64
}

type certainty uint8

const (
	atLeast certainty = iota // nothing is before first
	exactly                  // and an entry is at first
	none                     // there is no entry at all
)

func newTimeline() *timeline {
	return &timeline{first: math.MinInt64, confirmed: math.MinInt64, frontier: math.MinInt64, dropped: math.MinInt64}
}

// put is told that an entry of the time has a value.
func (l *timeline) put(t int64) {
	if t <= l.first {
		l.first, l.certainty = t, exactly
	}
}

// removed is told that an entry of the time may be gone.
func (l *timeline) removed(t int64) {
	if t == l.first {
		l.unsure()
	}
}

// removedRange is told that no entry has a time in [from, to) any more.
func (l *timeline) removedRange(from, to int64) {
	if from <= l.first && l.first < to {
		l.first, l.certainty = to, atLeast
	}
}

func (l *timeline) unsure() {
	if l.certainty == exactly {
		l.certainty = atLeast
	}
}

// left is told that an entry left the cache while Pebble may have a value.
func (l *timeline) left(t int64) { l.frontier = max(l.frontier, t) }

// applied is told that a replay changes an entry of the time.
func (l *timeline) applied(t int64) {
	l.left(t)
	l.confirmed = min(l.confirmed, t)
	if t <= l.first {
		l.first, l.certainty = t, atLeast
	}
}

// confirm ends an epoch.
func (l *timeline) confirm() {
	l.confirmed = l.first
	l.dropped = math.MinInt64
}

// abort ends an epoch as if it had not been.
func (l *timeline) abort() {
	l.first, l.certainty = l.confirmed, atLeast
	l.left(l.dropped)
	l.dropped = math.MinInt64
}
