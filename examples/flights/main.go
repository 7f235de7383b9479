// SPDX-License-Identifier: Apache-2.0

package main

import (
	"github.com/streamd/streamd/engine"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

func main() {
	engine.Main(pipeline(), demoCommand(), feedCommand())
}

// The topics of the pipeline.
const (
	flightsTopic = "flights"         // Flight, without a key
	delaysTopic  = "airport-delays"  // airport code → AirportDelays
	routesTopic  = "airport-busiest" // airport code → Busiest
)

func pipeline() *stream.Pipeline {
	p := stream.NewPipeline("flights")
	flights := stream.From(p, flightsTopic, codec.Bytes, codec.JSON[Flight]())

	// How late flights leave, by airport.
	airports := loadAirports()
	flights.
		KeyBy("by-origin", Flight.From).
		Group().
		Aggregate("delays", NewDelays, Delays.Add, codec.JSON[Delays]()).
		Stream(stream.EmitPerCommit()).
		MapWithKey(airports.Describe).
		To(delaysTopic, codec.JSON[AirportDelays]())

	// Where most flights go, by airport: count the flights of each route, then gather the routes of each airport.
	flights.
		KeyBy("by-route", Flight.Route, codec.JSON[Route]()).
		Group().
		Count("flights-per-route").
		Stream(stream.EmitPerCommit()).
		MapWithKey(NewRouteFlights).
		WithValue(codec.JSON[RouteFlights]()).
		KeyBy("routes-by-origin", RouteFlights.From).
		Group().
		Aggregate("busiest", NewBusiest, Busiest.Add, codec.JSON[Busiest]()).
		Stream(stream.EmitPerCommit()).
		To(routesTopic)
	return p
}
