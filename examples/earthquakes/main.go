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
	quakesTopic      = "earthquakes" // Quake, without a key
	swarmsTopic      = "swarms"      // cell → Swarm
	aftershocksTopic = "aftershocks" // cell → Aftershock
)

const (
	// reportedWithin is how much later than a newer one an earthquake may be reported.
	reportedWithin = 15 * time.Minute
	// quiet is how long nothing shakes between two swarms of a cell.
	quiet = 6 * time.Hour
	// minSwarm is from how many earthquakes on they are a swarm.
	minSwarm = 3
	// unsettled is for how long after a main shock the weaker ones count as its aftershocks.
	unsettled = 24 * time.Hour
)

func pipeline() *stream.Pipeline {
	p := stream.NewPipeline("earthquakes")
	quakes := stream.From(p, quakesTopic, codec.Bytes, codec.JSON[Quake](),
		stream.EventTime(func(_ []byte, q Quake) time.Time { return q.When() }),
		stream.OutOfOrder(reportedWithin)).
		Filter(Quake.Natural).
		KeyBy("by-cell", Quake.Cell)

	// Swarms: earthquakes of a cell, one soon after the other. Each is told once, when it is over.
	quakes.
		Group().
		Window(stream.Session(quiet).EmitOnClose()).
		Aggregate("swarms", NewSwarm, Swarm.Add, Swarm.Merge, codec.JSON[Swarm]()).
		Stream().
		Filter(func(_ stream.Windowed[string], s Swarm) bool { return s.Quakes >= minSwarm }).
		Map(func(_ stream.Windowed[string], s Swarm) Swarm { return s }).
		To(swarmsTopic, codec.JSON[Swarm]())

	// Aftershocks: what shakes after a main shock in its cell, and less.
	quakes.
		Filter(Quake.Strong).
		JoinStream("aftershocks", quakes, stream.Between(time.Millisecond, unsettled), NewAftershock).
		Filter(Aftershock.Weaker).
		To(aftershocksTopic, codec.JSON[Aftershock]())
	return p
}
