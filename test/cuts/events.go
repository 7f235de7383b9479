// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/partition"
)

// Shape of the input. There is an order for each millisecond of event time.
const (
	firstSlot = 1_700_000_000_000 // time of the first order, in Unix milliseconds
	jitter    = 150               // milliseconds by which a record may come late; with a batch less than outOfOrder
	latest    = 2000              // milliseconds after which the last orders are paid: too late
	customers = 200
	sellers   = 64 // shops, and banks
)

// events makes the input of a seed, slot by slot, and remembers it. It is used by one goroutine at a time.
type events struct {
	rand       *rand.Rand
	partitions int32
	due        [latest][]payment // by slot, modulo the length
	made       []made            // by order
}

// made is an order with its payment, as far as they were made.
type made struct {
	order
	at, paidAt int64 // paidAt 0: not, or not yet
	fee        uint64
}

func newEvents(seed uint64, partitions int) *events {
	return &events{rand: rand.New(rand.NewPCG(seed, 1)), partitions: int32(partitions)}
}

// slots returns the records of the next n slots.
func (e *events) slots(n int) (records []*kgo.Record, err error) {
	for range n {
		if records, err = e.slot(records); err != nil {
			return nil, err
		}
	}
	return records, nil
}

func (e *events) slot(to []*kgo.Record) ([]*kgo.Record, error) {
	slot := len(e.made)
	m := made{order: order{uint64(slot), e.rand.Uint64N(customers), 1 + e.rand.Uint64N(1000)}, at: e.time(slot)}
	e.made = append(e.made, m)
	value, err := orderCodec.Append(nil, m.order)
	if err != nil {
		return nil, err
	}
	to = append(to, e.record(orders, value, m.at))
	if e.rand.IntN(5) > 0 {
		due := &e.due[(slot+e.rand.IntN(latest))%latest]
		*due = append(*due, payment{m.ID, 1 + e.rand.Uint64N(1000)})
	}
	due := &e.due[slot%latest]
	for _, p := range *due {
		paid := &e.made[p.Order]
		paid.paidAt, paid.fee = e.time(slot), p.Fee
		if value, err = paymentCodec.Append(nil, p); err != nil {
			return nil, err
		}
		to = append(to, e.record(payments, value, paid.paidAt))
	}
	*due = (*due)[:0]
	return to, nil
}

func (e *events) time(slot int) int64 { return int64(firstSlot + slot - e.rand.IntN(jitter)) }

// record makes a record whose key has nothing to do with what the pipeline goes by.
func (e *events) record(topic string, value []byte, at int64) *kgo.Record {
	key := keyOf(e.rand.Uint64N(sellers))
	return &kgo.Record{Topic: topic, Partition: partition.ForKey(key, e.partitions), Key: key, Value: value, Timestamp: time.UnixMilli(at)}
}

// window is a customer's window.
type window struct {
	customer uint64
	start    int64
}

// truth is what follows from the input, whatever runs.
type truth struct {
	orders map[uint64]map[uint64]uint64 // by customer: amounts by order
	totals map[window]total
}

// evaluate says what follows from all that was made.
func (e *events) evaluate() *truth {
	t := &truth{map[uint64]map[uint64]uint64{}, map[window]total{}}
	for _, m := range e.made {
		after := m.paidAt - m.at
		paid := m.paidAt > 0 && after >= 0 && after <= payWithin.Milliseconds()
		s, at := settle(m.order, payment{m.ID, m.fee}, paid), m.at
		if paid {
			at = m.paidAt
		}
		if t.orders[s.Customer] == nil {
			t.orders[s.Customer] = map[uint64]uint64{}
		}
		t.orders[s.Customer][s.Order] = s.Amount
		w := window{s.Customer, at - at%windowSize.Milliseconds()}
		sofar := t.totals[w]
		sofar.Start = w.start
		t.totals[w] = sum(sofar, s)
	}
	return t
}
