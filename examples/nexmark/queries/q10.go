// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"time"

	"github.com/streamd/streamd/examples/nexmark/model"
)

// minuteLayout is how a minute of a day is written.
const minuteLayout = "15:04"

// q10 gives each bid the day and the minute that name the file which a log of bids would keep it in.
func q10(s *site) {
	s.bids(model.Extra).
		To(s.out, rows(writeLoggedBid))
}

func writeLoggedBid(dst []byte, b model.Bid) ([]byte, error) {
	w := model.Write(dst)
	w.Int(`{"auction":`, b.Auction)
	w.Int(`,"bidder":`, b.Bidder)
	w.Int(`,"price":`, b.Price)
	w.Int(`,"dateTime":`, b.DateTime)
	w.Text(`,"extra":`, b.Extra)
	w.Time(`,"dt":`, b.DateTime, time.DateOnly)
	w.Time(`,"hm":`, b.DateTime, minuteLayout)
	return w.End()
}
