// SPDX-License-Identifier: Apache-2.0

package reference

import (
	"cmp"
	"slices"

	"github.com/streamd/streamd/examples/nexmark/model"
)

// index puts things by a key that each has alone.
func index[T any](all []T, key func(T) int64) map[int64]T {
	m := map[int64]T{}
	for _, it := range all {
		m[key(it)] = it
	}
	return m
}

func auctionsByID(in Input) map[int64]model.Auction {
	return index(in.Auctions, func(a model.Auction) int64 { return a.ID })
}

func peopleByID(in Input) map[int64]model.Person {
	return index(in.People, func(p model.Person) int64 { return p.ID })
}

// q3: auctions of category 10 by people from three states.
func q3(in Input) []Row {
	people := peopleByID(in)
	var rows []Row
	for _, a := range in.Auctions {
		p, ok := people[a.Seller]
		if ok && a.Category == 10 && slices.Contains([]string{"OR", "ID", "CA"}, p.State) {
			rows = append(rows, Row{p.Name, p.City, p.State, a.ID})
		}
	}
	return rows
}

// winners returns the winning bid of each auction that has one: the highest that was made while it was open, of equal
// ones the first.
func winners(in Input) map[int64]model.Bid {
	auctions := auctionsByID(in)
	best := map[int64]model.Bid{}
	for _, b := range in.Bids {
		a, ok := auctions[b.Auction]
		if !ok || b.DateTime < a.DateTime || b.DateTime > a.Expires {
			continue
		}
		if old, ok := best[a.ID]; !ok || b.Price > old.Price {
			best[a.ID] = b
		}
	}
	return best
}

// q4: the mean of the winning prices of each category.
func q4(in Input) []Row {
	prices := map[int64][]int64{}
	best := winners(in)
	for _, a := range in.Auctions {
		if b, ok := best[a.ID]; ok {
			prices[a.Category] = append(prices[a.Category], b.Price)
		}
	}
	var rows []Row
	for category, all := range prices {
		rows = append(rows, Row{category, mean(all)})
	}
	return rows
}

// q6: the mean of the last ten winning prices of each seller, in the order in which the auctions end.
func q6(in Input) []Row {
	sold := map[int64][]model.Auction{}
	best := winners(in)
	for _, a := range in.Auctions {
		if _, ok := best[a.ID]; ok {
			sold[a.Seller] = append(sold[a.Seller], a)
		}
	}
	var rows []Row
	for seller, auctions := range sold {
		slices.SortFunc(auctions, func(a, b model.Auction) int {
			return cmp.Or(cmp.Compare(a.Expires, b.Expires), cmp.Compare(a.ID, b.ID))
		})
		var prices []int64
		for _, a := range auctions[max(0, len(auctions)-10):] {
			prices = append(prices, best[a.ID].Price)
		}
		rows = append(rows, Row{seller, mean(prices)})
	}
	return rows
}

// mean cuts off the fraction.
func mean(all []int64) int64 {
	sum := int64(0)
	for _, n := range all {
		sum += n
	}
	return sum / int64(len(all))
}

// q9: auctions with their winning bids.
func q9(in Input) []Row {
	var rows []Row
	best := winners(in)
	for _, a := range in.Auctions {
		if b, ok := best[a.ID]; ok {
			rows = append(rows, Row{a.ID, a.ItemName, a.Description, a.InitialBid, a.Reserve, a.DateTime, a.Expires, a.Seller,
				a.Category, a.Extra, b.Auction, b.Bidder, b.Price, b.DateTime, b.Extra})
		}
	}
	return rows
}

// q20: bids on auctions of category 10, with these.
func q20(in Input) []Row {
	auctions := auctionsByID(in)
	return each(in.Bids, func(b model.Bid) Row {
		a, ok := auctions[b.Auction]
		if !ok || a.Category != 10 {
			return nil
		}
		return Row{b.Auction, b.Bidder, b.Price, b.Channel, b.URL, b.DateTime, b.Extra, a.ItemName, a.Description, a.InitialBid,
			a.Reserve, a.DateTime, a.Expires, a.Seller, a.Category, a.Extra}
	})
}
