// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"time"

	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// q12 counts the bids of each bidder in windows of the clock: the time of a bid is when it is processed. So counts differ
// from run to run, and only their sums do not.
func q12(s *site) {
	stream.From(s.Pipeline, s.topics.Bid, model.Key, model.BidsWith(model.NoTexts), stream.ProcessingTime()).
		Map(func(b model.Bid) int64 { return b.Bidder }).
		WithValue(codec.Int64).
		KeyBy("by-bidder", func(bidder int64) int64 { return bidder }, model.Key).
		Group().
		Window(stream.Tumbling(10*time.Second).EmitOnClose()).
		Count("bids").
		Stream().
		Map(func(w stream.Windowed[int64], bids int64) BidderBids { return BidderBids{w.Key, bids, w.Start, w.End} }).
		To(s.out, rows(writeBidderBids))
}
