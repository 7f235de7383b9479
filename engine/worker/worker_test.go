// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/devbroker"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/partition"
)

const partitions = 4

// rig is a broker in the process, and folders.
type rig struct {
	t      *testing.T
	broker *devbroker.Broker
	cl     *kgo.Client
	dir    string
	logs   logBuffer // of all workers of a test
}

// logBuffer keeps log lines, which may be read while workers write them.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements zapcore.WriteSyncer.
func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// Sync implements zapcore.WriteSyncer.
func (*logBuffer) Sync() error { return nil }

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func newRig(t *testing.T, topics ...string) *rig {
	t.Helper()
	b, err := devbroker.Start(devbroker.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	r := &rig{t: t, broker: b, cl: cl, dir: t.TempDir()}
	if err := b.CreateTopics(partitions, topics...); err != nil {
		t.Fatal(err)
	}
	return r
}

// feed writes n records over keys 0 to 9: the value of each is its number within its key.
func (r *rig) feed(topic string, from, n int) {
	r.t.Helper()
	var records []*kgo.Record
	for i := from; i < from+n; i++ {
		key := binary.BigEndian.AppendUint64(nil, uint64(i%10))
		records = append(records, &kgo.Record{Topic: topic, Partition: partition.ForKey(key, partitions), Key: key, Value: binary.BigEndian.AppendUint64(nil, uint64(i/10+1))})
	}
	r.put(records...)
}

func (r *rig) put(records ...*kgo.Record) {
	r.t.Helper()
	if err := r.cl.ProduceSync(context.Background(), records...).FirstErr(); err != nil {
		r.t.Fatal(err)
	}
}

// config of worker number i.
func (r *rig) config(app string, i int) *config.Config {
	cfg := config.Default()
	cfg.AppID, cfg.Brokers = app, []string{r.broker.Addr()}
	cfg.StateDir = filepath.Join(r.dir, fmt.Sprint("state-", i))
	cfg.StoreURL = "file://" + filepath.Join(r.dir, "store")
	cfg.HTTPAddress, cfg.PprofAddress = "", ""
	cfg.Memory, cfg.CheckpointInterval, cfg.CommitFloor = 256<<20, 100*time.Millisecond, time.Millisecond
	return cfg
}

// run runs one worker of p to the end of the input; edit may change its options.
func (r *rig) run(p *stream.Pipeline, i int, edit func(*worker.Options)) error {
	t, err := p.Build()
	if err != nil {
		r.t.Fatal(err)
	}
	log := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), &r.logs, zap.DebugLevel))
	o := worker.Options{Config: r.config(p.Name(), i), Topology: t, Logger: log, UntilEnd: true}
	if edit != nil {
		edit(&o)
	}
	w, err := worker.New(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := w.Run(ctx); err != nil {
		return err
	}
	return ctx.Err()
}

// read returns the committed values of a topic by key, as numbers, in order.
func (r *rig) read(topic string) map[uint64][]uint64 {
	r.t.Helper()
	got := map[uint64][]uint64{}
	for _, rec := range r.records(topic) {
		k := binary.BigEndian.Uint64(rec.Key)
		got[k] = append(got[k], binary.BigEndian.Uint64(rec.Value)&^(1<<63))
	}
	return got
}

func (r *rig) records(topic string) []*kgo.Record {
	r.t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(r.broker.Addr()), kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	if err != nil {
		r.t.Fatal(err)
	}
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListCommittedOffsets(context.Background(), topic)
	if err != nil {
		r.t.Fatal(err)
	}
	open := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			open[o.Partition] = o.Offset
		}
	})
	var all []*kgo.Record
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for len(open) > 0 && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(rec *kgo.Record) {
			if !rec.Attrs.IsControl() {
				all = append(all, rec)
			}
			if rec.Offset+1 >= open[rec.Partition] {
				delete(open, rec.Partition)
			}
		})
	}
	if len(open) > 0 {
		r.t.Fatalf("%s was not read to its end: %v", topic, open)
	}
	return all
}

// upTo is 1 … n for each of the ten keys.
func upTo(n int) map[uint64][]uint64 {
	want := map[uint64][]uint64{}
	for k := range uint64(10) {
		for i := range n {
			want[k] = append(want[k], uint64(i+1))
		}
	}
	return want
}

func counting(app string, opts ...stream.SourceOption) *stream.Pipeline {
	p := stream.NewPipeline(app)
	stream.From(p, "in", codec.Uint64, codec.Uint64, opts...).Group().Count("count").Stream().To("out")
	return p
}

// twice counts, sends every count to where its key lives once more, and counts again.
func twice(app string) *stream.Pipeline {
	p := stream.NewPipeline(app)
	stream.From(p, "in", codec.Uint64, codec.Uint64).
		Group().Count("first").Stream().
		MapWithKey(func(k uint64, _ int64) uint64 { return k }).
		KeyBy("again", func(k uint64) uint64 { return k }, codec.Uint64).
		Group().Count("second").Stream().To("out")
	return p
}

func TestEveryUpdateOfEveryStageIsCommittedOnceAndInOrder(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 3} {
		for name, build := range map[string]func(string) *stream.Pipeline{"one stage": func(app string) *stream.Pipeline { return counting(app) }, "two stages": twice} {
			t.Run(fmt.Sprint(workers, " workers, ", name), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, "in", "out")
				r.feed("in", 0, 5000)
				var group errgroup.Group
				for i := range workers {
					group.Go(func() error { return r.run(build("app"), i, nil) })
				}
				if err := group.Wait(); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(upTo(500), r.read("out")); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

func TestAtLeastOnceLosesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	r.feed("in", 0, 1000)
	if err := r.run(counting("app"), 0, func(o *worker.Options) { o.Config.Guarantee = config.AtLeastOnce }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(upTo(100), r.read("out")); diff != "" {
		t.Error(diff)
	}
}

func TestARunGoesOnWhereTheLastOneEndedWithOrWithoutItsDisk(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string][]string{"disk kept": nil, "disk lost": {"state-0"}, "no object store": nil, "no object store, disk lost": {"state-0"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "in", "out")
			edit := func(o *worker.Options) {
				if strings.HasPrefix(name, "no object store") {
					o.Config.StoreURL = ""
				}
			}
			for round := range 3 {
				r.feed("in", 1000*round, 1000)
				if err := r.run(counting("app"), 0, edit); err != nil {
					t.Fatal(err)
				}
				for _, dir := range lose {
					if err := os.RemoveAll(filepath.Join(r.dir, dir)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if diff := cmp.Diff(upTo(300), r.read("out")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAnUndecodableRecordGoesWhereThePolicySays(t *testing.T) {
	t.Parallel()
	for name, policy := range map[string]stream.SourceOption{"fail": stream.OnDecodeError(stream.Fail), "skip": stream.OnDecodeError(stream.Skip), "dead letter": stream.OnDecodeError(stream.DeadLetter("dead"))} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "in", "out", "dead")
			r.put(&kgo.Record{Topic: "in", Partition: 1, Key: binary.BigEndian.AppendUint64(nil, 3), Value: []byte("canary")})
			r.feed("in", 0, 100)
			err := r.run(counting("app", policy), 0, nil)
			if strings.Contains(r.logs.String(), "canary") || err != nil && strings.Contains(err.Error(), "canary") {
				t.Error("the record's content is in the log or the error")
			}
			if name == "fail" {
				if err == nil || !strings.Contains(err.Error(), "in/1 offset 0") {
					t.Errorf("got %v, expected an error that names the record", err)
				}
				if got := r.records("out"); len(got) > 0 {
					t.Errorf("%d records of the failed epochs are committed", len(got))
				}
				err = r.run(counting("app", stream.OnDecodeError(stream.Skip)), 0, nil) // the operator decides to go on
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(upTo(10), r.read("out")); diff != "" {
				t.Error(diff)
			}
			if dead := r.records("dead"); name == "dead letter" && (len(dead) != 1 || string(dead[0].Value) != "canary") {
				t.Errorf("%d dead letters", len(dead))
			}
		})
	}
}

func TestMisuseIsRefusedInWords(t *testing.T) {
	t.Parallel()
	panics := stream.NewPipeline("app")
	stream.From(panics, "in", codec.Uint64, codec.Uint64).Map(func(uint64) uint64 { panic("canary") }).To("out")
	other := stream.NewPipeline("app")
	stream.From(other, "in", codec.Uint64, codec.Uint64).Group().Count("renamed").Stream().To("out")
	elsewhere := stream.NewPipeline("app")
	stream.From(elsewhere, "nowhere", codec.Uint64, codec.Uint64).To("out")
	for name, c := range map[string]struct {
		p     *stream.Pipeline
		first *stream.Pipeline
		edit  func(*worker.Options)
		want  error
		says  string
	}{
		"an unknown topic":         {p: elsewhere, want: kafka.ErrUnknownTopic, says: "nowhere"},
		"a panic of user code":     {p: panics, says: "panicked on in/"},
		"state without an owner":   {p: other, first: counting("app"), want: worker.ErrTopologyChanged, says: `"count"`},
		"an address for everybody": {p: counting("app"), edit: func(o *worker.Options) { o.Config.HTTPAddress = "0.0.0.0:0" }, says: "--insecure"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "in", "out")
			r.feed("in", 0, 100)
			if c.first != nil {
				if err := r.run(c.first, 0, nil); err != nil {
					t.Fatal(err)
				}
			}
			err := r.run(c.p, 0, c.edit)
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, expected %v and %q", err, c.want, c.says)
			}
			if err != nil && strings.Contains(err.Error(), "canary") {
				t.Error("the error shows user data")
			}
		})
	}
}
