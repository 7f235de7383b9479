// SPDX-License-Identifier: Apache-2.0

// Command earthquakes finds swarms and aftershocks in a week of real earthquakes: session windows, and a join of a
// stream with itself within a stretch of time. See its README.
package main
