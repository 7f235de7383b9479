// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/partition/groupbalance"
)

// Membership events carry the number of their membership, so that a late one of an earlier membership can be
// told from one of the present.
type MembershipEvent struct {
	Membership uint64
	Event      core.Event
}

// GroupOptions describe a membership.
type GroupOptions struct {
	Config     *config.Config
	Group      string
	Topics     []string // all source topics, internal ones included
	Balancer   *groupbalance.Balancer
	Tasks      func(map[string][]int32) []partition.TaskID // the tasks of an assignment
	Events     chan<- MembershipEvent
	Membership uint64
}

// Group is one membership of the consumer group. It only assigns: it fetches and commits nothing. Callbacks of
// the client turn into events; a revocation waits, heartbeats going on, until Ack.
type Group struct {
	opts   GroupOptions
	cl     *kgo.Client
	cancel context.CancelFunc
	ctx    context.Context

	mu struct {
		sync.Mutex
		next uint64
		acks map[uint64]chan struct{}
	}
}

// Join enters the group. Events begin to flow at once.
func Join(opts GroupOptions) (*Group, error) {
	base, err := ClientOptions(opts.Config)
	if err != nil {
		return nil, err
	}
	g := &Group{opts: opts}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.mu.acks = map[uint64]chan struct{}{}
	cfg := opts.Config
	cl, err := kgo.NewClient(append(base,
		kgo.ConsumerGroup(opts.Group),
		kgo.ConsumeTopics(opts.Topics...),
		kgo.Balancers(opts.Balancer),
		kgo.DisableAutoCommit(),
		kgo.SessionTimeout(cfg.SessionTimeout),
		kgo.HeartbeatInterval(min(cfg.HeartbeatInterval, cfg.SessionTimeout/4)),
		kgo.RebalanceTimeout(cfg.RebalanceTimeout),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
		kgo.FetchMaxBytes(1), kgo.FetchMaxPartitionBytes(1),
		kgo.OnPartitionsAssigned(g.assigned),
		kgo.OnPartitionsRevoked(g.revoked),
		kgo.OnPartitionsLost(g.lost),
		kgo.WithHooks(g),
	)...)
	if err != nil {
		g.cancel()
		return nil, fmt.Errorf("join group %s: %w", opts.Group, err)
	}
	g.cl = cl
	cl.PauseFetchTopics(opts.Topics...)
	return g, nil
}

// assigned runs in the client's goroutine at the end of each rebalance, whether or not it brought anything.
func (g *Group) assigned(_ context.Context, cl *kgo.Client, added map[string][]int32) {
	id, generation := cl.GroupMetadata()
	tasks := g.opts.Tasks(added)
	slices.SortFunc(tasks, partition.TaskID.Compare)
	g.send(core.Assigned{MemberID: id, Generation: generation, Added: tasks, Live: g.opts.Balancer.Table().Live()})
}

func (g *Group) revoked(_ context.Context, cl *kgo.Client, lost map[string][]int32) {
	tasks := g.opts.Tasks(lost)
	if len(tasks) == 0 {
		return
	}
	_, generation := cl.GroupMetadata()
	g.mu.Lock()
	g.mu.next++
	ack, done := g.mu.next, make(chan struct{})
	g.mu.acks[ack] = done
	g.mu.Unlock()
	if !g.send(core.Revoked{Generation: generation, Tasks: tasks, Ack: ack}) {
		return
	}
	// The group would wait for the whole rebalance timeout; a worker that cannot end its epoch in half of it is
	// stuck. The machine aborts that epoch when it sees the generation that follows.
	t := time.NewTimer(g.opts.Config.RebalanceTimeout / 2)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	case <-g.ctx.Done():
	}
}

func (g *Group) lost(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	if tasks := g.opts.Tasks(lost); len(tasks) > 0 {
		g.send(core.Lost{Tasks: tasks})
	}
}

func (g *Group) send(ev core.Event) bool {
	select {
	case g.opts.Events <- MembershipEvent{g.opts.Membership, ev}:
		return true
	case <-g.ctx.Done():
		return false
	}
}

// Ack lets the rebalance go on that waits for a revocation.
func (g *Group) Ack(ack uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if done := g.mu.acks[ack]; done != nil {
		close(done)
		delete(g.mu.acks, ack)
	}
}

// Rebalance asks the group for a new assignment.
func (g *Group) Rebalance() { g.cl.ForceRebalance() }

// OnGroupManageError implements kgo.HookGroupManageError. The client joins again after any error; one that says that we
// may not is final.
func (g *Group) OnGroupManageError(err error) {
	if IsDenied(err) {
		err = fmt.Errorf("join group %s: %w", g.opts.Group, err)
		g.send(core.TaskFailed{Err: denied(err, onGroup(Read, g.opts.Group))})
	}
}

// Leave tells the group that this member goes, so that its tasks move at once, and closes the client.
func (g *Group) Leave(ctx context.Context) error {
	g.cancel()
	err := g.cl.LeaveGroupContext(ctx)
	g.cl.CloseAllowingRebalance()
	if err != nil {
		return fmt.Errorf("leave group %s: %w", g.opts.Group, err)
	}
	return nil
}

// Abandon closes the client without a word to the group, as a crash would. For tests.
func (g *Group) Abandon() {
	g.cancel()
	g.cl.CloseAllowingRebalance()
}
