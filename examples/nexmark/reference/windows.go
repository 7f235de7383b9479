// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"slices"

	"github.com/streamd/streamd/examples/nexmark/model"
)

const (
	windowMillis = 10_000 // of q5, q7 and q8
	slideMillis  = 2_000  // of q5
	gapMillis    = 10_000 // of q11
)

// windowStart is the start of the window of q7 and q8 that holds a time.
func windowStart(millis int64) int64 { return millis - millis%windowMillis }

// q5: the auctions with the most bids of each window.
func q5(in Input) []Row {
	counts := map[int64]map[int64]int64{} // by start of the window, by auction
	for _, b := range in.Bids {
		newest := b.DateTime - b.DateTime%slideMillis
		for start := newest; start > b.DateTime-windowMillis; start -= slideMillis {
			if counts[start] == nil {
				counts[start] = map[int64]int64{}
			}
			counts[start][b.Auction]++
		}
	}
	var rows []Row
	for start, ofWindow := range counts {
		most := int64(0)
		for _, n := range ofWindow {
			most = max(most, n)
		}
		for auction, n := range ofWindow {
			if n == most {
				rows = append(rows, Row{auction, n, start, start + windowMillis})
			}
		}
	}
	return rows
}

// q7: the highest bids of each window.
func q7(in Input) []Row {
	highest := map[int64]int64{}
	for _, b := range in.Bids {
		highest[windowStart(b.DateTime)] = max(highest[windowStart(b.DateTime)], b.Price)
	}
	return each(in.Bids, func(b model.Bid) Row {
		if b.Price != highest[windowStart(b.DateTime)] {
			return nil
		}
		return Row{b.Auction, b.Bidder, b.Price, b.DateTime, b.Extra}
	})
}

// q8: people who opened an auction in the window in which they registered.
func q8(in Input) []Row {
	type sale struct{ seller, start int64 }
	sales := map[sale]bool{}
	for _, a := range in.Auctions {
		sales[sale{a.Seller, windowStart(a.DateTime)}] = true
	}
	var rows []Row
	for _, p := range in.People {
		if start := windowStart(p.DateTime); sales[sale{p.ID, start}] {
			rows = append(rows, Row{p.ID, p.Name, start})
		}
	}
	return rows
}

// q11: sessions of bidders, which end when there was no bid for longer than the gap.
func q11(in Input) []Row {
	times := map[int64][]int64{}
	for _, b := range in.Bids {
		times[b.Bidder] = append(times[b.Bidder], b.DateTime)
	}
	var rows []Row
	for bidder, all := range times {
		slices.Sort(all)
		first := 0
		for i := range all {
			if last := i == len(all)-1; last || all[i+1]-all[i] > gapMillis {
				rows = append(rows, Row{bidder, int64(i - first + 1), all[first], all[i] + gapMillis})
				first = i + 1
			}
		}
	}
	return rows
}

// q12: how many bids each bidder made. By which window of the clock they are counted is chance.
func q12(in Input) []Row {
	return sumCounts(each(in.Bids, func(b model.Bid) Row { return Row{b.Bidder, int64(1), int64(0), int64(0)} }))
}

// sumCounts makes one row of all rows of a bidder, without a window.
func sumCounts(rows []Row) []Row {
	counts := map[int64]int64{}
	for _, r := range rows {
		counts[r[0].(int64)] += r[1].(int64)
	}
	var sums []Row
	for bidder, n := range counts {
		sums = append(sums, Row{bidder, n, int64(0), int64(0)})
	}
	return sums
}
