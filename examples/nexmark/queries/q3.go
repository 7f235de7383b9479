// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// q3 finds who sells in one category from some states. Whether the seller or the auction comes first does not matter,
// however long the other takes.
func q3(s *site) {
	sellers := s.people().
		Filter(func(p model.Person) bool { return p.State == "OR" || p.State == "ID" || p.State == "CA" }).
		Map(func(p model.Person) sellerOrAuction {
			return sellerOrAuction{seller: Seller{p.Name, p.City, p.State}}
		})
	s.auctions(model.NoTexts).
		Filter(func(a model.Auction) bool { return a.Category == 10 }).
		Map(func(a model.Auction) Offer { return Offer{a.ID, a.Seller} }).
		WithValue(codec.JSON[Offer]()).
		KeyBy("auctions-by-seller", func(o Offer) int64 { return o.Seller }, model.Key).
		Map(func(o Offer) sellerOrAuction { return sellerOrAuction{auction: o.Auction} }).
		Merge(sellers).
		Process("sellers", joinSellers).
		To(s.out, codec.JSON[LocalSale]())
}

// Offer says who sells an auction's item.
type Offer struct {
	Auction int64 `json:"auction"`
	Seller  int64 `json:"seller"`
}

// Seller is what q3 tells of a person.
type Seller struct {
	Name  string `json:"name"`
	City  string `json:"city"`
	State string `json:"state"`
}

// LocalSale is a result of q3.
type LocalSale struct {
	Name  string `json:"name"`
	City  string `json:"city"`
	State string `json:"state"`
	ID    int64  `json:"id"` // of the auction
}

// sellerOrAuction is one of the two, under the id of the person.
type sellerOrAuction struct {
	seller  Seller
	auction int64 // 0: it is a seller
}

// joinSellers keeps the seller, and the auctions that came before the seller.
func joinSellers(setup *stream.Setup) stream.Handler[int64, sellerOrAuction, LocalSale] {
	known := setup.Value("seller", codec.JSON[Seller]())
	waiting := setup.Map("waiting", codec.Int64, codec.Bytes)
	return func(ctx *stream.Context[LocalSale], _ int64, v sellerOrAuction) error {
		emit := func(s Seller, auction int64) {
			ctx.Emit(LocalSale{Name: s.Name, City: s.City, State: s.State, ID: auction})
		}
		if v.auction != 0 {
			seller, found, err := known.Get()
			if err != nil {
				return err
			}
			if !found {
				return waiting.Put(v.auction, []byte{})
			}
			emit(seller, v.auction)
			return nil
		}
		for auction := range waiting.All() {
			emit(v.seller, auction)
			if err := waiting.Delete(auction); err != nil {
				return err
			}
		}
		return known.Put(v.seller)
	}
}
