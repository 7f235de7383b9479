// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/streamd/streamd/partition"
)

// This file is pure.

// keyOf is how keys are encoded.
func keyOf(k uint64) []byte { return binary.BigEndian.AppendUint64(nil, k) }

// outputs are what an application has written, in the order of each customer.
type outputs struct {
	counts map[uint64][]tally
	totals map[uint64][]total
}

// state is what the stage that counts held at a cut.
type state struct {
	counts     map[uint64]tally
	watermarks []int64 // by task
}

// line is what an application has behind it that began from a cut: what the ones that it comes from have written up to
// there. The zero line is that of an application that began with nothing.
type line struct {
	counts map[uint64][]tally // by customer
	closed map[uint64]int64   // by customer: how far event time had come for it; absent: nowhere
}

// branch is the line of an application that begins from a cut of one that has this line and has written out.
func (l line) branch(out outputs, at state) (line, []string) {
	var faults []string
	b := line{map[uint64][]tally{}, map[uint64]int64{}}
	for c := range uint64(customers) {
		sofar := slices.Concat(l.counts[c], out.counts[c])
		n := at.counts[c].Count
		if n > uint64(len(sofar)) || n > 0 && sofar[n-1] != at.counts[c] {
			faults = append(faults, fmt.Sprintf("customer %d: the checkpoint holds %+v, which is not among the %d updates before it", c, at.counts[c], len(sofar)))
			n = min(n, uint64(len(sofar)))
		}
		b.counts[c] = sofar[:n:n]
		b.closed[c] = at.watermarks[partition.ForKey(keyOf(c), int32(len(at.watermarks)))]
		if former, ok := l.closed[c]; ok {
			b.closed[c] = max(b.closed[c], former)
		}
	}
	return b, faults
}

// check compares what an application has written with what it had to write, having this line.
func (l line) check(want *truth, out outputs) []string {
	var faults []string
	for c := range uint64(customers) {
		if fault := checkCounts(want.orders[c], l.counts[c], out.counts[c]); fault != "" {
			faults = append(faults, fmt.Sprintf("%s of customer %d: %s", counts, c, fault))
		}
	}
	return append(faults, l.checkTotals(want, out)...)
}

// checkCounts goes through all updates of a customer, those before the cut first: numbers go up by one, each order is in
// them once, and sums are those of the orders. It stops at the first that is wrong.
func checkCounts(amounts map[uint64]uint64, before, got []tally) string {
	left := make(map[uint64]uint64, len(amounts))
	for id, amount := range amounts {
		left[id] = amount
	}
	last := tally{}
	for i, t := range slices.Concat(before, got) {
		amount, ok := left[t.Order]
		_, known := amounts[t.Order]
		switch {
		case !known:
			return fmt.Sprintf("update %+v is of an order that the customer has not made", t)
		case !ok:
			return fmt.Sprintf("update %+v, number %d after the cut, is of an order that was counted before", t, i-len(before)+1)
		case t.Count != last.Count+1:
			return fmt.Sprintf("update %+v, number %d after the cut, follows %+v", t, i-len(before)+1, last)
		case t.Sum != last.Sum+amount:
			return fmt.Sprintf("update %+v follows %+v, and the order is of %d", t, last, amount)
		}
		delete(left, t.Order)
		last = t
	}
	if len(left) > 0 {
		return fmt.Sprintf("%d of %d orders are not counted; the last update is %+v", len(left), len(amounts), last)
	}
	return ""
}

// isOpen says whether a window was still open at the cut.
func (l line) isOpen(w window) bool {
	at, ok := l.closed[w.customer]
	return !ok || w.start+windowSize.Milliseconds()+grace.Milliseconds() > at
}

// checkTotals expects each window that was open at the cut once.
func (l line) checkTotals(want *truth, out outputs) []string {
	var faults []string
	seen := map[window]bool{}
	for c, list := range out.totals {
		for _, t := range list {
			w := window{c, t.Start}
			switch {
			case seen[w]:
				faults = append(faults, fmt.Sprintf("%s of customer %d: window %+v comes again", totals, c, t))
			case !l.isOpen(w):
				faults = append(faults, fmt.Sprintf("%s of customer %d: window %+v was closed before the cut, whose event time is %d", totals, c, t, l.closed[c]))
			case want.totals[w] != t:
				faults = append(faults, fmt.Sprintf("%s of customer %d: %+v, expected %+v", totals, c, t, want.totals[w]))
			}
			seen[w] = true
		}
	}
	for w, t := range want.totals {
		if l.isOpen(w) && !seen[w] {
			faults = append(faults, fmt.Sprintf("%s of customer %d: window %+v is missing", totals, w.customer, t))
		}
	}
	slices.Sort(faults)
	return faults
}

// size counts what there is.
func (o outputs) size() (updates, windows int) {
	for _, list := range o.counts {
		updates += len(list)
	}
	for _, list := range o.totals {
		windows += len(list)
	}
	return updates, windows
}
