// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"time"

	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
)

// q15 counts the bids of each day, its different bidders and its different auctions, in all and by rank of the price.
func q15(s *site) {
	byDay := s.bids(model.NoTexts).
		WithValue(bidNumbers).
		KeyBy("by-day", func(b model.Bid) int64 { return dayOf(b.DateTime) }, codec.Int64)
	counted(byDay).
		MapWithKey(func(day int64, c Counts) dayCounts { return dayCounts{day, c} }).
		To(s.out, rows(writeDayCounts))
}

type dayCounts struct {
	day int64
	Counts
}

func writeDayCounts(dst []byte, c dayCounts) ([]byte, error) {
	w := model.Write(dst)
	w.Time(`{"day":`, c.day*dayMillis, time.DateOnly)
	c.write(&w)
	return w.End()
}
