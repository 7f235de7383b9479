// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"time"

	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// q7 finds the highest bids of each ten seconds. They are found for each auction first, so that few have to come
// together.
func q7(s *site) {
	windows := stream.Tumbling(10 * time.Second).EmitOnClose()
	none := func() Highest { return Highest{} }
	s.bids(model.Extra).
		Group().
		Window(windows).
		Aggregate("of-auction", none, Highest.add, nil, codec.JSON[Highest]()).
		Stream().
		Map(func(_ stream.Windowed[int64], h Highest) Highest { return h }).
		WithValue(codec.JSON[Highest]()).
		KeyBy("by-window", func(h Highest) int64 { return windowOf(h.Bids[0].DateTime) }, model.Key).
		Group().
		Window(windows).
		Aggregate("of-all", none, Highest.join, nil, codec.JSON[Highest]()).
		Stream().
		Map(func(_ stream.Windowed[int64], h Highest) Highest { return h }).
		FlatMap(func(h Highest, yield func(model.Bid)) {
			for _, b := range h.Bids {
				yield(b)
			}
		}).
		To(s.out, rows(writeBid))
}

// windowOf is the start of the window of ten seconds that a time is in.
func windowOf(millis int64) int64 { return millis - millis%(10*time.Second).Milliseconds() }

// Highest are the highest bids, all of one price.
type Highest struct {
	Bids []model.Bid `json:"bids"`
}

func (h Highest) add(b model.Bid) Highest {
	switch {
	case len(h.Bids) == 0 || b.Price > h.Bids[0].Price:
		return Highest{append(h.Bids[:0], b)}
	case b.Price == h.Bids[0].Price:
		return Highest{append(h.Bids, b)}
	}
	return h
}

func (h Highest) join(other Highest) Highest {
	for _, b := range other.Bids {
		h = h.add(b)
	}
	return h
}
