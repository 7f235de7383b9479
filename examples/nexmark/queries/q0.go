// SPDX-License-Identifier: Apache-2.0

package queries

import "github.com/streamd/streamd/examples/nexmark/model"

// q0 passes bids through, without channel and URL: what reading, decoding, encoding and writing cost.
func q0(s *site) {
	s.bids(model.Extra).
		To(s.out, rows(writeBid))
}

func writeBid(dst []byte, b model.Bid) ([]byte, error) {
	w := model.Write(dst)
	w.Int(`{"auction":`, b.Auction)
	w.Int(`,"bidder":`, b.Bidder)
	w.Int(`,"price":`, b.Price)
	w.Int(`,"dateTime":`, b.DateTime)
	w.Text(`,"extra":`, b.Extra)
	return w.End()
}
