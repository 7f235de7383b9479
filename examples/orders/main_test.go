// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	diff "github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/streamtest"
)

// settlements reads what is told of each order, sorted.
func settlements(d *streamtest.Driver) map[string][]string {
	all := map[string][]string{}
	for _, r := range d.Out(settledTopic, codec.String, codec.JSON[Settlement]()).Read() {
		all[r.Key] = append(all[r.Key], fmt.Sprintf("%s %d", r.Value.Status, r.Value.Owed))
		slices.Sort(all[r.Key])
	}
	return all
}

func TestTheFilesOfTheReadmeGiveWhatItSays(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, pipeline())
	for _, topic := range []string{ordersTopic, paymentsTopic, shipmentsTopic} {
		text, err := os.ReadFile(topic + ".jsonl")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			d.SendRaw(topic, nil, []byte(line))
		}
	}
	d.Finish()
	want := map[string][]string{
		"o-1": {"paid 0"},
		"o-2": {"not paid in time 2500", "paid late, or for nothing -2500"},
		"o-3": {"paid another amount 100"},
		"o-4": {"paid 0"},
	}
	if diff := diff.Diff(want, settlements(d)); diff != "" {
		t.Errorf("topic %s (-want +got):\n%s", settledTopic, diff)
	}
	shipped := map[string]Shipped{"s-1": {"o-1", "ann", "tea"}, "s-3": {"o-4", "eve", "pot"}}
	if diff := diff.Diff(shipped, streamtest.ReadTable(d.Out(shippedTopic, codec.String, codec.JSON[Shipped]()))); diff != "" {
		t.Errorf("topic %s (-want +got):\n%s", shippedTopic, diff)
	}
}

// day is a day's business, in the order of time.
type day struct {
	orders    []Order
	payments  []Payment
	shipments []Shipment
}

func randomDay(n int) day {
	random := rand.New(rand.NewPCG(3, 5))
	var b day
	for i := range n {
		o := Order{ID: fmt.Sprint("o-", i), Customer: "ann", Item: fmt.Sprint(i), Cents: 100, At: time.Unix(int64(600*i), 0)}
		b.orders = append(b.orders, o)
		if minutes := random.IntN(90); minutes < 75 { // else it is not paid
			b.payments = append(b.payments, Payment{o.ID, 100, o.At.Add(time.Duration(minutes) * time.Minute)})
		}
		b.shipments = append(b.shipments, Shipment{fmt.Sprint("s-", i), fmt.Sprint("o-", random.IntN(2*n)), o.At})
	}
	slices.SortFunc(b.payments, func(x, y Payment) int {
		return cmp.Or(x.At.Compare(y.At), cmp.Compare(x.Order, y.Order))
	})
	return b
}

// settled says what is to be told of the day, from all of it at once.
func (b day) settled() map[string][]string {
	paid := map[string]time.Time{}
	for _, p := range b.payments {
		paid[p.Order] = p.At
	}
	all := map[string][]string{}
	for _, o := range b.orders {
		switch at, ok := paid[o.ID]; {
		case !ok:
			all[o.ID] = []string{"not paid in time 100"}
		case at.After(o.At.Add(60 * time.Minute)):
			all[o.ID] = []string{"not paid in time 100", "paid late, or for nothing -100"}
		default:
			all[o.ID] = []string{"paid 0"}
		}
	}
	return all
}

func TestEveryOrderAndEveryPaymentIsToldOfOnce(t *testing.T) {
	t.Parallel()
	business := randomDay(24)
	streamtest.ThreeWays(t, pipeline(), func(d *streamtest.Driver) {
		send(t, d, ordersTopic, business.orders)
		send(t, d, paymentsTopic, business.payments)
		send(t, d, shipmentsTopic, business.shipments)
		d.Finish()
		if diff := diff.Diff(business.settled(), settlements(d)); diff != "" {
			t.Errorf("topic %s (-computed +pipeline):\n%s", settledTopic, diff)
		}
		want := map[string]Shipped{}
		for _, s := range business.shipments {
			if i := slices.IndexFunc(business.orders, func(o Order) bool { return o.ID == s.Order }); i >= 0 {
				want[s.ID] = Shipped{s.Order, "ann", fmt.Sprint(i)}
			}
		}
		if diff := diff.Diff(want, streamtest.ReadTable(d.Out(shippedTopic, codec.String, codec.JSON[Shipped]()))); diff != "" {
			t.Errorf("topic %s (-computed +pipeline):\n%s", shippedTopic, diff)
		}
	}, streamtest.AnyOrder(settledTopic), streamtest.NewestOnly(shippedTopic))
}

func send[V any](t *testing.T, d *streamtest.Driver, topic string, values []V) {
	t.Helper()
	for _, v := range values {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		d.SendRaw(topic, nil, raw)
	}
}
