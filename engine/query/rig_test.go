// SPDX-License-Identifier: Apache-2.0

package query_test

import (
	"context"
	"encoding/base64"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/query"
	"github.com/streamd/streamd/engine/task"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const tasks = 3

// cluster is a few workers, without what workers do but for answering queries: tests hold their states.
type cluster struct {
	t       *testing.T
	top     *topology.Topology
	workers []*member
	mu      sync.Mutex
	owner   map[int32]int // by partition; -1: nobody is known to be
	standby map[int32][]int
}

// member is one of the workers.
type member struct {
	c        *cluster
	n        int
	endpoint string
	service  *query.Service
	passed   atomic.Int64 // queries for which it has looked up another worker
	stop     func()       // its API
	mu       sync.Mutex
	states   map[partition.TaskID]query.State
}

// pipeline counts orders by key.
func pipeline(t *testing.T) *topology.Topology {
	p := stream.NewPipeline("shop")
	stream.From(p, "orders", codec.String, codec.Int64).Group().Count("count")
	top, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// newCluster starts the APIs of n workers. setup may change the settings of all.
func newCluster(t *testing.T, n int, setup func(*config.Config)) *cluster {
	t.Helper()
	c := &cluster{t: t, top: pipeline(t), owner: map[int32]int{}, standby: map[int32][]int{}}
	for i := range n {
		c.workers = append(c.workers, c.newMember(i, setup))
	}
	for p := range int32(tasks) {
		c.owner[p] = -1
	}
	return c
}

func (c *cluster) newMember(n int, setup func(*config.Config)) *member {
	c.t.Helper()
	cfg := config.Default()
	if setup != nil {
		setup(cfg)
	}
	server, err := api.New(api.Options{Config: cfg, Log: zap.NewNop()})
	if err != nil {
		c.t.Fatal(err)
	}
	peers, err := api.NewPeers(cfg, func(err error) { c.t.Error(err) })
	if err != nil {
		c.t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	m := &member{c: c, n: n, endpoint: l.Addr().String(), states: map[partition.TaskID]query.State{}}
	m.service = query.New(query.Options{
		Topology: c.top, Worker: m, Peers: peers, Now: time.Now,
		Limits: query.Limits{Timeout: cfg.QueryTimeout, Concurrent: cfg.QueryMaxConcurrent, MaxRows: cfg.QueryMaxRows, MaxBytes: cfg.QueryMaxBytes},
	})
	m.service.Register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	m.stop = sync.OnceFunc(func() {
		peers.CloseIdleConnections()
		if err := server.Close(); err != nil {
			c.t.Error(err)
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			c.t.Error(err)
		}
	})
	c.t.Cleanup(m.stop)
	return m
}

// Application implements query.Worker.
func (m *member) Application() *query.Application {
	return &query.Application{Incarnation: 1, Tasks: map[int32]int32{0: tasks}, Topic: func(topic string, _ bool) string { return topic }}
}

// Endpoint implements query.Worker.
func (m *member) Endpoint() string { return m.endpoint }

// Ended implements query.Worker.
func (*member) Ended() bool { return false }

// State implements query.Worker.
func (m *member) State(id partition.TaskID) (query.State, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	st, ok := m.states[id]
	return st, ok
}

// Owner implements query.Router.
func (m *member) Owner(id partition.TaskID) (endpoint string, self, ok bool) {
	m.passed.Add(1)
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	n := m.c.owner[id.Partition]
	if n < 0 {
		return "", false, false
	}
	return m.c.workers[n].endpoint, n == m.n, true
}

// Standbys implements query.Router.
func (m *member) Standbys(id partition.TaskID) (list []string) {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	for _, n := range m.c.standby[id.Partition] {
		list = append(list, m.c.workers[n].endpoint)
	}
	return list
}

// held is the state of a task that a worker of the cluster holds.
type held struct {
	c      *cluster
	id     partition.TaskID
	db     *statestore.DB
	counts *statestore.Value[int64]
	epoch  uint64
}

// row is the codec of counts as the pipeline stores them.
type row struct{}

func (row) Append(dst []byte, v int64) ([]byte, error) {
	dst = append(dst, 0x80, 0, 0, 0, 0, 0, 0, 0) // the time of the row
	return codec.Stored(codec.Int64).Append(dst, v)
}

func (row) Decode(src []byte) (int64, error) { return codec.Stored(codec.Int64).Decode(src[8:]) }

// hold opens the state of a partition's task on a worker.
func (c *cluster) hold(worker int, p int32, role query.Role, behind query.Behind) *held {
	c.t.Helper()
	res, err := statestore.NewResources(128 << 20)
	if err != nil {
		c.t.Fatal(err)
	}
	id := partition.TaskID{Partition: p}
	db, err := statestore.Open(statestore.Options{Dir: filepath.Join(c.t.TempDir(), "task"), Identity: statestore.Identity{App: "shop", Incarnation: 1, Task: id}, Resources: res})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		if err := errors.Join(db.Close(), res.Close()); err != nil {
			c.t.Error(err)
		}
	})
	st, _ := c.top.Store("count")
	h := &held{c: c, id: id, db: db, counts: statestore.NewValue(db, statestore.StoreID(st.ID), row{})}
	m := c.workers[worker]
	m.mu.Lock()
	m.states[id] = query.State{DB: db, Role: role, Behind: func() query.Behind { return behind }}
	m.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if role == query.Owner {
		c.owner[p] = worker
	} else {
		c.standby[p] = append(c.standby[p], worker)
	}
	return h
}

// commit sets counts and confirms that the input was processed up to an offset.
func (h *held) commit(next int64, counts map[string]int64) {
	h.c.t.Helper()
	for key, n := range counts {
		if err := h.counts.Put([]byte(key), n); err != nil {
			h.c.t.Fatal(err)
		}
	}
	if _, err := h.db.Prepare(1 << 20); err != nil {
		h.c.t.Fatal(err)
	}
	h.epoch++
	point := task.Rescale([]task.Point{}, []task.InputAt{{Source: "orders", Partition: h.id.Partition, Next: next}})
	if err := h.db.Confirm(statestore.Position{Epoch: h.epoch, Offset: int64(h.epoch) * 10, Detail: point.AppendTo(nil)}); err != nil {
		h.c.t.Fatal(err)
	}
}

// move takes the state away from a worker, as a rebalance does.
func (h *held) move(worker int) {
	h.c.t.Helper()
	h.c.mu.Lock()
	h.c.owner[h.id.Partition] = -1
	h.c.mu.Unlock()
	m := h.c.workers[worker]
	m.mu.Lock()
	delete(m.states, h.id)
	m.mu.Unlock()
	if err := h.db.Close(); err != nil {
		h.c.t.Fatal(err)
	}
}

// keyOf returns a key of a partition.
func keyOf(p int32) string {
	for n := 0; ; n++ {
		if key := fmt.Sprint("key-", n); partition.ForKey([]byte(key), tasks) == p {
			return key
		}
	}
}

// reply is what an answer or a problem says.
type reply struct {
	status    int
	Key       any              `json:"key"`
	Value     any              `json:"value"`
	Rows      []rowReply       `json:"rows"`
	Next      string           `json:"nextPageToken"`
	Task      string           `json:"task"`
	Worker    string           `json:"worker"`
	Role      query.Role       `json:"role"`
	Position  query.Position   `json:"position"`
	Token     string           `json:"token"`
	Parts     []query.Part     `json:"parts"`
	Staleness *query.Staleness `json:"staleness"`
	Type      string           `json:"type"`
	Detail    string           `json:"detail"`
	Retriable bool             `json:"retriable"`
}

type rowReply struct {
	Task  string `json:"task"`
	Key   any    `json:"key"`
	Value any    `json:"value"`
}

// get asks the API of a worker.
func (c *cluster) get(worker int, path string) reply {
	c.t.Helper()
	r, err := c.try(worker, path)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

func (c *cluster) try(worker int, path string) (r reply, err error) {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+c.workers[worker].endpoint+query.Path+path, nil)
	if err != nil {
		return r, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return r, err
	}
	r.status = resp.StatusCode
	if err := json.Unmarshal(body, &r); err != nil {
		return r, fmt.Errorf("%w: %s", err, body)
	}
	return r, nil
}

func homeOf(key string) int32 { return partition.ForKey([]byte(key), tasks) }

// tokenOf changes the epoch of a token of one task.
func tokenOf(t *testing.T, token string, epoch uint64) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	place, _, _ := strings.Cut(string(text), "@")
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf([]byte(place), "@%d", epoch))
}
