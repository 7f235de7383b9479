// SPDX-License-Identifier: Apache-2.0

// Package data holds the real data that the examples and their tests run on. Its README says what the data is and
// where it comes from. The package only hands out bytes, so that a test can compute its numbers from the raw files;
// both functions are safe for concurrent use.
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
