// SPDX-License-Identifier: Apache-2.0

package streamtest

// TB is the part of testing.TB that the kit needs: *testing.T, *testing.B and *rapid.T have it.
type TB interface {
	Helper()
	Logf(format string, args ...any)
	// Fatalf reports and does not return.
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Option changes what New and ThreeWays set up.
type Option func(*options)

type options struct {
	partitions int32
	newestOnly map[string]bool
	anyOrder   map[string]bool // by topic; "" is every topic
}

// defaultPartitions is more than one, so that a key in the wrong place shows.
const defaultPartitions = 3

// Partitions sets the number of partitions of every topic. The default is 3.
func Partitions(n int) Option {
	return func(o *options) { o.partitions = int32(n) }
}

// NewestOnly lets ThreeWays compare only the newest value of each key in these topics, or in all if none is
// named: for tables that are emitted once per commit, and for results whose way, though not their end, depends on
// how records of several partitions interleave.
func NewestOnly(topics ...string) Option {
	return func(o *options) {
		if len(topics) == 0 {
			o.newestOnly[""] = true
		}
		for _, t := range topics {
			o.newestOnly[t] = true
		}
	}
}

// AnyOrder lets ThreeWays compare the records of each key in these topics without regard to their order: for the results
// of joins, which come in the order in which the two sides meet.
func AnyOrder(topics ...string) Option {
	return func(o *options) {
		for _, t := range topics {
			o.anyOrder[t] = true
		}
	}
}

func newOptions(opts []Option) options {
	o := options{partitions: defaultPartitions, newestOnly: map[string]bool{}, anyOrder: map[string]bool{}}
	for _, set := range opts {
		set(&o)
	}
	return o
}
