// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// q20 joins bids with their auctions, if these are of one category. Whether the bid or the auction comes first does not
// matter, however long the other takes.
func q20(s *site) {
	auctions := s.auctions(model.AllTexts).Map(func(a model.Auction) bidOrAuction { return bidOrAuction{auction: &a} })
	s.bids(model.AllTexts).
		Map(func(b model.Bid) bidOrAuction { return bidOrAuction{bid: b} }).
		Merge(auctions).
		Process("auctions", joinAuctions).
		To(s.out, rows(writeAuctionBid))
}

// auctionBid is a bid with its auction.
type auctionBid struct {
	auction *model.Auction
	bid     model.Bid
}

// joinAuctions keeps the auction, and the bids that came before it.
func joinAuctions(setup *stream.Setup) stream.Handler[int64, bidOrAuction, auctionBid] {
	const wanted = 10
	known := setup.Value("auction", codec.JSON[*model.Auction]())
	waiting := setup.Map("waiting", codec.Int64, model.Bids)
	return func(ctx *stream.Context[auctionBid], _ int64, v bidOrAuction) error {
		if v.auction == nil {
			a, found, err := known.Get()
			switch {
			case err != nil:
				return err
			case !found:
				_, _, offset := ctx.Metadata()
				return waiting.Put(offset, v.bid)
			case a.Category == wanted:
				ctx.Emit(auctionBid{a, v.bid})
			}
			return nil
		}
		for offset, b := range waiting.All() {
			if v.auction.Category == wanted {
				ctx.Emit(auctionBid{v.auction, b})
			}
			if err := waiting.Delete(offset); err != nil {
				return err
			}
		}
		if v.auction.Category != wanted {
			return known.Put(&model.Auction{Category: v.auction.Category}) // so that its bids do not wait
		}
		return known.Put(v.auction)
	}
}

func writeAuctionBid(dst []byte, v auctionBid) ([]byte, error) {
	a, b := v.auction, &v.bid
	w := model.Write(dst)
	w.Int(`{"auction":`, b.Auction)
	w.Int(`,"bidder":`, b.Bidder)
	w.Int(`,"price":`, b.Price)
	w.Text(`,"channel":`, b.Channel)
	w.Text(`,"url":`, b.URL)
	w.Int(`,"bid_dateTime":`, b.DateTime)
	w.Text(`,"bid_extra":`, b.Extra)
	w.Text(`,"itemName":`, a.ItemName)
	w.Text(`,"description":`, a.Description)
	w.Int(`,"initialBid":`, a.InitialBid)
	w.Int(`,"reserve":`, a.Reserve)
	w.Int(`,"auction_dateTime":`, a.DateTime)
	w.Int(`,"expires":`, a.Expires)
	w.Int(`,"seller":`, a.Seller)
	w.Int(`,"category":`, a.Category)
	w.Text(`,"auction_extra":`, a.Extra)
	return w.End()
}
