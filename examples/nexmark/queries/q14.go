// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"strings"
	"time"

	"github.com/streamd/streamd/examples/nexmark/model"
)

// q14 keeps bids within bounds and calculates some of their fields.
func q14(s *site) {
	s.bids(model.Extra).
		Map(toEuros).
		Filter(func(b euroBid) bool { return b.thousandths > 1_000_000_000 && b.thousandths < 50_000_000_000 }).
		To(s.out, rows(writeCalculation))
}

func writeCalculation(dst []byte, b euroBid) ([]byte, error) {
	w := model.Write(dst)
	w.Int(`{"auction":`, b.Auction)
	w.Int(`,"bidder":`, b.Bidder)
	w.Thousandths(`,"price":`, b.thousandths)
	w.Text(`,"bidTimeType":`, partOfDay(b.DateTime))
	w.Int(`,"dateTime":`, b.DateTime)
	w.Text(`,"extra":`, b.Extra)
	w.Int(`,"c_counts":`, int64(strings.Count(b.Extra, "c")))
	return w.End()
}

func partOfDay(millis int64) string {
	switch hour := millis / time.Hour.Milliseconds() % 24; {
	case hour >= 8 && hour <= 18:
		return "dayTime"
	case hour <= 6 || hour >= 20:
		return "nightTime"
	}
	return "otherTime"
}
