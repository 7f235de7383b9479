// SPDX-License-Identifier: Apache-2.0

package operators

// Time is an event time in Unix milliseconds, as Kafka stamps its records.
type Time = int64

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
