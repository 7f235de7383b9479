// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Shares is how one memory budget is divided, in bytes.
type Shares struct {
	Total int64
	// Pebble is the block cache of all DBs; Memtables of it may be taken by
	// memtables, which displace blocks.
	Pebble    int64
	Memtables int64
	// Decoded is the cache of decoded values of all stores.
	Decoded int64
	// Held is for confirmed deltas that wait for a cut to end.
	Held int64
	// Rest is not used here: fetch and produce buffers, Go heap slack, stacks.
	Rest int64
	// GoHeapLimit is what to give to debug.SetMemoryLimit: the total without
	// what is allocated outside the Go heap.
	GoHeapLimit int64
}

// The division, in percent of the total. Rest is 40: the Go heap needs slack
// above its live size, of which the decoded cache is the largest part, and the
// Kafka client buffers both ways. The block cache gets the most because a miss
// in it costs a read, while one in the decoded cache mostly costs a decode.
const (
	pebblePercent   = 32
	memtablePercent = 14 // within pebblePercent
	decodedPercent  = 23
	heldPercent     = 5

	minMemory     = 64 << 20
	minPebblePer  = 1 << 20 // least share of Pebble's memory that one DB works with
	minMemtable   = 1 << 20
	maxMemtable   = 64 << 20
	assumedDBs    = 8   // memtables are sized for at least this many DBs
	maxOpenTables = 512 // file handles of all DBs together, per budget below
)

// Resources are what all DBs of a process share: block cache, open files,
// compaction slots, and the budgets for memtables, decoded values and held
// deltas. Safe for concurrent use.
type Resources struct {
	shares      Shares
	cache       *pebble.Cache
	files       *pebble.FileCache
	compactions *compactionSlots

	decoded   atomic.Int64 // bytes of all decoded caches; written by stores
	memtables atomic.Int64 // bytes not flushed, estimated; written by DBs
	held      atomic.Int64 // bytes of held deltas; written by DBs
	stores    atomic.Int64 // open stores

	mu struct {
		sync.Mutex
		dbs    int
		closed bool
	}

	closing  chan struct{}
	routines sync.WaitGroup
}

// NewResources divides memoryBytes, which is the memory limit of the process.
// ErrBudget if that is below 64 MiB.
func NewResources(memoryBytes int64) (*Resources, error) {
	if memoryBytes < minMemory {
		return nil, fmt.Errorf("divide %d bytes of memory for state: at least %d are needed, raise the memory limit: %w",
			memoryBytes, int64(minMemory), ErrBudget)
	}
	tuneAllocator()
	s := Shares{
		Total:     memoryBytes,
		Pebble:    memoryBytes * pebblePercent / 100,
		Memtables: memoryBytes * memtablePercent / 100,
		Decoded:   memoryBytes * decodedPercent / 100,
		Held:      memoryBytes * heldPercent / 100,
	}
	s.Rest = s.Total - s.Pebble - s.Decoded - s.Held
	s.GoHeapLimit = s.Total
	cache := s.Pebble
	if pebbleOffHeap {
		s.GoHeapLimit -= s.Pebble
		// The rest is for what malloc loses between blocks of many sizes.
		cache = cache * 3 / 4
	}
	r := &Resources{
		shares: s,
		cache:  pebble.NewCache(cache),
		// One shared cache bounds the open files of the process rather than of
		// each DB; 2 shards suit the few cores of a pod.
		files:       pebble.NewFileCache(2, maxOpenTables),
		compactions: newCompactionSlots(max(1, runtime.GOMAXPROCS(0)/2)),
		closing:     make(chan struct{}),
	}
	if pebbleOffHeap {
		r.routines.Go(r.releaseNowAndThen)
	}
	return r, nil
}

// releaseEvery is how often free memory goes back to the system. It takes about
// a millisecond per 100 MiB.
const releaseEvery = 2 * time.Second

func (r *Resources) releaseNowAndThen() {
	tick := time.NewTicker(releaseEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			releaseFree()
		case <-r.closing:
			return
		}
	}
}

// Shares says how the budget is divided.
func (r *Resources) Shares() Shares { return r.shares }

// LimitDecoded lowers the budget of decoded values to so many bytes, below what follows from the total. Tests have
// values evicted that way which no total could make evict: 0 leaves each store only what the epoch pins. It is called
// before the first DB is opened.
func (r *Resources) LimitDecoded(bytes int64) {
	r.shares.Decoded = min(r.shares.Decoded, max(0, bytes))
}

// Close releases what is shared. All DBs must be closed before.
func (r *Resources) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.closed {
		return nil
	}
	if r.mu.dbs > 0 {
		return fmt.Errorf("close state resources: %d databases are still open", r.mu.dbs)
	}
	r.mu.closed = true
	close(r.closing)
	r.routines.Wait()
	r.files.Unref()
	r.cache.Unref()
	return nil
}

// join admits one more DB and returns its memtable size.
func (r *Resources) join() (memtable int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.closed {
		return 0, fmt.Errorf("open state: resources are closed: %w", ErrClosed)
	}
	n := int64(r.mu.dbs + 1)
	if n*minPebblePer > r.shares.Pebble {
		return 0, fmt.Errorf("open state: %d databases need %d bytes of the %d bytes memory budget, found %d; raise the memory limit or run fewer tasks: %w",
			n, n*minPebblePer, r.shares.Total, r.shares.Pebble, ErrBudget)
	}
	r.mu.dbs++
	// Each DB can hold two memtables at full size: the one being written, and
	// the one being flushed or kept by Pebble for reuse.
	size := r.shares.Memtables / (2 * max(n, assumedDBs))
	return min(max(size, minMemtable), maxMemtable), nil
}

func (r *Resources) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.dbs--
}

// open is the number of DBs that share the budgets, at least 1.
func (r *Resources) open() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int64(max(1, r.mu.dbs))
}

// mayGrow says whether a store that holds own bytes may take n more. Below half
// its fair share a store may always grow, so that an idle store that filled the
// budget earlier cannot starve the others; the sum therefore stays below 1.5
// times the share.
func (r *Resources) mayGrow(own, n int64) bool {
	return r.decoded.Load()+n <= r.shares.Decoded || own+n <= r.fairShare()/2
}

func (r *Resources) fairShare() int64 {
	return r.shares.Decoded / max(1, r.stores.Load())
}
