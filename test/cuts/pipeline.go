// SPDX-License-Identifier: Apache-2.0

package main

import (
	"sync/atomic"
	"time"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// Names of the application, of its topics, and of the step whose state is looked at.
const (
	app      = "cuts"
	orders   = "orders"
	payments = "payments"
	counts   = "counts"
	totals   = "totals"

	countStep = "count"
)

// Times of the pipeline, all of event time.
const (
	outOfOrder = 300 * time.Millisecond
	payWithin  = 1500 * time.Millisecond // after the order, both ends included
	windowSize = 200 * time.Millisecond
	grace      = 20 * time.Millisecond
)

type (
	// order is the value of a record of orders, whose key is a shop.
	order struct{ ID, Customer, Amount uint64 }
	// payment is the value of a record of payments, whose key is a bank.
	payment struct{ Order, Fee uint64 }
	// settled is an order that was paid in time, or can no longer be: then without a fee.
	settled struct{ Order, Customer, Amount uint64 }
	// tally is what a customer's orders amount to so far, and the last of them. Its Count is the number of the update.
	tally struct{ Count, Order, Sum uint64 }
	// total is what a customer's orders in the window from Start amount to.
	total struct {
		Start       int64
		Orders, Sum uint64
	}
)

var (
	orderCodec   = codec.JSON[order]()
	paymentCodec = codec.JSON[payment]()
	tallyCodec   = codec.JSON[tally]()
	totalCodec   = codec.JSON[total]()
)

// pipeline is what the workers run. Each order takes a while.
func pipeline(while time.Duration) *stream.Pipeline {
	p := stream.NewPipeline(app)
	paid := stream.From(p, payments, codec.Uint64, paymentCodec, stream.OutOfOrder(outOfOrder)).
		KeyBy("by-paid-order", func(v payment) uint64 { return v.Order }, codec.Uint64)
	perCustomer := stream.From(p, orders, codec.Uint64, orderCodec, stream.OutOfOrder(outOfOrder)).
		Peek(takes(while)).
		KeyBy("by-order", func(v order) uint64 { return v.ID }, codec.Uint64).
		LeftJoinStream("settle", paid, stream.Between(0, payWithin), settle).
		WithValue(codec.JSON[settled]()).
		KeyBy("by-customer", func(v settled) uint64 { return v.Customer }, codec.Uint64).
		Group()
	perCustomer.
		Aggregate(countStep, func() tally { return tally{} }, count, tallyCodec).
		Stream().
		To(counts)
	perCustomer.
		Window(stream.Tumbling(windowSize).Grace(grace).EmitOnClose()).
		Aggregate("total", func() total { return total{} }, sum, merge, totalCodec).
		Stream().
		Map(func(w stream.Windowed[uint64], t total) total {
			t.Start = w.Start
			return t
		}).
		WithValue(totalCodec).
		To(totals)
	return p
}

// takes makes a step that costs this time for each order. It waits for many at a time, since short waits are inexact.
func takes(while time.Duration) func(uint64, order) {
	const many = 100
	var n atomic.Int64
	return func(uint64, order) {
		if while > 0 && n.Add(1)%many == 0 {
			time.Sleep(many * while)
		}
	}
}

func settle(o order, p payment, paid bool) settled {
	s := settled{o.ID, o.Customer, o.Amount}
	if paid {
		s.Amount += p.Fee
	}
	return s
}

func count(t tally, v settled) tally { return tally{t.Count + 1, v.Order, t.Sum + v.Amount} }

func sum(t total, v settled) total { return total{t.Start, t.Orders + 1, t.Sum + v.Amount} }

func merge(a, b total) total { return total{a.Start, a.Orders + b.Orders, a.Sum + b.Sum} }
