// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"time"

	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// q11 counts the bids of each bidder in sessions, which end after ten seconds without a bid.
func q11(s *site) {
	s.bids(model.NoTexts).
		Map(func(b model.Bid) int64 { return b.Bidder }).
		WithValue(codec.Int64).
		KeyBy("by-bidder", func(bidder int64) int64 { return bidder }, model.Key).
		Group().
		Window(stream.Session(10*time.Second).EmitOnClose()).
		Count("bids").
		Stream().
		Map(func(w stream.Windowed[int64], bids int64) BidderBids { return BidderBids{w.Key, bids, w.Start, w.End} }).
		To(s.out, rows(writeBidderBids))
}

// BidderBids is a result of q11 and of q12.
type BidderBids struct {
	Bidder int64 `json:"bidder"`
	Bids   int64 `json:"bid_count"`
	Start  int64 `json:"starttime"`
	End    int64 `json:"endtime"`
}

func writeBidderBids(dst []byte, b BidderBids) ([]byte, error) {
	w := model.Write(dst)
	w.Int(`{"bidder":`, b.Bidder)
	w.Int(`,"bid_count":`, b.Bids)
	w.Int(`,"starttime":`, b.Start)
	w.Int(`,"endtime":`, b.End)
	return w.End()
}
