// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/engine/query"
	"github.com/streamd/streamd/engine/task"
	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/partition/groupbalance"
	"github.com/streamd/streamd/statestore"
)

// Options make a Worker.
type Options struct {
	Config   *config.Config
	Topology *topology.Topology
	Logger   *zap.Logger
	// UntilEnd makes the run a bounded one: it ends, with nil, when all tasks of the application have processed
	// what the source topics held at its start.
	UntilEnd bool
	// Store, if not nil, is an opened object store to be used in place of the one that the configuration names.
	Store objstore.Store
	// Ready is called once, when the first task begins to read.
	Ready func()
	// Debug, if not nil, has tasks stop before records. It is for replays.
	Debug *Debug
}

// Worker is one process of an application. Run may be called once.
type Worker struct {
	cfg      *config.Config
	topology *topology.Topology
	untilEnd bool
	ready    func()
	debug    *Debug // nil: nobody watches
	now      func() time.Time
	listener *observer
	status   *Status
	life     atomic.Pointer[api.Life] // nil: not known yet
	drain    context.CancelFunc       // ends Run as the end of its context does
	holdings *holdings
	queries  *query.Service
	peers    *api.Peers

	// set by bootstrap, unchanged afterwards
	names       Names
	cluster     *kafka.Cluster
	store       objstore.Store
	repo        *checkpoint.Repository // nil: no object store is configured
	app         application
	user        map[string]kafka.TopicInfo         // the user's topics, as found now
	cut         checkpoint.Cut                     // that a life which is not begun yet begins from
	begins      map[partition.TopicPartition]int64 // and where it begins in users' topics
	rescales    bool                               // it may have other numbers of tasks than at the cut
	rescaled    []Rescaled
	all         map[partition.TaskID]partition.Task
	first       partition.TaskID
	owner       map[partition.TopicPartition]partition.TaskID
	subs        map[int32]*topology.SubTopology
	counts      map[string]int32 // partitions of every topic, by its name on the cluster
	repartition map[string]bool  // names on the cluster of the repartition topics
	stateLock   *statestore.DirLock
	resources   *statestore.Resources
	budget      int64 // bytes
	balancer    *groupbalance.Balancer

	// owned by the loop
	machine         *core.Machine
	tasks           map[partition.TaskID]*runningTask
	followers       map[partition.TaskID]*follower
	tookOver        time.Time                        // when a follower has become a task, the last time
	unused          map[partition.TaskID]unused      // states on the disk that are neither run nor followed
	warmSince       time.Time                        // when a follower became warm for a task that is to come here; zero: none is
	askedIn         int32                            // the generation in which a rebalance was asked for on that account
	askedAt         time.Time                        // and when
	handOverUntil   time.Time                        // zero: the worker is not handing over
	globals         map[string]operators.GlobalStore // by topic; read by the lanes
	group           *kafka.Group
	membershipNo    uint64
	generation      int32
	transactionalID string
	producer        *kafka.Producer
	consumer        *kafka.Consumer
	stopFetching    context.CancelFunc
	paused          map[partition.TopicPartition]bool // inputs that are not fetched
	epoch           epoch
	backlog         []partition.TaskID // tasks that have run out of time with records left
	commitTimer     *time.Timer
	anchorsSince    time.Time // when the first of the restored tasks began to wait for others; zero: none waits
	effects         []core.Effect
	pendingFailure  error
	aborts          int // epochs in a row that were not committed
	fence           *fence
	closing         map[partition.TaskID]chan struct{}
	seen            seenRound
	stopping        bool        // the tasks enter the last round, all of them
	named           time.Time   // when idle tasks last committed, to name their checkpoints
	early           []published // checkpoints that were stored while their tasks were being restored
	left            bool
	failure         error
	bounded         *bounded

	collector *checkpoint.Collector // the round watcher's own; nil: collection is not claimed

	// shared with the group's client
	held    atomic.Pointer[[]partition.HeldTask]
	leaving atomic.Bool

	placement atomic.Pointer[groupbalance.Table] // of the newest assignment; set by the loop, read by anybody

	// shared with the round watcher
	round          atomic.Int64 // newest round started
	haltRound      atomic.Int64 // round at which the application is to halt; 0: none
	halted         atomic.Bool  // that round is over
	completedRound int64        // the watcher's own
	completes      atomic.Bool  // this worker owns the first task
	follows        atomic.Bool  // some task is idle and waits for the others' event time

	membership chan kafka.MembershipEvent
	restored   chan restoreResult
	fetched    chan fetch
	changed    chan fetch // of global tables
	observed   chan observation
	woken      chan struct{} // calls of some task have ended
	published  chan published
	returned   chan *runningTask // by lanes that were stuck
	abandoned  atomic.Bool       // a lane has not come back at the end
	lastRound  chan error        // a round for the last checkpoints was started, or could not be
	progress   atomic.Int64
	routines   sync.WaitGroup
	hard       context.Context // ends when nothing may be waited for any more
	cease      context.CancelCauseFunc
}

// runningTask is one task of this worker, from its assignment until it is closed.
type runningTask struct {
	id                partition.TaskID
	info              partition.Task
	sub               *topology.SubTopology
	inputs            []partition.TopicPartition // in the order of sub.Sources
	task              *task.Task
	db                *statestore.DB
	outbox            *kafka.Outbox
	committed         core.Metadata
	committedPosition task.Position
	restore           restoreStats
	followed          bool               // its state comes from a follower
	cancel            context.CancelFunc // of the restore in progress
	restoreDone       chan struct{}

	// processing
	lane    chan struct{} // closed once the lane of the last turn has come back; nil: none had it
	slice   int           // records that a lane processes between two looks at the clock
	more    bool          // the last turn has left records
	paused  bool          // nothing more is fetched for now
	alone   bool          // it has epochs of its own
	overdue int           // deadlines missed in a row

	// of the epoch in progress
	next         core.Metadata
	nextPosition task.Position
	detail       []byte
	appended     *kafka.Appended

	// checkpoints
	begins       bool                       // it reads a topic of the user, so that it enters rounds without being told
	entered      bool                       // it has entered a round by its last commit
	halted       bool                       // it stands at its cut of a halt and does not go on
	announced    map[string]map[int32]int64 // by topic and partition, the marker of the round that was entered last
	barredAt     time.Time                  // when a lane has come to a barrier in the epoch
	pause        time.Duration              // from there to the commit
	storing      int                        // checkpoints that are being stored
	cancelCut    context.CancelFunc
	cutDone      chan struct{} // closed when its files are frozen
	durableRound int64         // newest round whose manifest is in the store
	durableAt    time.Time
	basis        basis               // of the next checkpoint
	stored       []checkpoint.Stored // of this ownership, that recovery may fall back to, oldest first
	untrimmed    bool
	trimming     atomic.Bool

	changelogBytes int64
	cutBytes       int64 // of changelogBytes, what the newest stored checkpoint holds
	lags           map[partition.TopicPartition]int64

	debug *debugged // nil: nobody watches
}

// New checks the options. Nothing starts before Run.
func New(o Options) (*Worker, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	cfg := *o.Config
	if cfg.AppID == "" {
		cfg.AppID = o.Topology.App
	}
	if cfg.Lanes == 0 {
		cfg.Lanes = defaultLanes()
	}
	if o.Debug != nil {
		cfg.Lanes = 1
	}
	w := &Worker{
		cfg: &cfg, topology: o.Topology, untilEnd: o.UntilEnd, ready: o.Ready, debug: o.Debug, store: o.Store, now: time.Now,
		machine:     core.New(core.Options{AtLeastOnce: cfg.Guarantee == config.AtLeastOnce}),
		tasks:       map[partition.TaskID]*runningTask{},
		followers:   map[partition.TaskID]*follower{},
		unused:      map[partition.TaskID]unused{},
		closing:     map[partition.TaskID]chan struct{}{},
		commitTimer: time.NewTimer(time.Hour),
		membership:  make(chan kafka.MembershipEvent, 64),
		restored:    make(chan restoreResult, 16),
		fetched:     make(chan fetch, 1),
		changed:     make(chan fetch),
		observed:    make(chan observation),
		woken:       make(chan struct{}, 1),
		paused:      map[partition.TopicPartition]bool{},
		published:   make(chan published, 16),
		returned:    make(chan *runningTask),
		lastRound:   make(chan error, 1),
	}
	w.commitTimer.Stop()
	w.held.Store(&[]partition.HeldTask{})
	w.placement.Store(&groupbalance.Table{})
	w.hard, w.cease = context.WithCancelCause(context.Background())
	w.status = newStatus(cfg.AppID, w)
	w.listener = newObserver(o.Logger, w)
	return w, w.newQueries()
}

func (w *Worker) atLeastOnce() bool { return w.cfg.Guarantee == config.AtLeastOnce }

// errHalted ends what still waits when Run returns.
var errHalted = errors.New("the worker has ended")

// Run joins the application and works until ctx ends (a clean drain: nil), the bounded run is finished (nil), or
// something fails that does not heal. On return nothing of the worker runs any more, but for user code that has not come
// back (ErrStuck): the process should end.
func (w *Worker) Run(ctx context.Context) error {
	defer func() {
		w.cease(errHalted)
		w.routines.Wait()
		w.release()
		w.peers.CloseIdleConnections()
	}()
	ctx, w.drain = context.WithCancel(ctx)
	defer w.drain()
	serve, err := w.serve()
	if err != nil {
		return err
	}
	defer serve()
	if err := w.bootstrap(ctx); err != nil {
		return unlessInterrupted(ctx, err)
	}
	w.holdings.known()
	if err := w.startGlobals(ctx); err != nil {
		return unlessInterrupted(ctx, err)
	}
	if w.untilEnd {
		if err := w.beginBounded(ctx); err != nil {
			return unlessInterrupted(ctx, err)
		}
		w.routines.Go(func() { w.watchEnd(ctx, w.drain) })
	}
	err = w.join()
	if err == nil {
		w.routines.Go(w.watchRounds)
		w.routines.Go(w.levelFollowers)
		if w.topology.Timed() {
			w.routines.Go(func() { w.observe(w.hard) })
		}
		err = w.loop(ctx)
	}
	w.depart()
	if w.abandoned.Load() {
		return fmt.Errorf("end the worker: %w", errors.Join(ErrStuck, err))
	}
	return err
}

// unlessInterrupted gives nil for an error that only says that ctx has ended. Nothing was begun by then that would
// have to be committed.
func unlessInterrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx))) {
		return nil
	}
	return err
}

// join takes a transactional id and enters the group.
func (w *Worker) join() error {
	w.publishHeld()
	w.membershipNo++
	w.transactionalID = w.names.TransactionalID(rand.Text())
	p, err := w.openProducer()
	if err != nil {
		return err
	}
	w.useProducer(p)
	if err := w.replaceConsumer(); err != nil {
		return err
	}
	w.balancer = groupbalance.New(w.balancerConfig())
	w.group, err = kafka.Join(kafka.GroupOptions{
		Config: w.cfg, Group: w.names.App, Topics: w.sourceTopics(), Balancer: w.balancer,
		Tasks: w.tasksOf, Events: w.membership, Membership: w.membershipNo,
	})
	if err != nil {
		return err
	}
	w.listener.joined(w.transactionalID)
	return nil
}

// tasksOf returns the tasks to which the partitions of an assignment belong.
func (w *Worker) tasksOf(assignment map[string][]int32) []partition.TaskID {
	seen := map[partition.TaskID]bool{}
	var ids []partition.TaskID
	for topic, ps := range assignment {
		for _, p := range ps {
			id, ok := w.owner[partition.TopicPartition{Topic: topic, Partition: p}]
			if ok && !seen[id] {
				seen[id] = true
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// rejoin begins a new membership after the worker was fenced.
func (w *Worker) rejoin() core.Event {
	w.listener.fenced(w.transactionalID)
	w.departGroup()
	w.producer.Close()
	if err := w.join(); err != nil {
		return core.TaskFailed{Err: fmt.Errorf("rejoin after being fenced: %w", err)}
	}
	return nil
}

func (w *Worker) leave(err error) {
	w.left, w.failure = true, err
}

// depart ends what join has begun, also where it has failed half-way.
func (w *Worker) depart() {
	w.holdings.ended.Store(true)
	w.closeConsumer()
	for id := range w.followers {
		w.stopFollower(id)
	}
	if w.group != nil {
		w.departGroup()
	}
	if w.producer != nil {
		w.producer.Close()
	}
	// A lane that is stuck must not hold the process.
	deadline := time.AfterFunc(w.cfg.DrainTimeout, func() { w.cease(errDrain) })
	defer deadline.Stop()
	for _, done := range w.closing {
		<-done
	}
}

// departGroup tells the group that this member goes. A broker that does not answer must not hold the process.
func (w *Worker) departGroup() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := w.group.Leave(ctx); err != nil {
		w.listener.retrying("leave the group", err)
	}
}

// release gives back what bootstrap has taken, also where it has failed half-way.
func (w *Worker) release() {
	if w.cluster != nil {
		w.cluster.Close()
	}
	if w.abandoned.Load() {
		return // the state is still in use
	}
	if w.resources != nil {
		w.resources.Close()
	}
	if w.stateLock != nil {
		if err := w.stateLock.Close(); err != nil {
			w.listener.background("give back the state folder", err)
		}
	}
}
