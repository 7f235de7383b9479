// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"time"

	"github.com/streamd/streamd/engine"
	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

func main() {
	engine.Main(pipeline())
}

// The topics of the pipeline.
const (
	eventsTopic = "card-events"      // Event, without a key
	alertsTopic = "fraud-alerts"     // card → Alert
	deadTopic   = "card-events-dead" // what is not an event
)

const (
	// travelTime is how long it takes at least to use a card in another country.
	travelTime = time.Hour
	// confirmWithin is how long after a large payment its owner may confirm it.
	confirmWithin = 10 * time.Minute
	// largeCents is from where on a payment is to be confirmed.
	largeCents = 100_000
)

func pipeline() *stream.Pipeline {
	p := stream.NewPipeline("fraud")
	stream.From(p, eventsTopic, codec.Bytes, codec.JSON[Event](),
		stream.EventTime(func(_ []byte, e Event) time.Time { return e.At }),
		stream.OnDecodeError(stream.DeadLetter(deadTopic))).
		OnError(stream.DeadLetter(deadTopic)).
		TryMap(Event.Check).
		OnError(stream.Fail). // what has passed the check is not to fail
		KeyBy("by-card", func(e Event) string { return e.Card }).
		Process("watch", watch, codec.JSON[Alert]()).
		To(alertsTopic)
	return p
}

// watch keeps per card where it was last used, and what is still to be confirmed by when. An event may come before the
// timer of an earlier time, since event time follows the slowest input: so a confirmation takes away only what it is in
// time for, and the rest is the timer's.
func watch(s *stream.Setup) stream.Handler[string, Event, Alert] {
	country := s.Value("country", codec.String, stream.TTL(travelTime))
	open := s.Map("unconfirmed", codec.Int64, codec.Int64) // cents by deadline
	var deadline *stream.Timer
	deadline = s.Timer("deadline", func(ctx *stream.Context[Alert], _ string, at operators.Time) error {
		for due, cents := range open.All() {
			if due > at {
				return deadline.Set(due)
			}
			ctx.Emit(Alert{Reason: "not confirmed", Cents: cents})
			if err := open.Delete(due); err != nil {
				return err
			}
		}
		return nil
	})
	return func(ctx *stream.Context[Alert], _ string, e Event) error {
		if e.Kind == confirmation {
			for due := range open.Range(ctx.Time()+1, operators.MaxTime) {
				if err := open.Delete(due); err != nil {
					return err
				}
			}
			return nil
		}
		last, found, err := country.Get()
		if found && last != e.Country {
			ctx.Emit(Alert{Reason: "in " + last + " and " + e.Country, Cents: e.Cents})
		}
		err = errors.Join(err, country.Put(e.Country))
		if e.Cents < largeCents {
			return err
		}
		due := e.At.Add(confirmWithin).UnixMilli()
		err = errors.Join(err, open.Put(due, e.Cents))
		if _, set, timerErr := deadline.Get(); timerErr != nil || !set {
			err = errors.Join(err, timerErr, deadline.Set(due))
		}
		return err
	}
}
