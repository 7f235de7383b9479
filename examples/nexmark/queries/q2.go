// SPDX-License-Identifier: Apache-2.0

package queries

import "github.com/streamd/streamd/examples/nexmark/model"

// q2 finds the bids on some auctions.
func q2(s *site) {
	s.bids(model.NoTexts).
		Filter(func(b model.Bid) bool { return b.Auction%123 == 0 }).
		To(s.out, rows(writePrice))
}

func writePrice(dst []byte, b model.Bid) ([]byte, error) {
	w := model.Write(dst)
	w.Int(`{"auction":`, b.Auction)
	w.Int(`,"price":`, b.Price)
	return w.End()
}
