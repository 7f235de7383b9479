// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

// A value per key: the state of an entity.
func ExampleValueState_Put() {
	p := stream.NewPipeline("doors")
	stream.From(p, "events", codec.String, codec.String).
		Process("door", func(s *stream.Setup) stream.Handler[string, string, string] {
			state := s.Value("state", codec.String)
			return func(ctx *stream.Context[string], door, event string) error {
				before, found, err := state.Get()
				if found && before == event {
					ctx.Emit("still " + event)
				}
				return errors.Join(err, state.Put(event))
			}
		}).
		To("doors")

	run := newRig(p)
	run.send("events", "front", "open", "back", "open", "front", "open")
	run.print()
	// Output: doors: front=still open
}

// A map per key: sub-keys are found one by one, and are in order.
func ExampleMapState_Put() {
	p := stream.NewPipeline("baskets")
	stream.From(p, "events", codec.String, codec.String).
		Process("basket", func(s *stream.Setup) stream.Handler[string, string, string] {
			items := s.Map("items", codec.String, codec.Int64)
			return func(ctx *stream.Context[string], user, item string) error {
				n, _, err := items.Get(item)
				if err = errors.Join(err, items.Put(item, n+1)); err != nil {
					return err
				}
				var list []string
				for item, n := range items.All() {
					list = append(list, fmt.Sprint(n, " ", item))
				}
				ctx.Emit(strings.Join(list, ", "))
				return nil
			}
		}).
		To("baskets")

	run := newRig(p)
	run.send("events", "ann", "tea", "ann", "milk", "ann", "tea")
	run.print()
	// Output:
	// baskets: ann=1 tea
	// baskets: ann=1 milk, 1 tea
	// baskets: ann=1 milk, 2 tea
}

// A timer at a time of its own: the end of the day, whenever the first record came.
func ExampleTimer_Set() {
	p := stream.NewPipeline("days")
	const day = 24 * time.Hour
	stream.From(p, "visits", codec.String, codec.String).
		Process("day", func(s *stream.Setup) stream.Handler[string, string, string] {
			visits := s.Value("visits", codec.Int64)
			end := s.Timer("end", func(ctx *stream.Context[string], shop string, at int64) error {
				n, _, err := visits.Get()
				ctx.Emit(fmt.Sprintf("%d until %s", n, time.UnixMilli(at).UTC().Format(time.RFC3339)))
				return errors.Join(err, visits.Delete())
			})
			return func(ctx *stream.Context[string], shop, visitor string) error {
				n, _, err := visits.Get()
				midnight := time.UnixMilli(ctx.Time()).Truncate(day).Add(day)
				return errors.Join(err, visits.Put(n+1), end.Set(midnight.UnixMilli()))
			}
		}).
		To("days")

	t := &exampleT{} // in a test: its *testing.T
	defer t.end()
	d := streamtest.New(t, p, streamtest.Partitions(1))
	in := d.In("visits", codec.String, codec.String)
	in.SendAt(time.UnixMilli(1000), "graz", "ann")
	in.SendAt(time.UnixMilli(2000), "graz", "bob")
	in.SendAt(time.UnixMilli(90_000_000), "wien", "ann")
	d.Run()
	printAll(d, "days")
	// Output: days: graz=2 until 1970-01-02T00:00:00Z at 86400s
}
