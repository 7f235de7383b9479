// SPDX-License-Identifier: Apache-2.0

package model

import (
	"encoding/binary"
	"fmt"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/codec/jsonscan"
)

// Key is the codec of the keys of the three topics: the id of the person or auction, or the auction of the bid, in 8
// bytes, big-endian.
var Key = codec.New("nexmark-key",
	func(dst []byte, id int64) ([]byte, error) { return binary.BigEndian.AppendUint64(dst, uint64(id)), nil },
	func(src []byte) (int64, error) {
		if len(src) != 8 {
			return 0, fmt.Errorf("nexmark-key takes 8 bytes, found %d", len(src))
		}
		return int64(binary.BigEndian.Uint64(src)), nil
	})

// Texts is a set of members that hold texts.
type Texts uint8

// The texts of auctions and bids.
const (
	ItemName Texts = 1 << iota
	Description
	Channel
	URL
	Extra

	NoTexts  Texts = 0
	AllTexts       = ItemName | Description | Channel | URL | Extra
)

// People, Auctions and Bids are the codecs of whole events.
var (
	People   = codec.New("json:Person", appendPerson, decodePerson)
	Auctions = AuctionsWith(AllTexts)
	Bids     = BidsWith(AllTexts)
)

// AuctionsWith is the codec of auctions that decodes their numbers and the texts in want, and leaves other texts empty:
// a query is spared the allocation of what it does not look at.
func AuctionsWith(want Texts) codec.Codec[Auction] {
	return codec.New("json:Auction", appendAuction, func(src []byte) (Auction, error) { return decodeAuction(src, want) })
}

// BidsWith is for bids what AuctionsWith is for auctions.
func BidsWith(want Texts) codec.Codec[Bid] {
	return codec.New("json:Bid", appendBid, func(src []byte) (Bid, error) { return decodeBid(src, want) })
}

func decodePerson(src []byte) (p Person, err error) {
	o := jsonscan.Scan(src)
	for o.Next() {
		switch string(o.Name()) {
		case "id":
			p.ID = o.Int64()
		case "name":
			p.Name = o.String()
		case "emailAddress":
			p.EmailAddress = o.String()
		case "creditCard":
			p.CreditCard = o.String()
		case "city":
			p.City = o.String()
		case "state":
			p.State = o.String()
		case "dateTime":
			p.DateTime = o.Int64()
		case "extra":
			p.Extra = o.String()
		}
	}
	return p, o.Err()
}

func decodeAuction(src []byte, want Texts) (a Auction, err error) {
	o := jsonscan.Scan(src)
	for o.Next() {
		switch string(o.Name()) {
		case "id":
			a.ID = o.Int64()
		case "itemName":
			readIf(&o, &a.ItemName, want&ItemName != 0)
		case "description":
			readIf(&o, &a.Description, want&Description != 0)
		case "initialBid":
			a.InitialBid = o.Int64()
		case "reserve":
			a.Reserve = o.Int64()
		case "dateTime":
			a.DateTime = o.Int64()
		case "expires":
			a.Expires = o.Int64()
		case "seller":
			a.Seller = o.Int64()
		case "category":
			a.Category = o.Int64()
		case "extra":
			readIf(&o, &a.Extra, want&Extra != 0)
		}
	}
	return a, o.Err()
}

func decodeBid(src []byte, want Texts) (b Bid, err error) {
	o := jsonscan.Scan(src)
	for o.Next() {
		switch string(o.Name()) {
		case "auction":
			b.Auction = o.Int64()
		case "bidder":
			b.Bidder = o.Int64()
		case "price":
			b.Price = o.Int64()
		case "channel":
			readIf(&o, &b.Channel, want&Channel != 0)
		case "url":
			readIf(&o, &b.URL, want&URL != 0)
		case "dateTime":
			b.DateTime = o.Int64()
		case "extra":
			readIf(&o, &b.Extra, want&Extra != 0)
		}
	}
	return b, o.Err()
}

func readIf(o *jsonscan.Object, to *string, wanted bool) {
	if wanted {
		*to = o.String()
	}
}

func appendPerson(dst []byte, p Person) ([]byte, error) {
	w := Writer{dst: dst}
	w.Int(`{"id":`, p.ID)
	w.Text(`,"name":`, p.Name)
	w.Text(`,"emailAddress":`, p.EmailAddress)
	w.Text(`,"creditCard":`, p.CreditCard)
	w.Text(`,"city":`, p.City)
	w.Text(`,"state":`, p.State)
	w.Int(`,"dateTime":`, p.DateTime)
	w.Text(`,"extra":`, p.Extra)
	return w.End()
}

func appendAuction(dst []byte, a Auction) ([]byte, error) {
	w := Writer{dst: dst}
	w.Int(`{"id":`, a.ID)
	w.Text(`,"itemName":`, a.ItemName)
	w.Text(`,"description":`, a.Description)
	w.Int(`,"initialBid":`, a.InitialBid)
	w.Int(`,"reserve":`, a.Reserve)
	w.Int(`,"dateTime":`, a.DateTime)
	w.Int(`,"expires":`, a.Expires)
	w.Int(`,"seller":`, a.Seller)
	w.Int(`,"category":`, a.Category)
	w.Text(`,"extra":`, a.Extra)
	return w.End()
}

func appendBid(dst []byte, b Bid) ([]byte, error) {
	w := Writer{dst: dst}
	w.Int(`{"auction":`, b.Auction)
	w.Int(`,"bidder":`, b.Bidder)
	w.Int(`,"price":`, b.Price)
	w.Text(`,"channel":`, b.Channel)
	w.Text(`,"url":`, b.URL)
	w.Int(`,"dateTime":`, b.DateTime)
	w.Text(`,"extra":`, b.Extra)
	return w.End()
}

// AppendValue makes event n for a time of the caller's, appends its JSON to dst and returns it with its key.
func (g *Generator) AppendValue(dst []byte, n, at int64) (key int64, _ []byte, err error) {
	switch KindOf(n) {
	case KindPerson:
		p := g.Person(n, at)
		dst, err = appendPerson(dst, p)
		return p.ID, dst, err
	case KindAuction:
		a := g.Auction(n, at)
		dst, err = appendAuction(dst, a)
		return a.ID, dst, err
	default:
		b := g.Bid(n, at)
		dst, err = appendBid(dst, b)
		return b.Auction, dst, err
	}
}
