// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/query"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/partition/groupbalance"
	"github.com/streamd/streamd/statestore"
)

// holdings is what queries see of the worker: the states of its tasks, and where those of others are. The loop and the
// followers change it, anybody may read it.
type holdings struct {
	w        *Worker
	app      atomic.Pointer[query.Application]
	endpoint atomic.Value // string
	ended    atomic.Bool
	routes   atomic.Pointer[routes]
	mu       struct {
		sync.RWMutex
		held map[partition.TaskID]holding // a state that is closed meanwhile says so itself
	}
}

// holding is the state of a task that runs, or of one that is followed.
type holding struct {
	db       *statestore.DB
	follower *follower // nil: the task runs
}

// Application implements query.Worker.
func (h *holdings) Application() *query.Application { return h.app.Load() }

// Endpoint implements query.Worker.
func (h *holdings) Endpoint() string {
	endpoint, _ := h.endpoint.Load().(string)
	return endpoint
}

// Ended implements query.Worker.
func (h *holdings) Ended() bool { return h.ended.Load() }

// State implements query.Worker.
func (h *holdings) State(id partition.TaskID) (query.State, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	held, ok := h.mu.held[id]
	if held.follower == nil {
		return query.State{DB: held.db, Role: query.Owner}, ok
	}
	behind := func() query.Behind { return held.follower.behind(h.w.now()) }
	return query.State{DB: held.db, Role: query.Standby, Behind: behind}, ok
}

// routes are what a table says of where states are.
type routes struct {
	table    *groupbalance.Table
	owners   map[partition.TaskID]route
	standbys map[partition.TaskID][]string
}

type route struct {
	endpoint string
	self     bool
}

// routing returns the routes of the newest table.
func (h *holdings) routing() *routes {
	t := h.w.placement.Load()
	if r := h.routes.Load(); r != nil && r.table == t {
		return r
	}
	r := &routes{table: t, owners: map[partition.TaskID]route{}, standbys: map[partition.TaskID][]string{}}
	for i, m := range t.Members {
		for _, id := range m.Owned {
			r.owners[id] = route{m.Endpoint, i == t.Self}
		}
		for _, id := range m.Standby {
			r.standbys[id] = append(r.standbys[id], m.Endpoint)
		}
	}
	for _, m := range t.Members {
		for _, id := range m.WarmUp { // which are the last to be asked: they may have come less far
			r.standbys[id] = append(r.standbys[id], m.Endpoint)
		}
	}
	h.routes.Store(r)
	return r
}

// Owner implements query.Router.
func (h *holdings) Owner(id partition.TaskID) (endpoint string, self, ok bool) {
	r, ok := h.routing().owners[id]
	return r.endpoint, r.self, ok
}

// Standbys implements query.Router.
func (h *holdings) Standbys(id partition.TaskID) []string {
	return slices.Clone(h.routing().standbys[id])
}

// known tells what the application consists of, which does not change any more.
func (h *holdings) known() {
	app := &query.Application{Incarnation: h.w.names.Incarnation, Tasks: tasksIn(h.w.taskIDs()), Topic: h.w.topicName}
	h.app.Store(app)
}

// hold begins to show the state of a task; f follows it, or is nil if the task runs.
func (h *holdings) hold(id partition.TaskID, db *statestore.DB, f *follower) {
	if db == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.held[id] = holding{db, f}
}

func (h *holdings) give(id partition.TaskID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.mu.held, id)
}

// followers returns what is followed.
func (h *holdings) followers() map[partition.TaskID]*follower {
	h.mu.RLock()
	defer h.mu.RUnlock()
	all := map[partition.TaskID]*follower{}
	for id, held := range h.mu.held {
		if held.follower != nil {
			all[id] = held.follower
		}
	}
	return all
}

// levelEvery is how often followers whose changelog brings nothing are compared with its end.
const levelEvery = time.Second

// levelFollowers keeps what followers say of how old their state is from growing while there is nothing to follow.
func (w *Worker) levelFollowers() {
	tick := time.NewTicker(levelEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-w.hard.Done():
			return
		}
		followers := w.holdings.followers()
		topics := map[string]bool{}
		for id := range followers {
			topics[w.names.Changelog(id.SubTopology)] = true
		}
		if len(topics) == 0 {
			continue
		}
		at := w.now()
		ends, err := w.cluster.HighWatermarks(w.hard, slices.Sorted(maps.Keys(topics))...)
		if err != nil {
			continue // the states grow older by what can be known of them
		}
		for id, f := range followers {
			if f.next.Load() >= ends[w.names.ChangelogPartition(id)] {
				f.level.Store(at.UnixNano())
			}
		}
	}
}

// newQueries makes the service that answers queries from the worker's states and by others.
func (w *Worker) newQueries() error {
	w.holdings = &holdings{w: w}
	w.holdings.mu.held = map[partition.TaskID]holding{}
	peers, err := api.NewPeers(w.cfg, func(err error) { w.listener.background("read the files by which workers know each other", err) })
	if err != nil {
		return err
	}
	w.peers = peers
	w.queries = query.New(query.Options{
		Topology: w.topology, Worker: w.holdings, Peers: peers, Now: w.now,
		Limits: query.Limits{Timeout: w.cfg.QueryTimeout, Concurrent: w.cfg.QueryMaxConcurrent, MaxRows: w.cfg.QueryMaxRows, MaxBytes: w.cfg.QueryMaxBytes},
	})
	return nil
}

// Queries answers queries in this process. It may be asked from any goroutine, before, while and after the worker runs.
func (w *Worker) Queries() *query.Service { return w.queries }
