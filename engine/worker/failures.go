// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/operators"
)

const (
	// keptSamples is how many of each kind of failure are kept.
	keptSamples = 5
	// maxSampleBytes is how much is kept of an error's text.
	maxSampleBytes = 1024
)

// failures counts what has gone wrong, by place, and keeps the newest of each. There are as many places as the pipeline has
// steps and the worker has duties, some of these for each task. The loop and the lanes write, anybody may read.
type failures struct {
	now func() time.Time
	mu  struct {
		sync.Mutex
		places map[place]*api.Failure
	}
}

// place is where something goes wrong, and what becomes of it.
type place struct{ source, step, phase, outcome string }

func newFailures(now func() time.Time) *failures {
	f := &failures{now: now}
	f.mu.places = map[place]*api.Failure{}
	return f
}

func (f *failures) note(p place, s api.Sample, err error) {
	s.At = f.now()
	if err != nil {
		s.Error = err.Error()
		// JSON takes valid UTF-8 only: neither half a rune nor bytes of the user's data.
		s.Error = strings.ToValidUTF8(s.Error[:min(len(s.Error), maxSampleBytes)], "")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.mu.places[p]
	if known == nil {
		known = &api.Failure{Source: p.source, Step: p.step, Phase: p.phase, Outcome: p.outcome, First: s.At}
		f.mu.places[p] = known
	}
	known.Count++
	known.Last = s.At
	known.Samples = append([]api.Sample{s}, known.Samples[:min(len(known.Samples), keptSamples-1)]...)
}

// record notes a record that a policy has dealt with.
func (f *failures) record(r operators.Failure, outcome, deadLetterTopic string) {
	f.note(place{"record", r.Step, string(r.Phase), outcome},
		api.Sample{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, DeadLetterTopic: deadLetterTopic}, r.Err)
}

// duty notes what the worker could not do.
func (f *failures) duty(what, outcome string, err error) {
	f.note(place{source: "worker", step: what, outcome: outcome}, api.Sample{}, err)
}

// all returns a copy, in order of the places.
func (f *failures) all() []api.Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := make([]api.Failure, 0, len(f.mu.places))
	for _, known := range f.mu.places {
		one := *known
		one.Samples = slices.Clone(one.Samples)
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b api.Failure) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Step, b.Step), cmp.Compare(a.Phase, b.Phase), cmp.Compare(a.Outcome, b.Outcome))
	})
	return all
}
