// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"time"

	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// q8 finds who opened an auction in the window of ten seconds in which they registered.
func q8(s *site) {
	people := s.people().Map(func(p model.Person) personOrSale { return personOrSale{windowOf(p.DateTime), p.Name, true} })
	s.auctions(model.NoTexts).
		Map(func(a model.Auction) Opening { return Opening{a.Seller, windowOf(a.DateTime)} }).
		WithValue(codec.JSON[Opening]()).
		KeyBy("openings-by-seller", func(o Opening) int64 { return o.Seller }, model.Key).
		Map(func(o Opening) personOrSale { return personOrSale{window: o.Window} }).
		Merge(people).
		Process("newcomers", joinNewcomers).
		To(s.out, codec.JSON[Newcomer]())
}

// windowOf is the start of the window of ten seconds that a time is in.
func windowOf(millis int64) int64 { return millis - millis%(10*time.Second).Milliseconds() }

// Opening says in which window a seller has opened an auction.
type Opening struct {
	Seller int64 `json:"seller"`
	Window int64 `json:"window"`
}

// Newcomer is a result of q8.
type Newcomer struct {
	ID     int64  `json:"id"`
	Name   string `json:"name"`
	Window int64  `json:"stime"`
}

// personOrSale is one of the two, under the id of the person.
type personOrSale struct {
	window   int64
	name     string
	isPerson bool
}

// Registration is what is kept of a person who has not sold anything yet.
type Registration struct {
	Window int64  `json:"window"`
	Name   string `json:"name"`
}

// joinNewcomers keeps the registration, and the windows with an auction. Each person is emitted once.
func joinNewcomers(setup *stream.Setup) stream.Handler[int64, personOrSale, Newcomer] {
	registered := setup.Value("registered", codec.JSON[Registration]())
	sold := setup.Map("sold", codec.Int64, codec.Bytes)
	return func(ctx *stream.Context[Newcomer], id int64, v personOrSale) error {
		_, sells, err := sold.Get(v.window)
		if err != nil {
			return err
		}
		if v.isPerson {
			if sells {
				ctx.Emit(Newcomer{id, v.name, v.window})
			}
			return registered.Put(Registration{v.window, v.name})
		}
		if sells {
			return nil
		}
		r, found, err := registered.Get()
		if err != nil {
			return err
		}
		if found && r.Window == v.window {
			ctx.Emit(Newcomer{id, r.Name, r.Window})
		}
		return sold.Put(v.window, []byte{})
	}
}
