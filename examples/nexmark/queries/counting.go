// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"encoding/binary"
	"errors"

	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// ranks is how many ranks prices have: below 100 dollars, below 10,000, and the rest.
const ranks = 3

func rankOf(price int64) int {
	switch {
	case price < 10_000:
		return 0
	case price < 1_000_000:
		return 1
	}
	return 2
}

// bidNumbers is the codec of bids without their texts, for repartition topics.
var bidNumbers = codec.New("nexmark-bid-numbers",
	func(dst []byte, b model.Bid) ([]byte, error) {
		dst = binary.AppendVarint(dst, b.Auction)
		dst = binary.AppendVarint(dst, b.Bidder)
		dst = binary.AppendVarint(dst, b.Price)
		return binary.AppendVarint(dst, b.DateTime), nil
	},
	func(src []byte) (b model.Bid, err error) {
		for _, to := range []*int64{&b.Auction, &b.Bidder, &b.Price, &b.DateTime} {
			v, n := binary.Varint(src)
			if n <= 0 {
				return model.Bid{}, errors.New("nexmark-bid-numbers ends within a number")
			}
			*to, src = v, src[n:]
		}
		if len(src) > 0 {
			return model.Bid{}, errors.New("nexmark-bid-numbers goes on behind its last number")
		}
		return b, nil
	})

// seen is how often something has been seen, in all and by rank.
type seen struct {
	Total int64        `json:"total"`
	Ranks [ranks]int64 `json:"ranks"`
}

// count is what one bid adds to the counts of its group.
type count struct {
	rank                        int
	bidder, auction             bool // not seen before
	bidderOfRank, auctionOfRank bool // not seen before with this rank
	time                        int64
}

// Counts are the bids of a group, its different bidders and its different auctions.
type Counts struct {
	Bids     seen  `json:"bids"`
	Bidders  seen  `json:"bidders"`
	Auctions seen  `json:"auctions"`
	Last     int64 `json:"last"` // time of the last bid
}

func (c Counts) add(n count) Counts {
	add := func(to *seen, total, ofRank bool) {
		if total {
			to.Total++
		}
		if ofRank {
			to.Ranks[n.rank]++
		}
	}
	add(&c.Bids, true, true)
	add(&c.Bidders, n.bidder, n.bidderOfRank)
	add(&c.Auctions, n.auction, n.auctionOfRank)
	c.Last = max(c.Last, n.time)
	return c
}

// counted counts the bids of each key. The newest counts of a key are emitted once per commit.
func counted[K any](bids stream.Stream[K, model.Bid]) stream.Stream[K, Counts] {
	return bids.
		Process("distinct", distinct).
		Group().
		Aggregate("counts", func() Counts { return Counts{} }, Counts.add, codec.JSON[Counts]()).
		Stream(stream.EmitPerCommit())
}

// distinct keeps the bidders and auctions of each key, each with the set of ranks that it has been seen with.
func distinct[K any](setup *stream.Setup) stream.Handler[K, model.Bid, count] {
	bidders := setup.Map("bidders", codec.Int64, rankSets)
	auctions := setup.Map("auctions", codec.Int64, rankSets)
	return func(ctx *stream.Context[count], _ K, b model.Bid) (err error) {
		n := count{rank: rankOf(b.Price), time: b.DateTime}
		if n.bidder, n.bidderOfRank, err = note(bidders, b.Bidder, n.rank); err != nil {
			return err
		}
		if n.auction, n.auctionOfRank, err = note(auctions, b.Auction, n.rank); err != nil {
			return err
		}
		ctx.Emit(n)
		return nil
	}
}

// note tells whether an id is new, in all and with this rank.
func note(state *stream.MapState[int64, rankSet], id int64, rank int) (isNew, newOfRank bool, err error) {
	set, found, err := state.Get(id)
	with := set | 1<<rank
	if err != nil || set == with {
		return false, false, err
	}
	return !found, true, state.Put(id, with)
}

// rankSet has a bit for each rank.
type rankSet byte

var rankSets = codec.New("nexmark-ranks",
	func(dst []byte, s rankSet) ([]byte, error) { return append(dst, byte(s)), nil },
	func(src []byte) (rankSet, error) {
		if len(src) != 1 {
			return 0, errors.New("nexmark-ranks takes a byte")
		}
		return rankSet(src[0]), nil
	})

// CountRow is how counts are written.
type CountRow struct {
	Bids          int64 `json:"total_bids"`
	Rank1Bids     int64 `json:"rank1_bids"`
	Rank2Bids     int64 `json:"rank2_bids"`
	Rank3Bids     int64 `json:"rank3_bids"`
	Bidders       int64 `json:"total_bidders"`
	Rank1Bidders  int64 `json:"rank1_bidders"`
	Rank2Bidders  int64 `json:"rank2_bidders"`
	Rank3Bidders  int64 `json:"rank3_bidders"`
	Auctions      int64 `json:"total_auctions"`
	Rank1Auctions int64 `json:"rank1_auctions"`
	Rank2Auctions int64 `json:"rank2_auctions"`
	Rank3Auctions int64 `json:"rank3_auctions"`
}

func (c Counts) row() CountRow {
	return CountRow{
		c.Bids.Total, c.Bids.Ranks[0], c.Bids.Ranks[1], c.Bids.Ranks[2],
		c.Bidders.Total, c.Bidders.Ranks[0], c.Bidders.Ranks[1], c.Bidders.Ranks[2],
		c.Auctions.Total, c.Auctions.Ranks[0], c.Auctions.Ranks[1], c.Auctions.Ranks[2],
	}
}
