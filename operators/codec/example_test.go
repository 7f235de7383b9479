// SPDX-License-Identifier: Apache-2.0

package codec_test

import (
	"fmt"

	"github.com/streamd/streamd/operators/codec"
)

func ExampleMigrate() {
	type priceV1 struct{ Euros float64 }
	type price struct {
		Cents    int64
		Currency string
	}
	was := codec.JSON[priceV1]()
	is := codec.Migrate(was, codec.JSON[price](), func(p priceV1) price {
		return price{Cents: int64(p.Euros * 100), Currency: "EUR"}
	})

	// What a store of the former release holds:
	stored, _ := codec.Stored(was).Append(nil, priceV1{Euros: 2.5})

	p, err := codec.Stored(is).Decode(stored)
	fmt.Printf("%+v %v\n", p, err)
	// Output: {Cents:250 Currency:EUR} <nil>
}

func ExampleConvert() {
	type seat struct {
		Flight string
		Row    int32
	}
	seats := codec.Convert(codec.PairOf(codec.String, codec.Int32),
		func(s seat) codec.Pair[string, int32] {
			return codec.Pair[string, int32]{First: s.Flight, Second: s.Row}
		},
		func(p codec.Pair[string, int32]) (seat, error) { return seat{Flight: p.First, Row: p.Second}, nil })

	key, _ := seats.Append(nil, seat{Flight: "SK4167", Row: 12})
	s, err := seats.Decode(key)
	fmt.Printf("%s %+v %v\n", seats.ID(), s, err)
	// Output: pair(string,int32) {Flight:SK4167 Row:12} <nil>
}
