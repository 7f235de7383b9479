// SPDX-License-Identifier: Apache-2.0

package queries

import "github.com/streamd/streamd/examples/nexmark/model"

// q1 converts prices from dollars to euros.
func q1(s *site) {
	s.bids(model.Extra).
		Map(toEuros).
		To(s.out, rows(writeEuroBid))
}

// euroBid is a bid whose price is in thousandths of the unit: 0.908 times a whole number has three decimals.
type euroBid struct {
	model.Bid
	thousandths int64
}

func toEuros(b model.Bid) euroBid { return euroBid{b, b.Price * 908} }

func writeEuroBid(dst []byte, b euroBid) ([]byte, error) {
	w := model.Write(dst)
	w.Int(`{"auction":`, b.Auction)
	w.Int(`,"bidder":`, b.Bidder)
	w.Thousandths(`,"price":`, b.thousandths)
	w.Int(`,"dateTime":`, b.DateTime)
	w.Text(`,"extra":`, b.Extra)
	return w.End()
}
