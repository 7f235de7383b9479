// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"slices"
)

// Flight is one departure.
type Flight struct {
	Date        string `json:"date"`     // local time, "2001/01/14 18:05"
	Delay       int64  `json:"delay"`    // minutes; negative is early
	Distance    int64  `json:"distance"` // miles
	Origin      string `json:"origin"`   // code of the airport
	Destination string `json:"destination"`
}

// From is the airport that the flight leaves.
func (f Flight) From() string { return f.Origin }

// Route is the way that the flight goes.
func (f Flight) Route() Route { return Route{f.Origin, f.Destination} }

// Route is a way from an airport to another.
type Route struct {
	Origin      string `json:"origin"`
	Destination string `json:"destination"`
}

// Delays sums up the departures of an airport. Sums rather than means are kept: they stay exact in any order.
type Delays struct {
	Flights int64 `json:"flights"`
	Minutes int64 `json:"minutes"` // of all delays; early departures count below zero
	Late    int64 `json:"late"`    // flights with a delay above lateMinutes
	Max     int64 `json:"max"`     // minutes
}

// lateMinutes is from where on a flight counts as late, as in the statistics of the US Department of Transportation.
const lateMinutes = 15

// NewDelays sums up nothing.
func NewDelays() Delays { return Delays{} }

// Add counts one more flight.
func (d Delays) Add(f Flight) Delays {
	if d.Flights == 0 || f.Delay > d.Max {
		d.Max = f.Delay
	}
	d.Flights++
	d.Minutes += f.Delay
	if f.Delay > lateMinutes {
		d.Late++
	}
	return d
}

// AirportDelays is a row of the table that people read.
type AirportDelays struct {
	Airport     string  `json:"airport"` // name
	City        string  `json:"city"`
	State       string  `json:"state"`
	Flights     int64   `json:"flights"`
	MeanMinutes float64 `json:"meanMinutes"`
	LateShare   float64 `json:"lateShare"` // 0 to 1
	MaxMinutes  int64   `json:"maxMinutes"`
}

// RouteFlights is how many flights a route has had so far.
type RouteFlights struct {
	Route
	Flights int64 `json:"flights"`
}

// NewRouteFlights puts a count beside its route.
func NewRouteFlights(r Route, flights int64) RouteFlights { return RouteFlights{r, flights} }

// From is the airport where the route begins.
func (r RouteFlights) From() string { return r.Origin }

// Busiest are the routes from one airport with the most flights, busiest first; of equal ones by destination.
type Busiest struct {
	Routes []RouteFlights `json:"routes"`
}

// busiestRoutes is how many routes of an airport are kept.
const busiestRoutes = 3

// NewBusiest has no routes.
func NewBusiest() Busiest { return Busiest{} }

// Add takes a route's newest count. Counts only grow, so a route that fell out is back with the count that earns it a
// place.
func (b Busiest) Add(newest RouteFlights) Busiest {
	routes := make([]RouteFlights, 0, busiestRoutes+1)
	for _, r := range b.Routes {
		if r.Route != newest.Route {
			routes = append(routes, r)
		}
	}
	routes = append(routes, newest)
	slices.SortFunc(routes, func(a, b RouteFlights) int {
		return cmp.Or(cmp.Compare(b.Flights, a.Flights), cmp.Compare(a.Destination, b.Destination))
	})
	return Busiest{Routes: routes[:min(busiestRoutes, len(routes))]}
}
