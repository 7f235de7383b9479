// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

func ExampleStream_Join() {
	p := stream.NewPipeline("orders-with-names")
	names := stream.TableFrom(p, "names", codec.String, codec.String)
	stream.From(p, "orders", codec.String, codec.String).
		Join(names, func(order, name string) string { return order + " for " + name }).
		To("named-orders")

	run := newRig(p)
	run.send("names", "7", "ann")
	run.send("orders", "7", "tea", "8", "rum")
	run.print()
	// Output: named-orders: 7=tea for ann
}

func ExampleStream_LeftJoin() {
	p := stream.NewPipeline("orders-with-names")
	names := stream.TableFrom(p, "names", codec.String, codec.String)
	stream.From(p, "orders", codec.String, codec.String).
		LeftJoin(names, func(order, name string, found bool) string {
			if !found {
				name = "somebody"
			}
			return order + " for " + name
		}).
		To("named-orders")

	run := newRig(p)
	run.send("names", "7", "ann")
	run.send("orders", "7", "tea", "8", "rum")
	run.print()
	// Output:
	// named-orders: 7=tea for ann
	// named-orders: 8=rum for somebody
}

func ExampleTable_Join() {
	p := stream.NewPipeline("profiles")
	names := stream.TableFrom(p, "names", codec.String, codec.String)
	stream.TableFrom(p, "cities", codec.String, codec.String).
		Join(names, func(city, name string) string { return name + " of " + city }).
		Stream().
		To("profiles")

	run := newRig(p)
	run.send("names", "7", "ann")
	run.send("cities", "7", "oslo", "8", "rome")
	run.send("names", "8", "bob", "7", "anne")
	run.print()
	// Output:
	// profiles: 7=ann of oslo
	// profiles: 8=bob of rome
	// profiles: 7=anne of oslo
}

func ExampleTable_LeftJoin() {
	p := stream.NewPipeline("profiles")
	names := stream.TableFrom(p, "names", codec.String, codec.String)
	stream.TableFrom(p, "cities", codec.String, codec.String).
		LeftJoin(names, func(city, name string, found bool) string {
			if !found {
				name = "somebody"
			}
			return name + " of " + city
		}).
		Stream().
		To("profiles")

	run := newRig(p)
	run.send("cities", "7", "oslo")
	run.send("names", "7", "ann", "8", "bob")
	run.remove("names", "7")
	run.print()
	// Output:
	// profiles: 7=somebody of oslo
	// profiles: 7=ann of oslo
	// profiles: 7=somebody of oslo
}

func ExampleTable_OuterJoin() {
	p := stream.NewPipeline("profiles")
	names := stream.TableFrom(p, "names", codec.String, codec.String)
	stream.TableFrom(p, "cities", codec.String, codec.String).
		OuterJoin(names, func(city string, hasCity bool, name string, hasName bool) string {
			switch {
			case !hasCity:
				return name + " of nowhere"
			case !hasName:
				return "somebody of " + city
			default:
				return name + " of " + city
			}
		}).
		Stream().
		To("profiles")

	run := newRig(p)
	run.send("names", "7", "ann")
	run.send("cities", "8", "rome", "7", "oslo")
	run.print()
	// Output:
	// profiles: 7=ann of nowhere
	// profiles: 8=somebody of rome
	// profiles: 7=ann of oslo
}

func ExampleTable_JoinForeign() {
	type Order struct{ Item, Customer string }
	p := stream.NewPipeline("orders-with-names")
	names := stream.TableFrom(p, "names", codec.String, codec.String)
	stream.TableFrom(p, "orders", codec.String, codec.JSON[Order]()).
		JoinForeign("named-orders",
			func(o Order) (string, bool) { return o.Customer, o.Customer != "" },
			names,
			func(o Order, name string) string { return o.Item + " for " + name }).
		Stream().
		To("named-orders")

	run := newRig(p)
	run.send("names", "7", "ann")
	run.send("orders", "1", `{"Item":"tea","Customer":"7"}`, "2", `{"Item":"rum","Customer":"7"}`, "3", `{"Item":"ale"}`)
	run.send("names", "7", "anne")
	run.print()
	// Output:
	// named-orders: 1=tea for ann
	// named-orders: 2=rum for ann
	// named-orders: 1=tea for anne
	// named-orders: 2=rum for anne
}

func ExampleTable_LeftJoinForeign() {
	p := stream.NewPipeline("cities-with-countries")
	countries := stream.TableFrom(p, "countries", codec.String, codec.String)
	stream.TableFrom(p, "country-of-city", codec.String, codec.String).
		LeftJoinForeign("located",
			func(country string) (string, bool) { return country, true },
			countries,
			func(code, country string, found bool) string {
				if !found {
					return "country " + code
				}
				return country
			}).
		Stream().
		To("located-cities")

	run := newRig(p)
	run.send("country-of-city", "oslo", "no", "rome", "it")
	run.send("countries", "no", "Norway")
	run.print()
	// Output:
	// located-cities: oslo=country no
	// located-cities: rome=country it
	// located-cities: oslo=Norway
}

func ExampleGlobalTableFrom() {
	p := stream.NewPipeline("flights-with-airports")
	airports := stream.GlobalTableFrom(p, "airports", codec.String, codec.String)
	stream.From(p, "flights", codec.String, codec.String).
		JoinGlobal(airports,
			func(_, airport string) string { return airport },
			func(_, name string) string { return "to " + name }).
		To("destinations")

	run := newRig(p)
	run.send("airports", "OSL", "Oslo", "FCO", "Rome")
	run.send("flights", "SK 1", "FCO")
	run.print()
	// Output: destinations: SK 1=to Rome
}

func ExampleStream_JoinGlobal() {
	p := stream.NewPipeline("known-countries")
	countries := stream.GlobalTableFrom(p, "countries", codec.String, codec.String)
	stream.From(p, "visits", codec.String, codec.String).
		JoinGlobal(countries,
			func(_, code string) string { return code },
			func(_, country string) string { return country }).
		To("visits-with-country")

	run := newRig(p)
	run.send("countries", "no", "Norway")
	run.send("visits", "1", "no", "2", "xx")
	run.print()
	// Output: visits-with-country: 1=Norway
}

func ExampleStream_LeftJoinGlobal() {
	p := stream.NewPipeline("all-visits")
	countries := stream.GlobalTableFrom(p, "countries", codec.String, codec.String)
	stream.From(p, "visits", codec.String, codec.String).
		LeftJoinGlobal(countries,
			func(_, code string) string { return code },
			func(code, country string, found bool) string {
				if !found {
					return "unknown " + code
				}
				return country
			}).
		To("visits-with-country")

	run := newRig(p)
	run.send("countries", "no", "Norway")
	run.send("visits", "1", "no", "2", "xx")
	run.print()
	// Output:
	// visits-with-country: 1=Norway
	// visits-with-country: 2=unknown xx
}
