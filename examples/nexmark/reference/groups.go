// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"slices"

	"github.com/streamd/streamd/examples/nexmark/model"
)

// group gathers bids by a key, in their order.
func group[K comparable](bids []model.Bid, key func(model.Bid) K) map[K][]model.Bid {
	groups := map[K][]model.Bid{}
	for _, b := range bids {
		groups[key(b)] = append(groups[key(b)], b)
	}
	return groups
}

// rankOf is 1 for low prices, 2 for middle and 3 for high ones.
func rankOf(price int64) int {
	switch {
	case price < 10_000:
		return 1
	case price < 1_000_000:
		return 2
	}
	return 3
}

// bidsByRank counts all bids, and those of each rank.
func bidsByRank(bids []model.Bid) Row {
	var n [4]int64
	for _, b := range bids {
		n[0]++
		n[rankOf(b.Price)]++
	}
	return Row{n[0], n[1], n[2], n[3]}
}

// distinctByRank counts the different ids of all bids, and of those of each rank.
func distinctByRank(bids []model.Bid, id func(model.Bid) int64) Row {
	var seen [4]map[int64]bool
	for i := range seen {
		seen[i] = map[int64]bool{}
	}
	for _, b := range bids {
		seen[0][id(b)] = true
		seen[rankOf(b.Price)][id(b)] = true
	}
	return Row{int64(len(seen[0])), int64(len(seen[1])), int64(len(seen[2])), int64(len(seen[3]))}
}

func statistics(bids []model.Bid) Row {
	return slices.Concat(bidsByRank(bids), distinctByRank(bids, func(b model.Bid) int64 { return b.Bidder }),
		distinctByRank(bids, func(b model.Bid) int64 { return b.Auction }))
}

// q15: statistics of each day.
func q15(in Input) []Row {
	var rows []Row
	for day, bids := range group(in.Bids, func(b model.Bid) string { return dayOf(b.DateTime) }) {
		rows = append(rows, slices.Concat(Row{day}, statistics(bids)))
	}
	return rows
}

// q16: statistics of each channel and day, with the minute of the last bid.
func q16(in Input) []Row {
	type key struct{ channel, day string }
	var rows []Row
	for k, bids := range group(in.Bids, func(b model.Bid) key { return key{b.Channel, dayOf(b.DateTime)} }) {
		minute := ""
		for _, b := range bids {
			minute = max(minute, minuteOf(b.DateTime))
		}
		rows = append(rows, slices.Concat(Row{k.channel, k.day, minute}, statistics(bids)))
	}
	return rows
}

// q17: prices of each auction and day.
func q17(in Input) []Row {
	type key struct {
		auction int64
		day     string
	}
	var rows []Row
	for k, bids := range group(in.Bids, func(b model.Bid) key { return key{b.Auction, dayOf(b.DateTime)} }) {
		var prices []int64
		sum := int64(0)
		for _, b := range bids {
			prices = append(prices, b.Price)
			sum += b.Price
		}
		rows = append(rows, slices.Concat(Row{k.auction, k.day}, bidsByRank(bids),
			Row{slices.Min(prices), slices.Max(prices), mean(prices), sum}))
	}
	return rows
}

func wholeRow(b model.Bid) Row {
	return Row{b.Auction, b.Bidder, b.Price, b.Channel, b.URL, b.DateTime, b.Extra}
}

// q18: the last bid of each bidder on each auction.
func q18(in Input) []Row {
	type key struct{ bidder, auction int64 }
	var rows []Row
	for _, bids := range group(in.Bids, func(b model.Bid) key { return key{b.Bidder, b.Auction} }) {
		rows = append(rows, wholeRow(bids[len(bids)-1]))
	}
	return rows
}

// q19: the ten highest bids of each auction; of equal ones the earlier.
func q19(in Input) []Row {
	var rows []Row
	for _, bids := range group(in.Bids, func(b model.Bid) int64 { return b.Auction }) {
		slices.SortStableFunc(bids, func(a, b model.Bid) int { return int(b.Price - a.Price) })
		for i, b := range bids[:min(10, len(bids))] {
			rows = append(rows, append(wholeRow(b), int64(i+1)))
		}
	}
	return rows
}
