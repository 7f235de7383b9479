// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"fmt"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// pipelines are those that a worker in a process of its own can be told to run, by name. Each reads the topic
// "<base>-in" and writes "<base>-out".
var pipelines = map[string]func(base string) *stream.Pipeline{
	"count":     countByKey,
	"two-stage": countByWord,
	"three":     countCounts,
}

func in(base string) string  { return base + "-in" }
func out(base string) string { return base + "-out" }

// countByKey emits every update of the number of records per key: for each key 1, 2, 3, … in this order and once.
func countByKey(base string) *stream.Pipeline {
	p := stream.NewPipeline(base)
	stream.From(p, in(base), codec.String, codec.String).Group().Count("counts").Stream().To(out(base))
	return p
}

// countByWord does so by value, through a repartition topic.
func countByWord(base string) *stream.Pipeline {
	p := stream.NewPipeline(base)
	stream.From(p, in(base), codec.String, codec.String).
		KeyBy("by-word", func(v string) string { return v }).
		Group().Count("words").Stream().To(out(base))
	return p
}

// countCounts has two repartition topics: it counts the updates of the counts by word, by the length of the word.
func countCounts(base string) *stream.Pipeline {
	p := stream.NewPipeline(base)
	stream.From(p, in(base), codec.String, codec.String).
		KeyBy("by-word", func(v string) string { return v }).
		Group().Count("words").Stream().
		MapKV(func(w string, _ int64) (string, string) { return w, lengthOf(w) }).
		KeyBy("by-length", func(l string) string { return l }).
		Group().Count("lengths").Stream().To(out(base))
	return p
}

func lengthOf(w string) string { return fmt.Sprintf("length %d", len(w)) }
