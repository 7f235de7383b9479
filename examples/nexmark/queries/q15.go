// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
)

// q15 counts the bids of each day, its different bidders and its different auctions, in all and by rank of the price.
func q15(s *site) {
	byDay := s.bids(model.NoTexts).
		WithValue(bidNumbers).
		KeyBy("by-day", func(b model.Bid) int64 { return dayOf(b.DateTime) }, codec.Int64)
	counted(byDay).
		MapWithKey(func(day int64, c Counts) DayCounts { return DayCounts{dayText(day), c.row()} }).
		To(s.out, codec.JSON[DayCounts]())
}

// DayCounts is a result of q15.
type DayCounts struct {
	Day      string `json:"day"`
	CountRow `json:",inline"`
}
