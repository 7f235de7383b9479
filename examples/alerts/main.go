// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/streamd/streamd/engine"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

func main() {
	engine.Main(pipeline())
}

// The topics of the pipeline.
const (
	rulesTopic    = "rules"    // Rule, without a key
	readingsTopic = "readings" // Reading, without a key
	alertsTopic   = "alerts"   // sensor → Alert
)

// Rule is the range in which what a kind of sensor reads is all right.
type Rule struct {
	Kind    string  `json:"kind"`
	Min     float64 `json:"min"`
	Max     float64 `json:"max"`
	Retired bool    `json:"retired,omitzero"` // the kind has no rule any more
}

// Reading is what a sensor has read.
type Reading struct {
	Sensor string  `json:"sensor"`
	Kind   string  `json:"kind"`
	Value  float64 `json:"value"`
}

// Alert is a reading with the rule that it breaks.
type Alert struct {
	Reading Reading `json:"reading"`
	Rule    Rule    `json:"rule"`
}

func pipeline() *stream.Pipeline {
	p := stream.NewPipeline("alerts")
	rules := stream.From(p, rulesTopic, codec.Bytes, codec.JSON[Rule]()).
		KeyBy("rules-by-kind", func(r Rule) string { return r.Kind }).
		Broadcast("rules", func(r Rule) bool { return r.Retired })
	stream.From(p, readingsTopic, codec.Bytes, codec.JSON[Reading]()).
		KeyBy("by-sensor", func(r Reading) string { return r.Sensor }).
		ProcessWith("check", rules, check, codec.JSON[Alert]()).
		To(alertsTopic)
	return p
}

// check looks up the rule of each reading. Every task has all rules, whatever its sensors.
func check(_ *stream.Setup, rules *stream.BroadcastState[string, Rule]) stream.Handler[string, Reading, Alert] {
	return func(ctx *stream.Context[Alert], _ string, r Reading) error {
		rule, found, err := rules.Get(r.Kind)
		if found && (r.Value < rule.Min || r.Value > rule.Max) {
			ctx.Emit(Alert{r, rule})
		}
		return err
	}
}
