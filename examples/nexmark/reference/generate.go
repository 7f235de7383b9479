// SPDX-License-Identifier: Apache-2.0

package reference

import "github.com/streamd/streamd/examples/nexmark/model"

// Generate returns the events of a generator from number from up to, and without, number to.
func Generate(g *model.Generator, from, to int64) Input {
	var in Input
	for n := from; n < to; n++ {
		at := g.Time(n)
		switch model.KindOf(n) {
		case model.KindPerson:
			in.People = append(in.People, g.Person(n, at))
		case model.KindAuction:
			in.Auctions = append(in.Auctions, g.Auction(n, at))
		default:
			in.Bids = append(in.Bids, g.Bid(n, at))
		}
	}
	return in
}
