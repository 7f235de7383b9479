// SPDX-License-Identifier: Apache-2.0

package data

import _ "embed"

//go:embed flights.jsonl
var flights string

//go:embed airports.csv
var airports string

//go:embed earthquakes.jsonl
var earthquakes string

// Flights returns the flights, one JSON object a line, in the order of departure.
func Flights() string { return flights }

// Airports returns the airports as CSV with a header line.
func Airports() string { return airports }

// Earthquakes returns the earthquakes of a week, one JSON object a line, in the order of time.
func Earthquakes() string { return earthquakes }
