// SPDX-License-Identifier: Apache-2.0

package metamorphic

import (
	"math/rand/v2"
	"time"
)

// event is a record of the input.
type event struct {
	topic string
	at    time.Time
	key   string
	value int64
	null  bool // it deletes a row
}

// startOfTime is about when the first record is.
var startOfTime = time.Date(2025, time.March, 29, 15, 0, 0, 0, time.UTC)

// feed draws about n records for the topics of a plan, in the order of sending. That is the order of time but for the bound
// of disorder, over all topics, so that no record is late even if everybody has seen all that was sent before. There are
// gaps, in all topics and in one of them, and keys that come rarely, so that partitions fall idle.
func feed(r *rand.Rand, p *plan, n int) []event {
	topics, table := p.sources()
	keys := []int64{1, 4, 12, 40, 120}[r.IntN(5)]
	var events []event
	if p.has("joinGlobal") {
		for range 20 {
			events = append(events, event{topic: globalTopic, at: startOfTime, key: keyOf(r.Int64(), 8), value: r.Int64N(100), null: r.IntN(5) == 0})
		}
	}
	f := &feeder{Rand: r, plan: p, keys: keys, now: startOfTime}
	// A stream that looks up rows must find the same ones whatever comes first: all of a table is older then.
	first := p.has("joinTable")
	for range n {
		if topic := topics[r.IntN(len(topics))]; first && table[topic] {
			events = append(events, f.next(topic, true))
		}
	}
	if first {
		f.now = f.now.Add(p.tick * time.Duration(p.bound+1))
	}
	silent, silence := "", 0
	for range n {
		topic := topics[r.IntN(len(topics))]
		if silence--; silence < -10 && r.IntN(20) == 0 {
			silent, silence = topic, r.IntN(20)
		}
		if silence > 0 && topic == silent || first && table[topic] {
			continue
		}
		events = append(events, f.next(topic, table[topic]))
	}
	return events
}

// feeder makes records, one after the other.
type feeder struct {
	*rand.Rand
	plan *plan
	keys int64
	now  time.Time
}

func (f *feeder) next(topic string, table bool) event {
	gap := time.Duration(f.Int64N(2 * f.plan.tick.Milliseconds()))
	if f.IntN(25) == 0 {
		gap *= 20
	}
	f.now = f.now.Add(gap * time.Millisecond)
	back := time.Duration(f.Int64N(int64(f.plan.bound)*f.plan.tick.Milliseconds()+1)) * time.Millisecond
	// Low keys are frequent, high ones rare.
	key := min(f.Int64N(f.keys), f.Int64N(f.keys))
	return event{
		topic: topic, at: f.now.Add(-back), key: keyOf(key, f.keys), value: f.Int64N(50),
		null: table && f.IntN(6) == 0,
	}
}
