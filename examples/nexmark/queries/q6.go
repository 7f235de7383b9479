// SPDX-License-Identifier: Apache-2.0

package queries

import (
	"cmp"
	"slices"

	"github.com/streamd/streamd/examples/nexmark/model"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// q6 keeps the mean of the last ten winning prices of each seller, in the order in which the auctions end.
func q6(s *site) {
	s.wins(model.NoTexts).
		Map(func(w Win) Sale { return Sale{w.Auction.Seller, w.Auction.ID, w.Auction.Expires, w.Bid.Price} }).
		WithValue(codec.JSON[Sale]()).
		KeyBy("by-seller", func(s Sale) int64 { return s.Seller }, model.Key).
		Group().
		Aggregate("last-ten", func() LastTen { return LastTen{} }, LastTen.add, codec.JSON[LastTen]()).
		Stream(stream.EmitPerCommit()).
		MapWithKey(func(seller int64, l LastTen) SellerMean { return SellerMean{seller, l.mean()} }).
		To(s.out, codec.JSON[SellerMean]())
}

// Sale is an auction with its winning price so far.
type Sale struct {
	Seller  int64 `json:"seller"`
	Auction int64 `json:"auction"`
	Expires int64 `json:"expires"`
	Price   int64 `json:"price"`
}

// LastTen are the sales of a seller that end last.
type LastTen struct {
	Sales []Sale `json:"sales"` // in the order of their ends
}

// add takes a sale or its new price. A sale that fell out never comes back: others that end later have taken its place,
// and no sale is ever taken back.
func (l LastTen) add(s Sale) LastTen {
	sales := make([]Sale, 0, len(l.Sales)+1)
	for _, old := range l.Sales {
		if old.Auction != s.Auction {
			sales = append(sales, old)
		}
	}
	sales = append(sales, s)
	slices.SortFunc(sales, func(a, b Sale) int {
		return cmp.Or(cmp.Compare(a.Expires, b.Expires), cmp.Compare(a.Auction, b.Auction))
	})
	return LastTen{sales[max(0, len(sales)-10):]}
}

func (l LastTen) mean() int64 {
	sum := int64(0)
	for _, s := range l.Sales {
		sum += s.Price
	}
	return sum / int64(len(l.Sales))
}

// SellerMean is a result of q6.
type SellerMean struct {
	Seller int64 `json:"seller"`
	Price  int64 `json:"avg_price"`
}
