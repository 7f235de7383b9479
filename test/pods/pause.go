// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"time"
)

// span is the time of an incident: from the cause until all has come to rest.
type span struct{ From, To time.Time }

// cadence is the median time between two moments before an incident.
func cadence(times []time.Time, s span) time.Duration {
	var gaps []time.Duration
	for i := 1; i < len(times) && times[i].Before(s.From); i++ {
		gaps = append(gaps, times[i].Sub(times[i-1]))
	}
	return percentile(gaps, 50)
}

// pause is the longest time without output that lies in an incident, wholly or in part, less the cadence of before. Output
// that has not come back counts until the end of it.
func pause(times []time.Time, s span) time.Duration {
	longest, last := time.Duration(0), s.From
	for _, t := range times {
		if t.After(s.From) {
			longest = max(longest, t.Sub(last))
		}
		last = t
		if t.After(s.To) {
			break
		}
	}
	if last.Before(s.To) {
		longest = max(longest, s.To.Sub(last))
	}
	return max(0, longest-cadence(times, s))
}

// percentile returns the smallest value that is not below p percent of them; 0 of none.
func percentile(values []time.Duration, p int) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, (len(sorted)*p+99)/100-1)]
}
