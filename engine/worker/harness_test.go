// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/dir"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	kafkabroker "github.com/streamd/streamd/test/kafka"
)

// patience is how long a condition may take to come true, on a machine that does other things too.
const patience = 60 * time.Second

var appNumber atomic.Int64

// rig is one application of a test: its topics, its object store and its workers' settings.
type rig struct {
	t     *testing.T
	addr  string
	cl    *kgo.Client
	adm   *kadm.Client
	base  string // the pipeline's name and the application's id, and what topics begin with
	state string
	store objstore.Store
}

// onDev gives the test an application on the in-process broker, with an object store in memory.
func onDev(t *testing.T) *rig { return newRig(t, dev.addr(t)) }

// onBoth runs the test on the in-process broker and on a real one.
func onBoth(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Run("dev broker", func(t *testing.T) {
		t.Parallel()
		test(t, onDev(t))
	})
	t.Run("Apache Kafka", func(t *testing.T) {
		t.Parallel()
		test(t, newRig(t, kafkabroker.Shared(t).Addr()))
	})
}

func newRig(t *testing.T, addr string) *rig {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return &rig{
		t: t, addr: addr, cl: cl, adm: kadm.NewClient(cl), base: fmt.Sprintf("app%d", appNumber.Add(1)),
		state: t.TempDir(), store: objstore.NewMem(),
	}
}

// topics creates "<base>-in" and "<base>-out".
func (r *rig) topics(partitions int32) *rig {
	r.topic(in(r.base), partitions, nil)
	r.topic(out(r.base), partitions, nil)
	return r
}

func (r *rig) topic(name string, partitions int32, settings map[string]*string) {
	r.t.Helper()
	resp, err := r.adm.CreateTopic(r.t.Context(), partitions, 1, settings, name)
	if err = errors.Join(err, resp.Err); err != nil {
		r.t.Fatalf("create topic %s: %v", name, err)
	}
}

// config is one for tests: short intervals, no listeners.
func (r *rig) config() *config.Config {
	return testConfig(r.addr, r.base, r.state)
}

func testConfig(addr, app, state string) *config.Config {
	c := config.Default()
	c.Brokers, c.AppID, c.StateDir = []string{addr}, app, state
	c.HTTPAddress, c.PprofAddress = "", ""
	c.Memory, c.Lanes = 64<<20, 2
	c.CommitInterval, c.CommitFloor = 50*time.Millisecond, 5*time.Millisecond
	c.CheckpointInterval, c.CheckpointsKept = time.Hour, 2
	c.FetchMaxWait = 100 * time.Millisecond
	return c
}

// job is one worker to start.
type job struct {
	pipeline *stream.Pipeline // nil: countByKey
	config   *config.Config   // nil: the rig's
	replay   *worker.Replay
	untilEnd bool
	noStore  bool
}

// run is a worker of this process at work.
type run struct {
	t      *testing.T
	w      *worker.Worker
	logs   *logs
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

// start starts a worker. It is ended with the test.
func (r *rig) start(j job) *run {
	r.t.Helper()
	w, logs, err := r.make(j)
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &run{t: r.t, w: w, logs: logs, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.err = w.Run(ctx)
	}()
	r.t.Cleanup(func() {
		cancel()
		<-a.done
		if r.t.Failed() {
			r.t.Logf("log of a worker of %s (end: %v):\n%s", r.base, a.err, logs.tail())
		}
	})
	return a
}

func (r *rig) make(j job) (*worker.Worker, *logs, error) {
	if j.pipeline == nil {
		j.pipeline = countByKey(r.base)
	}
	if j.config == nil {
		j.config = r.config()
	}
	topology, err := j.pipeline.Build()
	if err != nil {
		r.t.Fatal(err)
	}
	logs := &logs{}
	o := worker.Options{
		Config: j.config, Topology: topology, Logger: jsonLogger(logs), UntilEnd: j.untilEnd, Replay: j.replay, Store: r.store,
	}
	if j.noStore {
		o.Store = nil
	}
	w, err := worker.New(o)
	return w, logs, err
}

// toEnd runs a bounded run with one worker and expects it to end well.
func (r *rig) toEnd(j job) *run {
	r.t.Helper()
	j.untilEnd = true
	a := r.start(j)
	a.ends()
	return a
}

// refused runs a worker that must end by itself with an error, and returns the run.
func (r *rig) refused(j job, target error, words ...string) *run {
	r.t.Helper()
	w, logs, err := r.make(j)
	a := &run{t: r.t, w: w, logs: logs, done: make(chan struct{})}
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err = w.Run(ctx); ctx.Err() != nil {
			r.t.Fatalf("the worker was not refused\n%s", logs.tail())
		}
	}
	a.err = err
	close(a.done)
	mustSay(r.t, err, target, words...)
	return a
}

// mustSay checks what an error is and which words it has.
func mustSay(t *testing.T, err, target error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if target != nil && !errors.Is(err, target) {
		t.Errorf("error %q\nis not %q", err, target)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q\ndoes not say %q", err, w)
		}
	}
}

// ends waits for the worker to end by itself, without an error.
func (a *run) ends() {
	a.t.Helper()
	if err := a.wait(); err != nil {
		a.t.Fatalf("the worker failed: %v\n%s", err, a.logs.tail())
	}
}

func (a *run) wait() error {
	a.t.Helper()
	select {
	case <-a.done:
	case <-time.After(patience):
		a.t.Fatalf("the worker has not ended\n%s", a.logs.tail())
	}
	return a.err
}

// stop asks for a drain and expects it to go well.
func (a *run) stop() {
	a.t.Helper()
	a.cancel()
	a.ends()
}

// running waits until the worker runs n tasks.
func (a *run) running(n int) {
	a.t.Helper()
	await(a.t, fmt.Sprintf("%d running tasks", n), func() bool {
		select {
		case <-a.done:
			a.t.Fatalf("the worker has ended: %v\n%s", a.err, a.logs.tail())
		default:
		}
		count := 0
		for _, s := range a.w.Status().Snapshot().Tasks {
			if s.State == "running" {
				count++
			}
		}
		return count == n
	})
}

// await polls until cond holds.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// record is one input record.
type record struct{ Key, Value string }

var words = []string{"a", "bee", "cat", "do", "eagle", "fig", "goose"}

// records makes n records, of keys and words that repeat at different rates.
func records(from, n int) []record {
	rs := make([]record, n)
	for i := range rs {
		rs[i] = record{fmt.Sprintf("key-%d", (from+i)%23), words[(from+i)*(from+i)%len(words)]}
	}
	return rs
}

// feed writes records and returns them.
func (r *rig) feed(rs []record) []record {
	r.t.Helper()
	r.produce(r.cl, rs)
	return rs
}

func (r *rig) produce(cl *kgo.Client, rs []record) {
	r.t.Helper()
	batch := make([]*kgo.Record, len(rs))
	for i, rec := range rs {
		batch[i] = &kgo.Record{Topic: in(r.base), Key: []byte(rec.Key), Value: []byte(rec.Value)}
	}
	if err := cl.ProduceSync(r.t.Context(), batch...).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

// feedTransactions writes records in transactions, every second one aborted and written again, so that markers and
// aborted records lie between and after them.
func (r *rig) feedTransactions(rs []record) {
	r.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.addr), kgo.TransactionalID("feed-"+r.base))
	if err != nil {
		r.t.Fatal(err)
	}
	defer cl.Close()
	for part := range slices.Chunk(rs, 100) {
		for _, end := range []kgo.TransactionEndTry{kgo.TryAbort, kgo.TryCommit} {
			if err := cl.BeginTransaction(); err != nil {
				r.t.Fatal(err)
			}
			r.produce(cl, part)
			if err := cl.EndTransaction(r.t.Context(), end); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

// read returns the committed records of a topic up to its last stable offset now.
func (r *rig) read(topic string) []*kgo.Record {
	r.t.Helper()
	ends, err := r.adm.ListCommittedOffsets(r.t.Context(), topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		r.t.Fatal(err)
	}
	starts, err := r.adm.ListStartOffsets(r.t.Context(), topic)
	if err = errors.Join(err, starts.Error()); err != nil {
		r.t.Fatal(err)
	}
	left, from := map[int32]int64{}, map[int32]kgo.Offset{}
	ends.Each(func(o kadm.ListedOffset) {
		if start, _ := starts.Lookup(topic, o.Partition); start.Offset < o.Offset {
			left[o.Partition], from[o.Partition] = o.Offset, kgo.NewOffset().At(start.Offset)
		}
	})
	if len(left) == 0 {
		return nil
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.addr), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords(),
		kgo.FetchMaxWait(50*time.Millisecond), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		r.t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	var got []*kgo.Record
	for len(left) > 0 {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			r.t.Fatalf("read %s, up to %v: %v", topic, left, err)
		}
		fs.EachRecord(func(rec *kgo.Record) {
			if rec.Offset+1 >= left[rec.Partition] {
				delete(left, rec.Partition)
			}
			if !rec.Attrs.IsControl() {
				got = append(got, rec)
			}
		})
	}
	return got
}

// updates returns the committed values of a topic of counts, by key in their order.
func (r *rig) updates(topic string) map[string][]int64 {
	r.t.Helper()
	got := map[string][]int64{}
	for _, rec := range r.read(topic) {
		n, err := codec.Int64.Decode(rec.Value)
		if err != nil {
			r.t.Fatal(err)
		}
		got[string(rec.Key)] = append(got[string(rec.Key)], n)
	}
	return got
}

// oracle evaluates a counting pipeline in one thread: per key the values 1, 2, … of its updates.
func oracle(rs []record, key func(record) string) map[string][]int64 {
	want := map[string][]int64{}
	for _, r := range rs {
		k := key(r)
		want[k] = append(want[k], int64(len(want[k])+1))
	}
	return want
}

func byKey(r record) string    { return r.Key }
func byWord(r record) string   { return r.Value }
func byLength(r record) string { return lengthOf(r.Value) }

// expect compares the committed output with the oracle's.
func (r *rig) expect(want map[string][]int64) {
	r.t.Helper()
	if d := cmp.Diff(want, r.updates(out(r.base))); d != "" {
		r.t.Errorf("committed output (-oracle +got):\n%s", d)
	}
}

// expectSoon waits until there are as many updates as the oracle has, then compares.
func (r *rig) expectSoon(want map[string][]int64) {
	r.t.Helper()
	total := size(want)
	await(r.t, fmt.Sprintf("%d updates", total), func() bool { return len(r.read(out(r.base))) >= total })
	r.expect(want)
}

func size(m map[string][]int64) (n int) {
	for vs := range maps.Values(m) {
		n += len(vs)
	}
	return n
}

// committed returns the offsets of an application's group.
func (r *rig) committed(app string) kadm.OffsetResponses {
	r.t.Helper()
	var offsets kadm.OffsetResponses
	await(r.t, "the offsets of group "+app, func() bool {
		var err error
		offsets, err = r.adm.FetchOffsets(r.t.Context(), app)
		return err == nil || errors.Is(err, kerr.GroupIDNotFound)
	})
	return offsets
}

// progress is the sum of the committed input offsets.
func (r *rig) progress() (n int64) {
	r.committed(r.base).Each(func(o kadm.OffsetResponse) {
		if o.Topic == in(r.base) {
			n += max(0, o.At)
		}
	})
	return n
}

func (r *rig) repo() *checkpoint.Repository { return checkpoint.NewRepository(r.store, r.base) }

// rounds returns the numbers of the complete checkpoints, newest last.
func (r *rig) rounds() (ns []int64) {
	for round, err := range r.repo().Rounds(r.t.Context(), 1) {
		if err != nil {
			r.t.Fatal(err)
		}
		if round.Complete {
			ns = append(ns, round.Number)
		}
	}
	slices.Sort(ns)
	return ns
}

// round waits until a round above n is complete and returns its number.
func (r *rig) roundAfter(n int64) (newest int64) {
	r.t.Helper()
	await(r.t, fmt.Sprintf("a complete checkpoint after %d", n), func() bool {
		if ns := r.rounds(); len(ns) > 0 {
			newest = ns[len(ns)-1]
		}
		return newest > n
	})
	return newest
}

// spec says what a process of its own is to run.
type spec struct {
	Pipeline, Base, Broker, State, Store string
	UntilEnd                             bool
	Guarantee                            config.Guarantee
	Commit, Session, Checkpoint          time.Duration
}

func (s spec) options(log *zap.Logger) (worker.Options, error) {
	c := testConfig(s.Broker, s.Base, s.State)
	c.StoreURL, c.Guarantee = s.Store, s.Guarantee
	c.CommitInterval, c.SessionTimeout, c.CheckpointInterval = s.Commit, s.Session, s.Checkpoint
	c.CommitFloor = s.Commit
	topology, err := pipelines[s.Pipeline](s.Base).Build()
	return worker.Options{Config: c, Topology: topology, Logger: log, UntilEnd: s.UntilEnd}, err
}

// process is a worker in a process of its own, which can be killed.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
	logs  *logs
	done  chan struct{}
	err   error
}

// spec is what processes of this rig run. The object store is a folder.
func (r *rig) spec(pipeline string) spec {
	return spec{
		Pipeline: pipeline, Base: r.base, Broker: r.addr, State: r.state, Guarantee: config.ExactlyOnce,
		Commit: 50 * time.Millisecond, Session: 6 * time.Second, Checkpoint: time.Hour,
	}
}

func (r *rig) launch(s spec) *process {
	r.t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		r.t.Fatal(err)
	}
	p := &process{t: r.t, logs: &logs{}, done: make(chan struct{})}
	p.cmd = exec.Command(os.Args[0])
	p.cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	p.cmd.Stderr = p.logs
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		r.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	r.t.Cleanup(func() {
		p.kill()
		if r.t.Failed() {
			r.t.Logf("log of a worker of %s (end: %v):\n%s", r.base, p.err, p.logs.tail())
		}
	})
	return p
}

// kill ends the process as kill -9 does, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

func (p *process) ends() {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatalf("the process has not ended\n%s", p.logs.tail())
	}
	if p.err != nil {
		p.t.Fatalf("the process failed: %v\n%s", p.err, p.logs.tail())
	}
}

// logs keeps what a worker has logged, as lines of JSON.
type logs struct {
	mu struct {
		sync.Mutex
		text bytes.Buffer
	}
}

// Write implements io.Writer.
func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.text.Write(p)
}

func (l *logs) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.text.String()
}

func (l *logs) tail() string {
	text := l.text()
	return text[max(0, len(text)-8000):]
}

// lines returns the log lines with this message.
func (l *logs) lines(message string) []map[string]any {
	var found []map[string]any
	for line := range strings.Lines(l.text()) {
		var m map[string]any
		if json.Unmarshal([]byte(line), &m) == nil && m["msg"] == message {
			found = append(found, m)
		}
	}
	return found
}

// sources returns where the tasks' states came from, in the order in which the tasks began to run.
func (l *logs) sources() (sources []string) {
	for _, m := range l.lines("task running") {
		sources = append(sources, fmt.Sprint(m["source"]))
	}
	return sources
}

func jsonLogger(w io.Writer) *zap.Logger {
	enc := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	return zap.New(zapcore.NewCore(enc, zapcore.Lock(zapcore.AddSync(w)), zap.DebugLevel))
}

// useFolder makes the object store a folder, so that other processes have it too, and returns its URL.
func (r *rig) useFolder() (url string) {
	r.t.Helper()
	folder := filepath.Join(r.t.TempDir(), "store")
	store, err := dir.New(folder)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = store.Close() })
	r.store = store
	return "file://" + folder
}
