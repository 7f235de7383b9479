// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"encoding/json/v2"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
)

// homes is what a client has learned of where keys are, so that it asks their owners at once: of answers, which say who gave
// them. It is a guess; a worker that is asked in vain knows better.
type homes struct {
	hosts map[string]int // of the client's endpoints, their numbers

	mu struct {
		sync.RWMutex
		stores map[string]Described
		asked  time.Time                // when they were asked for
		at     map[partition.TaskID]int // numbers of endpoints
	}
}

// storesPause is how long a client waits before it asks again what stores there are.
const storesPause = time.Second

func (h *homes) init(endpoints []string) {
	h.hosts, h.mu.at = map[string]int{}, map[partition.TaskID]int{}
	for i, e := range endpoints {
		h.hosts[hostOf(e)] = i
	}
}

// hostOf is host:port of an endpoint.
func hostOf(endpoint string) string {
	if _, rest, ok := strings.Cut(endpoint, "://"); ok {
		return rest
	}
	return endpoint
}

// guess returns the endpoint that has what a query is about; false: nobody knows.
func (h *homes) guess(q *Query) (endpoint int, ok bool) {
	if len(h.hosts) < 2 || q.Key == nil && q.Task == nil {
		return 0, false
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	id, ok := h.home(q)
	if !ok {
		return 0, false
	}
	endpoint, ok = h.mu.at[id]
	return endpoint, ok
}

// home is the task that has the key of a query, as far as is known. With the lock held.
func (h *homes) home(q *Query) (id partition.TaskID, ok bool) {
	if q.Task != nil {
		return *q.Task, true
	}
	st := h.mu.stores[q.Store]
	if st.Tasks == 0 || st.Kind == topology.BroadcastStore {
		return id, false
	}
	return partition.TaskID{SubTopology: st.SubTopology, Partition: partition.ForKey(q.Key, st.Tasks)}, true
}

// forget lets an endpoint that was not reached have nothing: the others know who has it now.
func (h *homes) forget(endpoint string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.mu.at, func(_ partition.TaskID, at int) bool { return at == h.hosts[hostOf(endpoint)] })
}

// learn takes from an answer who has its task. True: the client does not know yet how keys of the store are spread, and it is
// time to ask.
func (h *homes) learn(q *Query, a *Answer) (ask bool) {
	if len(h.hosts) < 2 || q.Key == nil || a.Role != Owner {
		return false
	}
	endpoint, reachable := h.hosts[hostOf(a.Worker)]
	h.mu.RLock()
	at, known := h.mu.at[a.Task]
	_, described := h.mu.stores[q.Store]
	if home, ok := h.home(q); ok && home != a.Task {
		described = false // the number of tasks has changed
	}
	h.mu.RUnlock()
	if described && known == reachable && at == endpoint {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if reachable {
		h.mu.at[a.Task] = endpoint
	} else {
		delete(h.mu.at, a.Task)
	}
	if described || !reachable || time.Since(h.mu.asked) < storesPause {
		return false
	}
	h.mu.asked = time.Now()
	return true
}

// learnStores asks how the keys of stores are spread over tasks. What fails leaves the client to ask anybody.
func (c *Client) learnStores(ctx context.Context) {
	body, err := c.Fetch(ctx, Path)
	var doc struct {
		Stores []Described `json:"stores"`
	}
	if err != nil || json.Unmarshal(body, &doc) != nil {
		return
	}
	stores := map[string]Described{}
	for _, st := range doc.Stores {
		if st.Tasks > 0 {
			stores[st.Name] = st
		}
	}
	c.homes.mu.Lock()
	defer c.homes.mu.Unlock()
	c.homes.mu.stores = stores
}
