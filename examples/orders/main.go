// SPDX-License-Identifier: Apache-2.0

package main

import (
	"time"

	"github.com/streamd/streamd/engine"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

func main() {
	engine.Main(pipeline())
}

// The topics of the pipeline.
const (
	ordersTopic    = "orders"      // Order, without a key
	paymentsTopic  = "payments"    // Payment, without a key
	shipmentsTopic = "shipments"   // Shipment, without a key
	settledTopic   = "settlements" // order → Settlement
	shippedTopic   = "shipped"     // shipment → Shipped, a table
)

// payWithin is how long after an order its payment may come.
const payWithin = time.Hour

func pipeline() *stream.Pipeline {
	p := stream.NewPipeline("orders")
	orders := stream.From(p, ordersTopic, codec.Bytes, codec.JSON[Order](),
		stream.EventTime(func(_ []byte, o Order) time.Time { return o.At })).
		KeyBy("orders-by-id", func(o Order) string { return o.ID })
	payments := stream.From(p, paymentsTopic, codec.Bytes, codec.JSON[Payment](),
		stream.EventTime(func(_ []byte, p Payment) time.Time { return p.At })).
		KeyBy("payments-by-order", func(p Payment) string { return p.Order })
	shipments := stream.From(p, shipmentsTopic, codec.Bytes, codec.JSON[Shipment](),
		stream.EventTime(func(_ []byte, s Shipment) time.Time { return s.At })).
		KeyBy("shipments-by-id", func(s Shipment) string { return s.ID })

	// Every order and every payment is told of once: together, or alone when it is too late for the other.
	orders.
		OuterJoinStream("settle", payments, stream.Between(0, payWithin), Settle).
		To(settledTopic, codec.JSON[Settlement]())

	// What is in which shipment. A shipment may be known before its order, and may be moved to another one.
	shipments.Table("shipments-now").
		JoinForeign("shipped", Shipment.Of, orders.Table("orders-now"), NewShipped, codec.JSON[Shipped]()).
		To(shippedTopic)
	return p
}
