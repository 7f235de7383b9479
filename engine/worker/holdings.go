// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"sync"
	"sync/atomic"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/query"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// holdings is what queries see of the worker: the states of its tasks. The loop changes it, anybody may read it.
type holdings struct {
	app      atomic.Pointer[query.Application]
	endpoint atomic.Value // string
	router   query.Router
	mu       struct {
		sync.RWMutex
		dbs map[partition.TaskID]*statestore.DB // of tasks that run; a closed one says so itself
	}
}

// Application implements query.Worker.
func (h *holdings) Application() *query.Application { return h.app.Load() }

// Endpoint implements query.Worker.
func (h *holdings) Endpoint() string {
	endpoint, _ := h.endpoint.Load().(string)
	return endpoint
}

// State implements query.Worker.
func (h *holdings) State(id partition.TaskID) (query.State, bool) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	db := h.mu.dbs[id]
	return query.State{DB: db, Role: query.Owner}, db != nil
}

// Owner implements query.Router.
func (h *holdings) Owner(id partition.TaskID) (endpoint string, self, ok bool) {
	return h.router.Owner(id)
}

// Standbys implements query.Router.
func (h *holdings) Standbys(id partition.TaskID) []string { return h.router.Standbys(id) }

// known tells what the application consists of, which does not change any more.
func (h *holdings) known(w *Worker) {
	app := &query.Application{Incarnation: w.names.Incarnation, Tasks: tasksIn(w.taskIDs()), Topic: w.topicName}
	h.app.Store(app)
}

// hold begins to show the state of a task.
func (h *holdings) hold(id partition.TaskID, db *statestore.DB) {
	if db == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mu.dbs[id] = db
}

func (h *holdings) give(id partition.TaskID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.mu.dbs, id)
}

// alone routes where the worker knows of no other.
type alone struct{}

func (alone) Owner(partition.TaskID) (endpoint string, self, ok bool) { return "", false, false }
func (alone) Standbys(partition.TaskID) []string                      { return nil }

// newQueries makes the service that answers queries from the worker's states and by others.
func (w *Worker) newQueries(router query.Router) error {
	if router == nil {
		router = alone{}
	}
	w.holdings = &holdings{router: router}
	w.holdings.mu.dbs = map[partition.TaskID]*statestore.DB{}
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

// Holds says whether the worker has the state of a task to answer from.
func (w *Worker) Holds(id partition.TaskID) bool {
	_, ok := w.holdings.State(id)
	return ok
}

// Endpoint is where the worker's API is reached; empty: nowhere.
func (w *Worker) Endpoint() string { return w.holdings.Endpoint() }
