// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// q18 keeps the last bid of each bidder on each auction.
func q18(s *site) {
	s.bids(model.AllTexts).
		Process("last", lastBids).
		MapKV(func(auction int64, b model.Bid) (pair, model.Bid) { return pair{b.Bidder, auction}, b }).
		WithKey(pairs).
		To(s.out, model.Bids)
}

// lastBids keeps the time of each bidder's last bid. Of equal times the later record counts.
func lastBids(setup *stream.Setup) stream.Handler[int64, model.Bid, model.Bid] {
	last := setup.Map("last", codec.Int64, codec.Int64)
	return func(ctx *stream.Context[model.Bid], _ int64, b model.Bid) error {
		at, found, err := last.Get(b.Bidder)
		if err != nil || found && b.DateTime < at {
			return err
		}
		ctx.Emit(b)
		if found && b.DateTime == at {
			return nil
		}
		return last.Put(b.Bidder, b.DateTime)
	}
}
