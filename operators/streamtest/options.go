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
	cache      int64           // bytes; -1: enough for all that a test has
	newestOnly map[string]bool // by topic; "" is every topic
	anyOrder   map[string]bool
	choose     func(n int) int
}

// defaultPartitions is more than one, so that a key in the wrong place shows.
const defaultPartitions = 3

// Partitions sets the number of partitions of every topic. The default is 3.
func Partitions(n int) Option {
	return func(o *options) { o.partitions = int32(n) }
}

// Cache limits the memory for decoded values to so many bytes for all tasks together. With 0 little but the epoch in
// process is in memory, and what it needs besides comes from the disk. The default is enough for all values of a test.
func Cache(bytes int64) Option {
	return func(o *options) { o.cache = bytes }
}

// Order lets the test say which task goes next: choose is given the number of tasks for which records wait, and
// returns one of them, counted from 0. A cluster keeps the order of the records in a partition, and no other: with a
// random choice a test shows that its results do not rest on more.
func Order(choose func(tasks int) int) Option {
	return func(o *options) { o.choose = choose }
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
	o := options{partitions: defaultPartitions, cache: -1, newestOnly: map[string]bool{}, anyOrder: map[string]bool{}}
	for _, set := range opts {
		set(&o)
	}
	return o
}
