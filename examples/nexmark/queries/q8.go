// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"time"

	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// q8 finds who opened an auction in the window of ten seconds in which they registered: what is known of each person and
// window is brought together, whichever comes first.
func q8(s *site) {
	people := s.people().
		Map(func(p model.Person) Newcomer { return Newcomer{Name: p.Name, Registered: true} })
	s.auctions(model.NoTexts).
		WithValue(codec.JSON[model.Auction]()).
		KeyBy("auctions-by-seller", func(a model.Auction) int64 { return a.Seller }, model.Key).
		Map(func(model.Auction) Newcomer { return Newcomer{Sells: true} }).
		Merge(people).
		WithValue(codec.JSON[Newcomer]()).
		Group().
		Window(stream.Tumbling(10*time.Second).EmitOnClose()).
		Reduce("newcomers", Newcomer.join).
		Stream().
		Filter(func(_ stream.Windowed[int64], n Newcomer) bool { return n.Registered && n.Sells }).
		Map(func(w stream.Windowed[int64], n Newcomer) NewSeller { return NewSeller{w.Key, n.Name, w.Start} }).
		To(s.out, codec.JSON[NewSeller]())
}

// Newcomer is what is known of a person in a window.
type Newcomer struct {
	Name       string `json:"name"`
	Registered bool   `json:"registered"`
	Sells      bool   `json:"sells"`
}

func (n Newcomer) join(other Newcomer) Newcomer {
	if other.Registered {
		n.Name, n.Registered = other.Name, true
	}
	n.Sells = n.Sells || other.Sells
	return n
}

// NewSeller is a result of q8.
type NewSeller struct {
	ID     int64  `json:"id"`
	Name   string `json:"name"`
	Window int64  `json:"stime"`
}
