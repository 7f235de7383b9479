// SPDX-License-Identifier: Apache-2.0

package data

import _ "embed"

//go:embed flights.jsonl
var flights string

//go:embed airports.csv
var airports string

// Flights returns the flights, one JSON object a line, in the order of departure.
func Flights() string { return flights }

// Airports returns the airports as CSV with a header line.
func Airports() string { return airports }
