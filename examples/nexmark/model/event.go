// SPDX-License-Identifier: Apache-2.0

package model

// Kind says which of the three types an event has.
type Kind uint8

// The kinds, in the order of their events in each 50.
const (
	KindPerson Kind = iota
	KindAuction
	KindBid
)

// kinds is how many kinds there are.
const kinds = 3

// Person registers at the site.
type Person struct {
	ID           int64  `json:"id"`
	Name         string `json:"name"`
	EmailAddress string `json:"emailAddress"`
	CreditCard   string `json:"creditCard"`
	City         string `json:"city"`
	State        string `json:"state"`
	DateTime     int64  `json:"dateTime"` // Unix milliseconds, as all times here
	Extra        string `json:"extra"`    // pads the event to its size
}

// Auction offers an item until it expires.
type Auction struct {
	ID          int64  `json:"id"`
	ItemName    string `json:"itemName"`
	Description string `json:"description"`
	InitialBid  int64  `json:"initialBid"` // cents, as all prices here
	Reserve     int64  `json:"reserve"`
	DateTime    int64  `json:"dateTime"`
	Expires     int64  `json:"expires"`
	Seller      int64  `json:"seller"` // a Person
	Category    int64  `json:"category"`
	Extra       string `json:"extra"`
}

// Bid offers a price for an auction's item.
type Bid struct {
	Auction  int64  `json:"auction"`
	Bidder   int64  `json:"bidder"` // a Person
	Price    int64  `json:"price"`
	Channel  string `json:"channel"` // where the bidder came from
	URL      string `json:"url"`
	DateTime int64  `json:"dateTime"`
	Extra    string `json:"extra"`
}

// Topics are the names of the topics that events of each kind go to, behind a prefix of the user's.
type Topics struct{ Person, Auction, Bid string }

// TopicsOf returns the topics of a prefix, which may be empty.
func TopicsOf(prefix string) Topics {
	return Topics{
		Person:  prefix + "nexmark-person",
		Auction: prefix + "nexmark-auction",
		Bid:     prefix + "nexmark-bid",
	}
}

// All returns the topics by Kind.
func (t Topics) All() []string { return []string{t.Person, t.Auction, t.Bid} }
