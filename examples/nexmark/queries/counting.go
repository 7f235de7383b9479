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
		return appendNumbers(dst, b.Auction, b.Bidder, b.Price, b.DateTime), nil
	},
	func(src []byte) (b model.Bid, err error) {
		var n [4]int64
		err = readNumbers(src, n[:])
		return model.Bid{Auction: n[0], Bidder: n[1], Price: n[2], DateTime: n[3]}, err
	})

func appendNumbers(dst []byte, numbers ...int64) []byte {
	for _, n := range numbers {
		dst = binary.AppendVarint(dst, n)
	}
	return dst
}

// readNumbers reads as many numbers as there is room for, from all of src.
func readNumbers(src []byte, to []int64) error {
	for i := range to {
		v, n := binary.Varint(src)
		if n <= 0 {
			return errors.New("the bytes end within a number")
		}
		to[i], src = v, src[n:]
	}
	if len(src) > 0 {
		return errors.New("there are bytes behind the last number")
	}
	return nil
}

// count is what one bid adds to the counts of its group.
type count struct {
	rank                        int
	bidder, auction             bool // not seen before
	bidderOfRank, auctionOfRank bool // not seen before with this rank
	time                        int64
}

// Counts are the bids of a group, its different bidders and its different auctions: of each first all, then those of
// each rank.
type Counts struct {
	numbers [len(countNames)]int64
	last    int64 // time of the last bid
}

// countNames are what stands before the numbers in a row.
var countNames = [...]string{
	`,"total_bids":`, `,"rank1_bids":`, `,"rank2_bids":`, `,"rank3_bids":`,
	`,"total_bidders":`, `,"rank1_bidders":`, `,"rank2_bidders":`, `,"rank3_bidders":`,
	`,"total_auctions":`, `,"rank1_auctions":`, `,"rank2_auctions":`, `,"rank3_auctions":`,
}

// Where the numbers of each kind begin.
const (
	bidsAt     = 0
	biddersAt  = bidsAt + 1 + ranks
	auctionsAt = biddersAt + 1 + ranks
)

func (c Counts) add(n count) Counts {
	add := func(at int, isNew, newOfRank bool) {
		if isNew {
			c.numbers[at]++
		}
		if newOfRank {
			c.numbers[at+1+n.rank]++
		}
	}
	add(bidsAt, true, true)
	add(biddersAt, n.bidder, n.bidderOfRank)
	add(auctionsAt, n.auction, n.auctionOfRank)
	c.last = max(c.last, n.time)
	return c
}

// write appends the numbers to a row.
func (c *Counts) write(w *model.Writer) {
	for i, name := range countNames {
		w.Int(name, c.numbers[i])
	}
}

var countsCodec = codec.New("nexmark-counts",
	func(dst []byte, c Counts) ([]byte, error) {
		return appendNumbers(appendNumbers(dst, c.numbers[:]...), c.last), nil
	},
	func(src []byte) (c Counts, err error) {
		var n [len(c.numbers) + 1]int64
		err = readNumbers(src, n[:])
		copy(c.numbers[:], n[:])
		c.last = n[len(c.numbers)]
		return c, err
	})

// counted counts the bids of each key. The newest counts of a key are emitted once per commit.
func counted[K any](bids stream.Stream[K, model.Bid]) stream.Stream[K, Counts] {
	return bids.
		Process("distinct", distinct).
		Group().
		Aggregate("counts", func() Counts { return Counts{} }, Counts.add, countsCodec).
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
