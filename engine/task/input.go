// SPDX-License-Identifier: Apache-2.0

package task

import (
	"math"
	"slices"
	"sort"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/partition"
)

// noStop is the end of an input that has none.
const noStop = math.MaxInt64

// input is one partition with what waits of it.
type input struct {
	tp         partition.TopicPartition
	source     string // topic of the source in the topology: what the task's position calls the input
	internal   bool
	outOfOrder int64              // milliseconds
	clock      bool               // event time follows the clock
	writers    []partition.TaskID // of a repartition topic

	next  int64 // the task's position: offset of the next record to process
	queue []Batch
	at    int // index of the next record in queue[0]

	end      int64     // everything below is known to be there to be read; -1: nothing is known
	stop     int64     // of a bounded run: records from here on are not part of it
	caughtUp time.Time // since when all that there is has been processed; zero: it has not
}

// writtenBy says whether a task writes to the repartition topic. One that did when there were more tasks does no more, and
// is not waited for.
func (in *input) writtenBy(id partition.TaskID) bool {
	return len(in.writers) == 0 || slices.Contains(in.writers, id)
}

// cut takes off a batch what a bounded run does not process, and says whether there was any.
func (in *input) cut(b Batch) (Batch, bool) {
	if b.Last() < in.stop {
		return b, false
	}
	var r operators.Record
	n := sort.Search(b.Len(), func(i int) bool {
		_, _ = b.Record(i, &r) // the offset is there in any case
		return r.Offset >= in.stop
	})
	return head{b, n}, true
}

// head is the first n records of a batch.
type head struct {
	Batch
	n int
}

// Len implements Batch.
func (h head) Len() int { return h.n }

// Last implements Batch.
func (h head) Last() int64 {
	var r operators.Record
	_, _ = h.Record(h.n-1, &r)
	return r.Offset
}

// done says whether a bounded run has processed all of the input.
func (in *input) done() bool { return in.next >= in.stop }
