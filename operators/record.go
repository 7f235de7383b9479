// SPDX-License-Identifier: Apache-2.0

package operators

import "math"

// Time is an event time in Unix milliseconds, as Kafka stamps its records.
type Time = int64

// The ends of time: as a watermark, MinTime says that nothing is known yet, and MaxTime that nothing comes any more.
const (
	MinTime Time = math.MinInt64
	MaxTime Time = math.MaxInt64
)

// Later returns t moved by d milliseconds, which may be negative. The ends of time stay where they are, and nothing
// goes beyond them.
func Later(t Time, d int64) Time {
	switch {
	case t == MinTime || t == MaxTime:
		return t
	case d > 0 && t > MaxTime-d:
		return MaxTime
	case d < 0 && t < MinTime-d:
		return MinTime
	}
	return t + d
}

// Header is one record header. Value may be nil; keys may repeat.
type Header struct {
	Key   string
	Value []byte
}

// Record is one input record. Its slices belong to the fetch buffer: they are valid during
// Processor.Process only and must not be changed. A nil Key or Value is Kafka's null.
type Record struct {
	Topic      string
	Partition  int32
	Offset     int64
	Time       Time
	Key, Value []byte
	Headers    []Header
}
