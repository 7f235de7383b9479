// SPDX-License-Identifier: Apache-2.0

package query

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// Worker is what queries need of the worker that answers them. Its methods may be called from any goroutine.
type Worker interface {
	// Application says what the worker works for; nil before it knows.
	Application() *Application
	// State returns the state of a task that the worker holds.
	State(partition.TaskID) (State, bool)
	// Endpoint is where others reach the worker's API; empty: nowhere.
	Endpoint() string
	// Ended says that the worker has left its group, so that it does not hear any more where states are.
	Ended() bool
	Router
}

// Router says where the states of tasks are.
type Router interface {
	// Owner returns the endpoint of the worker that runs a task, and whether that is this one; false: nobody is known to.
	Owner(partition.TaskID) (endpoint string, self, ok bool)
	// Standbys returns the endpoints of those that hold a copy.
	Standbys(partition.TaskID) []string
}

// Application is what the workers of an application have in common.
type Application struct {
	Incarnation int
	Tasks       map[int32]int32 // by sub-topology, their number
	// Topic gives the name on the cluster of a topic of the topology.
	Topic func(topic string, internal bool) string
}

// Limits bound what queries may take.
type Limits struct {
	Timeout    time.Duration // of an answer
	Concurrent int           // queries that are answered at a time, waiting ones included; as many again for other workers
	MaxRows    int           // of an answer
	MaxBytes   int64         // of an answer
}

// Options make a Service.
type Options struct {
	Topology *topology.Topology
	Worker   Worker
	Peers    *api.Peers // nil: no other worker is asked
	Limits   Limits
	Now      func() time.Time
}

// Service answers queries: from the state of this worker, or by asking the one that has it.
type Service struct {
	catalog catalog
	worker  Worker
	peers   *peers
	limits  Limits
	now     func() time.Time

	own, forwarded chan struct{} // slots of queries: of callers, and of other workers
	reading        chan struct{} // slots of those that are read from the disk
}

// readers is how many queries read at a time; others wait. They take the processor from the lanes.
const readers = 8

// New makes a service. Nothing runs before it is asked.
func New(o Options) *Service {
	return &Service{
		catalog: newCatalog(o.Topology), worker: o.Worker, peers: newPeers(o.Peers), limits: o.Limits, now: o.Now,
		own: make(chan struct{}, o.Limits.Concurrent), forwarded: make(chan struct{}, o.Limits.Concurrent), reading: make(chan struct{}, readers),
	}
}

// Stores lists the stores that can be asked.
func (s *Service) Stores() []Described {
	var tasks map[int32]int32
	if app := s.worker.Application(); app != nil {
		tasks = app.Tasks
	}
	return s.catalog.describe(tasks)
}

// Do answers a query. Errors are problems, see api.Problem; those with a time in Retry may not come again.
func (s *Service) Do(ctx context.Context, q Query) (*Answer, error) {
	st, err := s.catalog.find(q.Store)
	if err != nil {
		return nil, err
	}
	q.store = st
	if err := q.check(); err != nil {
		return nil, err
	}
	return s.answer(ctx, &q, false)
}

// answer answers a query that is checked. A forwarded one is answered from here or not at all.
func (s *Service) answer(ctx context.Context, q *Query, forwarded bool) (*Answer, error) {
	slots := s.own
	if forwarded {
		slots = s.forwarded
	}
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	default:
		p := api.Problemf(http.StatusTooManyRequests, codeBusy, "%d queries are being answered or wait, which is query.max-concurrent", cap(slots))
		p.Retry = time.Second
		return nil, p
	}
	if q.Timeout = cmp.Or(q.Timeout, s.limits.Timeout); q.Timeout > s.limits.Timeout {
		q.Timeout = s.limits.Timeout
	}
	if q.Limit = cmp.Or(q.Limit, s.limits.MaxRows); q.Limit > s.limits.MaxRows {
		q.Limit = s.limits.MaxRows
	}
	ctx, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	app := s.worker.Application()
	for attempt := 0; app == nil; attempt++ {
		if !pause(ctx, attempt) {
			return nil, unavailable(codeMoving, "within "+q.Timeout.String()+" the worker has not found out what tasks the application has: it is starting")
		}
		app = s.worker.Application()
	}
	if err := q.Min.fits(q.store, app.Incarnation); err != nil {
		return nil, err
	}
	tasks := app.Tasks[q.store.sub.ID]
	if q.Task != nil && q.Task.Partition >= tasks {
		return nil, api.Problemf(http.StatusConflict, codeNoTask, "there is no task %v: sub-topology %d has %d", *q.Task, q.store.sub.ID, tasks)
	}
	if q.Key == nil {
		return s.scan(ctx, q, tasks, forwarded)
	}
	a, err := s.ask(ctx, q, s.taskOf(q, tasks), forwarded)
	if err != nil {
		return nil, err
	}
	a.finish(a.Task)
	return a, nil
}

// taskOf is the task that holds the key of a query.
func (s *Service) taskOf(q *Query, tasks int32) partition.TaskID {
	switch {
	case q.Task != nil:
		return *q.Task
	case q.store.Kind == topology.BroadcastStore:
		return s.anyTask(q.store, tasks)
	}
	return q.store.home(q.Key, tasks)
}

// anyTask is one of those that all have the same: one of this worker if there is one.
func (s *Service) anyTask(st *store, tasks int32) partition.TaskID {
	for p := range tasks {
		id := partition.TaskID{SubTopology: st.sub.ID, Partition: p}
		if held, ok := s.worker.State(id); ok && held.Role == Owner {
			return id
		}
	}
	return partition.TaskID{SubTopology: st.sub.ID}
}

// scan answers from one task after the other until the page is full.
func (s *Service) scan(ctx context.Context, q *Query, tasks int32, forwarded bool) (*Answer, error) {
	whole := &Answer{Store: q.store.Name, Parts: []Part{}, epochs: map[partition.TaskID]uint64{}}
	one := q.Task != nil
	first := partition.TaskID{SubTopology: q.store.sub.ID}
	switch {
	case one:
		first = *q.Task
	case q.store.Kind == topology.BroadcastStore:
		first, one = s.anyTask(q.store, tasks), true
	}
	if q.Page != "" {
		first = q.begin
	}
	for id := first; id.Partition < tasks; id.Partition++ {
		left := q.Limit - len(whole.Rows)
		if left == 0 || whole.size() >= s.limits.MaxBytes {
			whole.Next = cmp.Or(whole.Next, pageOf(id, nil))
			break
		}
		part := *q
		part.Limit, part.Task, part.Page, part.after = left, &id, "", nil
		if id == q.begin && q.Page != "" {
			part.Page, part.begin, part.after = q.Page, id, q.after
		}
		a, err := s.ask(ctx, &part, id, forwarded)
		if err != nil {
			return nil, err
		}
		a.finish(id)
		whole.join(a, id)
		if a.Next != "" || one {
			whole.Next = a.Next
			break
		}
	}
	app := s.worker.Application()
	whole.Token = token(app.Incarnation, whole.epochs)
	return whole, nil
}

// join adds the rows of one task.
func (a *Answer) join(part *Answer, id partition.TaskID) {
	a.Rows = append(a.Rows, part.Rows...)
	from := part.Parts
	if from == nil {
		from = []Part{part.Part}
	}
	a.Parts = append(a.Parts, from...)
	for _, p := range from {
		a.epochs[p.Task] = p.Position.Epoch
	}
}

// finish makes the page that follows.
func (a *Answer) finish(id partition.TaskID) {
	if a.more {
		a.Next = pageOf(id, a.last)
	}
}

// ask gets the answer of one task: from here, from its owner, or if the query allows it from a standby. It goes on, since
// the task may be on its way to another worker, until the time is up.
func (s *Service) ask(ctx context.Context, q *Query, id partition.TaskID, forwarded bool) (*Answer, error) {
	if forwarded {
		return s.here(ctx, q, id, q.Stale)
	}
	var told error // the last problem that is about more than where the task is
	for attempt := 0; ; attempt++ {
		a, err := s.here(ctx, q, id, false)
		if err == nil || !passes(err) {
			return a, err
		}
		if told = worthTelling(err, told); ctx.Err() == nil {
			if a, err = s.elsewhere(ctx, q, id); err == nil || !passes(err) {
				return a, err
			}
			told = worthTelling(err, told)
		}
		if s.worker.Ended() {
			return nil, unavailable(codeEnding, "the worker ends and does not know any more where task "+id.String()+" is: ask another one")
		}
		if !pause(ctx, attempt) {
			return nil, s.timedOut(ctx, q, id, told)
		}
	}
}

// worthTelling chooses between an error and one of before.
func worthTelling(err, before error) error {
	var p *api.Problem
	if errors.As(err, &p) && p.Code != codeNotHere && p.Code != codeMoving {
		return p
	}
	return before
}

// timedOut says what was found by the end of the query's time.
func (s *Service) timedOut(ctx context.Context, q *Query, id partition.TaskID, told error) error {
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err // the caller has gone
	}
	if told != nil {
		return told
	}
	return unavailable(codeMoving, "within "+q.Timeout.String()+" no worker had the state of task "+id.String()+": it is being moved or restored")
}

// passes says whether an error is one that goes away by itself.
func passes(err error) bool {
	var p *api.Problem
	if errors.As(err, &p) {
		return p.Retry > 0
	}
	return errors.Is(err, errNowhere) || errors.Is(err, errUnreachable)
}

// errNowhere says that no worker is known to have the state.
var errNowhere = errors.New("no worker is known to have the state")

// here answers from the state of this worker. It waits for the position that the query wants.
func (s *Service) here(ctx context.Context, q *Query, id partition.TaskID, standby bool) (*Answer, error) {
	for {
		st, ok := s.worker.State(id)
		if !ok || st.Role == Standby && !standby {
			return nil, notHere(id, st.Role)
		}
		if st.Role == Standby && q.MaxStale > 0 && st.Behind().For > q.MaxStale {
			return nil, unavailable(codeStale, "the standby of task "+id.String()+" is behind by more than max-staleness")
		}
		changed := st.DB.Changed()
		a, err := s.read(ctx, q, id, st)
		switch {
		case errors.Is(err, statestore.ErrClosed):
			return nil, notHere(id, "")
		case !errors.Is(err, errLater):
			return a, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, behind(q, a)
		}
	}
}

func notHere(id partition.TaskID, role Role) error {
	p := api.Problemf(http.StatusMisdirectedRequest, codeNotHere, "this worker does not have task %v: it has been moved, or is being moved or restored", id)
	if role == Standby {
		p.Detail = "this worker has task " + id.String() + " as a standby, and the query does not allow a stale answer: stale=allow would"
	}
	p.Retry = time.Second
	return p
}

// behind says how far the state had come when the time was up.
func behind(q *Query, a *Answer) error {
	p := unavailable(codeBehind, "within "+q.Timeout.String()+" the state of task "+a.Task.String()+" has not reached min-position")
	p.More = map[string]any{"task": a.Task, "worker": a.Worker, "role": a.Role, "position": a.Position}
	return p
}

// elsewhere asks the owner, and if that cannot answer and the query allows it, the standbys.
func (s *Service) elsewhere(ctx context.Context, q *Query, id partition.TaskID) (*Answer, error) {
	endpoint, self, ok := s.worker.Owner(id)
	err := errNowhere
	if ok && !self && endpoint != "" {
		var a *Answer
		if a, err = s.peers.ask(ctx, endpoint, q); err == nil || !passes(err) {
			return a, err
		}
	}
	if !q.Stale {
		return nil, err
	}
	if a, serr := s.here(ctx, q, id, true); serr == nil || !passes(serr) {
		return a, serr
	}
	for _, standby := range slices.DeleteFunc(s.worker.Standbys(id), func(e string) bool { return e == "" || e == s.worker.Endpoint() }) {
		a, serr := s.peers.ask(ctx, standby, q)
		if serr == nil || !passes(serr) {
			return a, serr
		}
		err = serr
	}
	return nil, err
}

// The pauses between two looks at where a state is.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = 200 * time.Millisecond
)

// pause waits before the next attempt; false: there is no time for one.
func pause(ctx context.Context, attempt int) bool {
	t := time.NewTimer(min(lastPause, firstPause<<min(attempt, 10)))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
