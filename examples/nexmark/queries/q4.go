// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// q4 keeps the mean of the winning prices of each category.
func q4(s *site) {
	s.wins(model.NoTexts).
		Map(categoryChange).
		WithValue(codec.JSON[CategoryChange]()).
		KeyBy("by-category", func(c CategoryChange) int64 { return c.Category }, model.Key).
		Group().
		Aggregate("prices", func() Prices { return Prices{} }, Prices.add, codec.JSON[Prices]()).
		Stream(stream.EmitPerCommit()).
		MapWithKey(func(category int64, p Prices) CategoryMean { return CategoryMean{category, p.Sum / p.Auctions} }).
		To(s.out, codec.JSON[CategoryMean]())
}

// CategoryChange is what a win changes in the sums of its category.
type CategoryChange struct {
	Category int64 `json:"category"`
	Auctions int64 `json:"auctions"` // 1: the auction had no winner before
	Price    int64 `json:"price"`
}

func categoryChange(w Win) CategoryChange {
	c := CategoryChange{Category: w.Auction.Category, Price: w.Bid.Price - w.Before}
	if w.First {
		c.Auctions = 1
	}
	return c
}

// Prices sums up the winning prices of a category.
type Prices struct {
	Auctions int64 `json:"auctions"`
	Sum      int64 `json:"sum"`
}

func (p Prices) add(c CategoryChange) Prices {
	return Prices{p.Auctions + c.Auctions, p.Sum + c.Price}
}

// CategoryMean is a result of q4.
type CategoryMean struct {
	ID    int64 `json:"id"` // of the category
	Final int64 `json:"final"`
}
