// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"time"
)

// Quake is one seismic event.
type Quake struct {
	ID        string  `json:"id"`
	Time      int64   `json:"time"` // Unix milliseconds
	Magnitude float64 `json:"mag"`
	Place     string  `json:"place"`
	Type      string  `json:"type"` // "earthquake", "explosion", "quarry blast"
	Latitude  float64 `json:"lat"`
	Longitude float64 `json:"lon"`
}

// When is the time of the event.
func (q Quake) When() time.Time { return time.UnixMilli(q.Time) }

// Natural says that it was not made by people.
func (q Quake) Natural() bool { return q.Type == "earthquake" }

// Strong says that it may be a main shock, which others follow.
func (q Quake) Strong() bool { return q.Magnitude >= 4 }

// Cell is the square of one degree that it was in, by its south-west corner.
func (q Quake) Cell() string {
	return fmt.Sprintf("%.0f,%.0f", math.Floor(q.Latitude), math.Floor(q.Longitude))
}

// stronger says whether q is the stronger of two; of equal ones it is the earlier.
func (q Quake) stronger(than Quake) bool {
	if q.Magnitude != than.Magnitude {
		return q.Magnitude > than.Magnitude
	}
	return q.Time < than.Time
}

// Swarm is a number of earthquakes that are near to each other in place and time.
type Swarm struct {
	Quakes    int   `json:"quakes"`
	First     int64 `json:"first"` // Unix milliseconds
	Last      int64 `json:"last"`
	Strongest Quake `json:"strongest"`
}

// NewSwarm has no earthquakes.
func NewSwarm() Swarm { return Swarm{} }

// Add counts one more earthquake.
func (s Swarm) Add(q Quake) Swarm {
	return s.Merge(Swarm{Quakes: 1, First: q.Time, Last: q.Time, Strongest: q})
}

// Merge makes one swarm of two, in any order: an earthquake that is reported late may close the gap between them.
func (s Swarm) Merge(other Swarm) Swarm {
	if s.Quakes == 0 {
		return other
	}
	if other.Quakes == 0 {
		return s
	}
	s.Quakes += other.Quakes
	s.First, s.Last = min(s.First, other.First), max(s.Last, other.Last)
	if other.Strongest.stronger(s.Strongest) {
		s.Strongest = other.Strongest
	}
	return s
}

// Aftershock is an earthquake after a main shock.
type Aftershock struct {
	Place         string  `json:"place"` // of the main shock
	Main          string  `json:"main"`  // its id
	MainMagnitude float64 `json:"mainMag"`
	ID            string  `json:"id"`
	Magnitude     float64 `json:"mag"`
	Minutes       int64   `json:"minutes"` // since the main shock
}

// NewAftershock sees an earthquake as one that follows a main shock.
func NewAftershock(main, q Quake) Aftershock {
	return Aftershock{
		Place: main.Place, Main: main.ID, MainMagnitude: main.Magnitude, ID: q.ID, Magnitude: q.Magnitude,
		Minutes: (q.Time - main.Time) / time.Minute.Milliseconds(),
	}
}

// Weaker says that it really is one: what is as strong is a shock of its own.
func (a Aftershock) Weaker() bool { return a.Magnitude < a.MainMagnitude }
