// SPDX-License-Identifier: Apache-2.0

package queries

import "github.com/streamd/streamd/examples/nexmark/model"

// q9 keeps each auction with its winning bid.
func q9(s *site) {
	s.wins(model.AllTexts).
		To(s.out, rows(writeWin))
}

func writeWin(dst []byte, v Win) ([]byte, error) {
	a, b := &v.Auction, &v.Bid
	w := model.Write(dst)
	w.Int(`{"id":`, a.ID)
	w.Text(`,"itemName":`, a.ItemName)
	w.Text(`,"description":`, a.Description)
	w.Int(`,"initialBid":`, a.InitialBid)
	w.Int(`,"reserve":`, a.Reserve)
	w.Int(`,"dateTime":`, a.DateTime)
	w.Int(`,"expires":`, a.Expires)
	w.Int(`,"seller":`, a.Seller)
	w.Int(`,"category":`, a.Category)
	w.Text(`,"extra":`, a.Extra)
	w.Int(`,"auction":`, b.Auction)
	w.Int(`,"bidder":`, b.Bidder)
	w.Int(`,"price":`, b.Price)
	w.Int(`,"bid_dateTime":`, b.DateTime)
	w.Text(`,"bid_extra":`, b.Extra)
	return w.End()
}
