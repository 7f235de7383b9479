// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"time"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

func ExampleVersionedTableFrom() {
	p := stream.NewPipeline("orders-in-euros")
	rates := stream.VersionedTableFrom(p, "rates", codec.String, codec.String, stream.History(time.Hour))
	stream.From(p, "orders", codec.String, codec.String).
		JoinAsOf(rates, func(order, rate string) string { return order + " at " + rate }).
		To("priced-orders")

	run := newTimed(p)
	run.at(0, "rates", "USD", "0.90")
	run.at(60, "rates", "USD", "0.95")
	run.at(70, "orders", "USD", "tea")
	run.at(50, "orders", "USD", "rum") // comes late, and has the rate of its time
	run.end("priced-orders")
	// Output:
	// 70s priced-orders: USD=tea at 0.95
	// 50s priced-orders: USD=rum at 0.90
}

// An update may come after newer ones, too.
func ExampleHistory() {
	p := stream.NewPipeline("orders-in-euros")
	rates := stream.VersionedTableFrom(p, "rates", codec.String, codec.String, stream.History(time.Minute))
	stream.From(p, "orders", codec.String, codec.String).
		JoinAsOf(rates, func(order, rate string) string { return order + " at " + rate }).
		To("priced-orders")

	run := newTimed(p)
	run.at(0, "rates", "USD", "0.90")
	run.at(100, "rates", "USD", "0.95")
	run.at(60, "rates", "USD", "0.92") // in time, by a minute
	run.at(80, "orders", "USD", "tea")
	run.at(39, "orders", "USD", "rum") // too late, by a second
	run.end("priced-orders")
	// Output: 80s priced-orders: USD=tea at 0.92
}

func ExampleStream_JoinAsOf() {
	p := stream.NewPipeline("readings-by-room")
	rooms := stream.VersionedTableFrom(p, "room-of-sensor", codec.String, codec.String, stream.History(time.Hour))
	stream.From(p, "readings", codec.String, codec.String).
		JoinAsOf(rooms, func(reading, room string) string { return reading + " in the " + room }).
		To("readings-by-room")

	run := newTimed(p)
	run.at(0, "room-of-sensor", "s-1", "kitchen")
	run.at(600, "room-of-sensor", "s-1", "cellar")
	run.at(610, "readings", "s-1", "9 C")
	run.at(590, "readings", "s-1", "21 C")
	run.end("readings-by-room")
	// Output:
	// 610s readings-by-room: s-1=9 C in the cellar
	// 590s readings-by-room: s-1=21 C in the kitchen
}

func ExampleStream_LeftJoinAsOf() {
	p := stream.NewPipeline("readings-by-room")
	rooms := stream.VersionedTableFrom(p, "room-of-sensor", codec.String, codec.String, stream.History(time.Hour))
	stream.From(p, "readings", codec.String, codec.String).
		LeftJoinAsOf(rooms, func(reading, room string, found bool) string {
			if !found {
				room = "box"
			}
			return reading + " in the " + room
		}).
		To("readings-by-room")

	run := newTimed(p)
	run.at(600, "room-of-sensor", "s-1", "cellar")
	run.at(610, "readings", "s-1", "9 C")
	run.at(590, "readings", "s-1", "21 C")
	run.end("readings-by-room")
	// Output:
	// 610s readings-by-room: s-1=9 C in the cellar
	// 590s readings-by-room: s-1=21 C in the box
}

func ExampleStream_VersionedTable() {
	p := stream.NewPipeline("visits-by-status")
	status := stream.From(p, "purchases", codec.String, codec.String).
		KeyBy("by-customer", func(customer string) string { return customer }).
		Map(func(string) string { return "a customer" }).
		VersionedTable("status", time.Hour)
	stream.From(p, "visits", codec.String, codec.String).
		LeftJoinAsOf(status, func(page, status string, found bool) string {
			if !found {
				status = "a guest"
			}
			return page + " as " + status
		}).
		To("visits-by-status")

	run := newTimed(p)
	run.at(60, "purchases", "o-1", "ann")
	run.at(70, "visits", "ann", "help")
	run.at(50, "visits", "ann", "home")
	run.end("visits-by-status")
	// Output:
	// 70s visits-by-status: ann=help as a customer
	// 50s visits-by-status: ann=home as a guest
}

func ExampleVersionedTable_Latest() {
	p := stream.NewPipeline("latest-rates")
	stream.VersionedTableFrom(p, "rates", codec.String, codec.String, stream.History(time.Hour)).
		Latest().
		To("latest-rates")

	run := newTimed(p)
	run.at(0, "rates", "USD", "0.90")
	run.at(60, "rates", "USD", "0.95")
	run.at(30, "rates", "USD", "0.92") // a former version
	run.end("latest-rates")
	// Output:
	// 0s latest-rates: USD=0.90
	// 60s latest-rates: USD=0.95
}
