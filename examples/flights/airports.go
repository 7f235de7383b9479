// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/csv"
	"fmt"
	"strings"

	"github.com/streamd/streamd/examples/data"
)

// Airport says what a code stands for.
type Airport struct{ Name, City, State string }

// Airports are all airports by code. They are read-only, so that tasks can share them.
type Airports map[string]Airport

// loadAirports reads the file that is part of the program.
func loadAirports() Airports {
	rows, err := csv.NewReader(strings.NewReader(data.Airports())).ReadAll()
	if err != nil || len(rows) == 0 || strings.Join(rows[0][:4], ",") != "iata,name,city,state" {
		panic(fmt.Sprintf("the embedded airports.csv is not as its README says: %d rows, %v", len(rows), err))
	}
	airports := make(Airports, len(rows))
	for _, row := range rows[1:] {
		airports[row[0]] = Airport{Name: row[1], City: row[2], State: row[3]}
	}
	return airports
}

// Describe makes a readable row of an airport's sums. A code that is not in the file is its own name.
func (a Airports) Describe(code string, d Delays) AirportDelays {
	airport, ok := a[code]
	if !ok {
		airport.Name = code
	}
	return AirportDelays{
		Airport: airport.Name, City: airport.City, State: airport.State, Flights: d.Flights,
		MeanMinutes: float64(d.Minutes) / float64(d.Flights),
		LateShare:   float64(d.Late) / float64(d.Flights),
		MaxMinutes:  d.Max,
	}
}
