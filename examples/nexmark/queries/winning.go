// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// Winning is an auction with its winning bid so far: the highest that was made while it was open, of equal ones the
// first.
type Winning struct {
	Auction model.Auction `json:"auction"`
	Bid     model.Bid     `json:"bid"`
	HasBid  bool          `json:"hasBid"`
}

// better tells whether a bid wins over the one so far.
func (w *Winning) better(b model.Bid) bool {
	if b.DateTime < w.Auction.DateTime || b.DateTime > w.Auction.Expires {
		return false
	}
	return !w.HasBid || b.Price > w.Bid.Price || b.Price == w.Bid.Price && b.DateTime < w.Bid.DateTime
}

// Win says that an auction has another winning bid.
type Win struct {
	Winning
	Before int64 // the price of the former winning bid
	First  bool  // there was none
}

// bidOrAuction is one of the two, under the id of the auction.
type bidOrAuction struct {
	bid     model.Bid
	auction *model.Auction // nil: it is a bid
}

// wins follows the winning bids of all auctions.
func (s *site) wins(want model.Texts) stream.Stream[int64, Win] {
	auctions := s.auctions(want).Map(func(a model.Auction) bidOrAuction { return bidOrAuction{auction: &a} })
	return s.bids(want&model.Extra).
		Map(func(b model.Bid) bidOrAuction { return bidOrAuction{bid: b} }).
		Merge(auctions).
		Process("winning", followWins)
}

// followWins keeps the winning bid of each auction, and the bids that came before their auction.
func followWins(setup *stream.Setup) stream.Handler[int64, bidOrAuction, Win] {
	winning := setup.Value("auction", codec.JSON[*Winning]())
	waiting := setup.Map("waiting", codec.Int64, model.Bids)
	return func(ctx *stream.Context[Win], _ int64, v bidOrAuction) error {
		old, found, err := winning.Get()
		if err != nil {
			return err
		}
		_, _, offset := ctx.Metadata()
		if v.auction == nil && !found {
			return waiting.Put(offset, v.bid)
		}
		if v.auction == nil {
			if !old.better(v.bid) {
				return nil
			}
			now := &Winning{Auction: old.Auction, Bid: v.bid, HasBid: true}
			ctx.Emit(Win{Winning: *now, Before: old.Bid.Price, First: !old.HasBid})
			return winning.Put(now)
		}
		now := &Winning{Auction: *v.auction}
		for offset, b := range waiting.All() {
			if now.better(b) {
				now.Bid, now.HasBid = b, true
			}
			if err := waiting.Delete(offset); err != nil {
				return err
			}
		}
		if now.HasBid {
			ctx.Emit(Win{Winning: *now, First: true})
		}
		return winning.Put(now)
	}
}
