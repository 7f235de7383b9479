// SPDX-License-Identifier: Apache-2.0

package model

import (
	"math/bits"
	"strconv"
	"time"
)

// The shape of the stream. Each group of events has one person, then auctions, then bids.
const (
	groupEvents   = 50
	groupPeople   = 1
	groupAuctions = 3

	firstID        = 1000 // of people and of auctions
	firstCategory  = 10
	categories     = 5
	activePeople   = 1000 // who bid and sell
	openAuctions   = 100  // that get bids
	idsAhead       = 10   // of references to what does not exist yet
	hotEvery       = 100  // of so many ids one is hot
	coldAuctions   = 2    // one reference in so many goes to an id that is not hot
	coldSellers    = 4
	coldBidders    = 4
	hotSellerPlace = 0 // of the hot id among hotEvery
	hotBidderPlace = 1
	coldChannels   = 10_000
)

// Where the counted sizes of events are on average, in bytes. Not all members count: see the extra of each event.
const (
	personBytes  = 200
	auctionBytes = 500
	bidBytes     = 100
)

var (
	states     = [...]string{"AZ", "CA", "ID", "OR", "WA", "WY"}
	cities     = [...]string{"Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"}
	firstNames = [...]string{"Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"}
	lastNames  = [...]string{"Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"}
	hotNames   = [...]string{"Google", "Facebook", "Baidu", "Apple"}
)

// DefaultBase is the time of event 0 unless another is given: a minute before a day ends, so that a run of some
// minutes has two days.
var DefaultBase = time.Date(2026, time.January, 1, 23, 59, 0, 0, time.UTC)

// Generator makes events.
type Generator struct {
	seed uint64
	rate int64
	base int64

	hot  [len(hotNames)]channel
	cold []channel
}

// channel is where bidders come from.
type channel struct{ name, url string }

// NewGenerator returns a generator whose event 0 is at base and whose events follow each other at rate per second of
// event time. The rate is at least 1. It shapes the results: auctions stay open for about as long as a hundred others
// take to come.
func NewGenerator(seed uint64, rate int64, base time.Time) *Generator {
	g := &Generator{seed: seed, rate: max(rate, 1), base: base.UnixMilli(), cold: make([]channel, coldChannels)}
	d := newDice(seed, -1) // no event has this number
	for i := range g.hot {
		g.hot[i] = channel{hotNames[i], d.url()}
	}
	for i := range g.cold {
		c := channel{"channel-" + strconv.Itoa(i), d.url()}
		if d.below(10) > 0 {
			c.url += "&channel_id=" + strconv.FormatInt(spread(i), 10)
		}
		g.cold[i] = c
	}
	return g
}

// spread is the magnitude of i with its 32 bits reversed: near numbers become distant ones.
func spread(i int) int64 {
	n := int64(int32(bits.Reverse32(uint32(i))))
	return max(n, -n)
}

// KindOf says of what kind event n is.
func KindOf(n int64) Kind {
	switch place := n % groupEvents; {
	case place < groupPeople:
		return KindPerson
	case place < groupPeople+groupAuctions:
		return KindAuction
	}
	return KindBid
}

// Time is when event n happens, in Unix milliseconds.
func (g *Generator) Time(n int64) int64 { return g.base + n*1000/g.rate }

// peopleAt is how many people there are when event n has happened.
func peopleAt(n int64) int64 { return n/groupEvents + 1 }

// auctionsAt is how many auctions there are when event n has happened.
func auctionsAt(n int64) int64 {
	return n/groupEvents*groupAuctions + min(max(n%groupEvents-groupPeople+1, 0), groupAuctions)
}

// Person makes event n, which must be of KindPerson, for a time of the caller's.
func (g *Generator) Person(n, at int64) Person {
	d := newDice(g.seed, n)
	p := Person{
		ID:           firstID + peopleAt(n) - 1,
		Name:         pick(d, firstNames[:]) + " " + pick(d, lastNames[:]),
		EmailAddress: d.words(7) + "@" + d.words(5) + ".com",
		CreditCard:   d.card(),
		City:         pick(d, cities[:]),
		State:        pick(d, states[:]),
		DateTime:     at,
	}
	counted := 8 + len(p.Name) + len(p.EmailAddress) + len(p.CreditCard) + len(p.City) + len(p.State)
	p.Extra = d.extra(personBytes - counted)
	return p
}

// Auction makes event n, which must be of KindAuction, for a time of the caller's.
func (g *Generator) Auction(n, at int64) Auction {
	d := newDice(g.seed, n)
	a := Auction{
		ID:          firstID + auctionsAt(n) - 1,
		ItemName:    d.words(20),
		Description: d.words(100),
		InitialBid:  d.price(),
		DateTime:    at,
		Category:    firstCategory + d.below(categories),
		Seller:      firstID + d.person(n, coldSellers, hotSellerPlace),
	}
	a.Reserve = a.InitialBid + d.price()
	// On average an auction is open until so many others have been opened.
	span := g.Time(n+openAuctions*groupEvents/groupAuctions) - g.Time(n)
	a.Expires = at + 1 + d.below(max(2*span, 1))
	const numbers = 6 * 8
	a.Extra = d.extra(auctionBytes - numbers - len(a.ItemName) - len(a.Description))
	return a
}

// Bid makes event n, which must be of KindBid, for a time of the caller's.
func (g *Generator) Bid(n, at int64) Bid {
	d := newDice(g.seed, n)
	b := Bid{
		Auction:  firstID + d.auction(n),
		Bidder:   firstID + d.person(n, coldBidders, hotBidderPlace),
		Price:    d.price(),
		DateTime: at,
	}
	from := &g.hot[d.below(int64(len(g.hot)))]
	if d.below(2) == 0 {
		from = &g.cold[d.below(coldChannels)]
	}
	b.Channel, b.URL = from.name, from.url
	const numbers = 4 * 8 // channel and URL are not counted
	b.Extra = d.extra(bidBytes - numbers)
	return b
}
