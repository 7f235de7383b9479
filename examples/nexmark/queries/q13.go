// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"strconv"

	"github.com/streamd/streamd/examples/nexmark/model"
)

// q13 joins bids with a table that does not change, which every worker has in memory.
func q13(s *site) {
	side := newSideInput()
	s.bids(model.NoTexts).
		Map(side.join).
		To(s.out, rows(writeJoinedBid))
}

// sideInput is a text for each number. It is read-only, so that tasks can share it.
type sideInput []string

func newSideInput() sideInput {
	side := make(sideInput, 10_000)
	for i := range side {
		side[i] = strconv.Itoa(i)
	}
	return side
}

type joinedBid struct {
	model.Bid
	value string
}

func (side sideInput) join(b model.Bid) joinedBid {
	return joinedBid{b, side[b.Auction%int64(len(side))]}
}

func writeJoinedBid(dst []byte, b joinedBid) ([]byte, error) {
	w := model.Write(dst)
	w.Int(`{"auction":`, b.Auction)
	w.Int(`,"bidder":`, b.Bidder)
	w.Int(`,"price":`, b.Price)
	w.Int(`,"dateTime":`, b.DateTime)
	w.Text(`,"value":`, b.value)
	return w.End()
}
