// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"bytes"
	"context"
	"encoding/json/v2"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/dir"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// Each test breaks one thing that an operator, another program or a disk can break, and expects a refusal in words.
// Where the fault can be mended, it is, and nothing may be lost.

// refused is what a refusal must be and say.
func refused(t *testing.T, err, want error, says ...string) {
	t.Helper()
	if err == nil || want != nil && !errors.Is(err, want) {
		t.Fatalf("got %v, expected %v", err, want)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("missing %q in: %v", s, err)
		}
	}
}

// counted runs the counting pipeline over what is there, and expects n updates of each key in the end.
func (r *rig) counted(n int, edit func(*worker.Options)) {
	r.t.Helper()
	if err := r.run(counting("app"), 0, edit); err != nil {
		r.t.Fatal(err)
	}
	if diff := cmp.Diff(upTo(n), r.read("out")); diff != "" {
		r.t.Error(diff)
	}
}

func TestARecordThatTheBrokerDoesNotTakeIsAttributedAndCommitsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	r.feed("in", 0, 100)
	large := bytes.Repeat([]byte("canary"), 1<<18)
	rand.NewChaCha8([32]byte{}).Read(large[100:]) // cannot be compressed
	r.put(&kgo.Record{Topic: "in", Partition: 1, Key: []byte("large"), Value: []byte("grow")})
	growing := func(limit int) *stream.Pipeline {
		p := stream.NewPipeline("app")
		stream.From(p, "in", codec.Bytes, codec.Bytes).Map(func(v []byte) []byte {
			if string(v) == "grow" {
				v = large
			}
			return v[:min(len(v), limit)]
		}).To("out")
		return p
	}
	err := r.run(growing(len(large)), 0, func(o *worker.Options) { o.Config.ProduceBatchBytes = 4 << 20 })
	refused(t, err, kerr.MessageTooLarge, "task 0_1", `step "to:out"`, "to out/", "produce.batch-bytes")
	if strings.Contains(err.Error()+r.logs.String(), "canarycanary") {
		t.Error("the record's content is in the log or the error")
	}
	if err := r.run(growing(10), 0, nil); err != nil {
		t.Fatal(err)
	}
	if got := len(r.records("out")); got != 101 {
		t.Errorf("%d records came out of 101", got)
	}
}

func TestARecordThatIsTooLargeToBeSentFollowsThePolicy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		policy stream.ErrorPolicy
		bad    int
	}{"skip": {stream.Skip, 0}, "dead letter": {stream.DeadLetter("bad"), 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "in", "out", "bad")
			r.feed("in", 0, 100)
			r.put(&kgo.Record{Topic: "in", Partition: 1, Key: []byte("large"), Value: []byte("grow")})
			p := stream.NewPipeline("app")
			stream.From(p, "in", codec.Bytes, codec.Bytes).
				Map(func(v []byte) []byte {
					if string(v) == "grow" {
						return make([]byte, 2<<20)
					}
					return v
				}).
				OnError(c.policy, stream.InPhase(operators.PhaseProduce)).
				To("out")
			if err := r.run(p, 0, nil); err != nil {
				t.Fatal(err)
			}
			if got := len(r.records("out")); got != 100 {
				t.Errorf("%d records came out, expected the 100 that can be sent", got)
			}
			if got := len(r.records("bad")); got != c.bad {
				t.Errorf("%d dead letters, expected %d", got, c.bad)
			}
		})
	}
}

func TestARecordThatIsTooLargeToBeSentNamesTheStepAndTheLimit(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	r.put(&kgo.Record{Topic: "in", Partition: 1, Key: []byte("large"), Value: []byte("grow")})
	p := stream.NewPipeline("app")
	stream.From(p, "in", codec.Bytes, codec.Bytes).Map(func(v []byte) []byte { return make([]byte, 2<<20) }).To("out")
	refused(t, r.run(p, 0, nil), operators.ErrRecordTooLarge, `step "to:out" on record in/1 offset 0`, "a record of 2097157 bytes to out", "produce.batch-bytes")
}

func TestAPanicOfUserCodeNamesTheRecordAndIsMendedByARelease(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	r.feed("in", 0, 100)
	version := func(check func(uint64)) *stream.Pipeline {
		p := stream.NewPipeline("app")
		stream.From(p, "in", codec.Uint64, codec.Uint64).Peek(func(_, v uint64) { check(v) }).Group().Count("count").Stream().To("out")
		return p
	}
	err := r.run(version(func(v uint64) {
		if v == 7 {
			panic("canary")
		}
	}), 0, nil)
	refused(t, err, nil, "step", "panicked on in/", "at offset ")
	if strings.Contains(err.Error()+r.logs.String(), "canary") {
		t.Error("the log or the error shows user data")
	}
	if err := r.run(version(func(uint64) {}), 0, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(upTo(10), r.read("out")); diff != "" {
		t.Error(diff)
	}
}

func TestTopicsOfUnequalPartitionCountsAreRefusedBeforeAKeyedStep(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	if err := r.broker.CreateTopics(partitions+1, "wide"); err != nil {
		t.Fatal(err)
	}
	p := stream.NewPipeline("app")
	stream.FromTopics(p, []string{"in", "wide"}, codec.Uint64, codec.Uint64).Group().Count("count").Stream().To("out")
	refused(t, r.run(p, 0, nil), partition.ErrNotCoPartitioned, "in", "wide", "4", "5")
	topics, err := r.admin().ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name := range topics {
		if strings.HasPrefix(name, "app-") {
			t.Errorf("the refused pipeline has left topic %s", name)
		}
	}
}

func TestAStateFolderOfSomethingElseIsRefused(t *testing.T) {
	t.Parallel()
	for name, identity := range map[string]statestore.Identity{
		"another application": {App: "other", Incarnation: 1, Task: partition.TaskID{Partition: 2}},
		"another task":        {App: "app", Incarnation: 1, Task: partition.TaskID{Partition: 3}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "in", "out")
			r.feed("in", 0, 100)
			folder := filepath.Join(r.config("app", 0).StateDir, "app-1", "0_2")
			res, err := statestore.NewResources(128 << 20)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Close()
			db, err := statestore.Open(statestore.Options{Dir: folder, Resources: res, Identity: identity})
			if err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			refused(t, r.run(counting("app"), 0, nil), statestore.ErrForeign, "expected app incarnation 1 task 0_2", "found "+identity.String())
			r.loseDisk(0)
			r.counted(10, nil)
		})
	}
}

// overwriting is a store that does not know create-if-absent.
type overwriting struct{ objstore.Store }

func (o overwriting) Create(ctx context.Context, name string, body objstore.Body) error {
	return o.Put(ctx, name, body)
}

func TestAnObjectStoreWithoutCreateIfAbsentIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	r.feed("in", 0, 100)
	err := r.run(counting("app"), 0, func(o *worker.Options) { o.Store = overwriting{r.store()} })
	refused(t, err, objstore.ErrUnsafe)
	r.counted(10, nil)
}

// store opens the folder that is the object store of the rig.
func (r *rig) store() objstore.Store {
	r.t.Helper()
	s, err := dir.New(filepath.Join(r.dir, "store"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { s.Close() })
	return s
}

// checkpointed feeds 100 records at a time, from number from on, and has them in so many checkpoints of every task. It
// returns how many records were fed in all.
func (r *rig) checkpointed(from int, rounds int64, edit func(*worker.Options)) int {
	r.t.Helper()
	w := r.start(counting("app"), 0, edit)
	for want := int64(1); want <= rounds; want++ {
		r.feed("in", from, 100)
		from += 100
		before := r.lowestRound()
		r.until("every task names a new checkpoint", func() bool { return r.lowestRound() > before })
	}
	if err := w.stop(); err != nil {
		r.t.Fatal(err)
	}
	return from
}

// lowestRound is the newest round of which every task names its part.
func (r *rig) lowestRound() int64 {
	metas := r.committed("app", "in")
	if len(metas) < partitions {
		return 0
	}
	lowest := int64(1 << 62)
	for _, m := range metas {
		lowest = min(lowest, m.Round)
	}
	return lowest
}

// manifests returns the manifest objects of a task, oldest first, by their paths.
func (r *rig) manifests(task string) []string {
	r.t.Helper()
	found, err := filepath.Glob(filepath.Join(r.dir, "store", "app", "1", "rounds", "*", "tasks", task+".json"))
	if err != nil || len(found) == 0 {
		r.t.Fatalf("no manifest of %s is in the store: %v", task, err)
	}
	return found
}

func TestAManifestOfALaterVersionIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	fed := r.checkpointed(0, 2, nil)
	all := r.manifests("0_0")
	newest := all[len(all)-1]
	was, err := os.ReadFile(newest)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(was, &doc); err != nil {
		t.Fatal(err)
	}
	doc["format"] = 99
	later, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(newest, later, 0o644); err != nil {
		t.Fatal(err)
	}
	r.loseDisk(0)
	r.feed("in", fed, 100)
	refused(t, r.run(counting("app"), 0, nil), checkpoint.ErrFutureFormat, "task 0_0", "format 99")
	if err := os.WriteFile(newest, was, 0o644); err != nil {
		t.Fatal(err)
	}
	r.counted(fed/10+10, nil)
}

func TestADamagedCheckpointIsGoneAround(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(*rig, string, checkpoint.Manifest){
		"manifest": func(r *rig, path string, _ checkpoint.Manifest) { r.truncate(path) },
		"object": func(r *rig, _ string, m checkpoint.Manifest) {
			for _, f := range m.Files {
				if !strings.HasSuffix(f.Name, ".sst") { // each checkpoint has its own
					r.truncate(filepath.Join(r.dir, "store", filepath.FromSlash(f.Object)))
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "in", "out")
			fed := r.checkpointed(0, 3, nil)
			repo := checkpoint.NewRepository(r.store(), "app")
			for p := range partitions {
				id := partition.TaskID{Partition: int32(p)}
				newest, _, err := repo.Manifests(t.Context(), 1, id, 0)
				if err != nil {
					t.Fatal(err)
				}
				all := r.manifests(id.String())
				damage(r, all[len(all)-1], newest[0])
			}
			r.loseDisk(0)
			r.feed("in", fed, 100)
			r.counted(fed/10+10, nil)
			if got := r.lines("checkpoint cannot be used; trying the one before"); len(got) < partitions {
				t.Errorf("%d of %d tasks have reported that they fell back", len(got), partitions)
			}
		})
	}
}

func (r *rig) truncate(path string) {
	r.t.Helper()
	if err := os.Truncate(path, 10); err != nil {
		r.t.Fatal(err)
	}
}

// deleteAll deletes all records of a topic, as retention does.
func (r *rig) deleteAll(topic string) {
	r.t.Helper()
	ends, err := r.admin().ListEndOffsets(context.Background(), topic)
	if err != nil {
		r.t.Fatal(err)
	}
	responses, err := r.admin().DeleteRecords(context.Background(), ends.Offsets())
	if err == nil {
		err = responses.Error()
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestInputThatWasDeletedBeforeItWasReadIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	r.feed("in", 0, 100)
	r.counted(10, nil)
	r.feed("in", 100, 100)
	r.deleteAll("in")
	refused(t, r.run(counting("app"), 0, nil), kafka.ErrOffsetExpired, "read in/", "keep the topic longer")
}

func TestASourceTopicThatWasCreatedAgainIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	r.feed("in", 0, 100)
	r.counted(10, nil)
	if _, err := r.admin().DeleteTopics(t.Context(), "in"); err != nil {
		t.Fatal(err)
	}
	if err := r.broker.CreateTopics(partitions, "in"); err != nil {
		t.Fatal(err)
	}
	refused(t, r.run(counting("app"), 0, nil), kafka.ErrTopicGone, "source topic in", "its id is")
}

func TestAnInternalTopicThatWasDeletedIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	r.feed("in", 0, 100)
	r.counted(10, nil)
	if _, err := r.admin().DeleteTopics(t.Context(), "app-1-0-changelog"); err != nil {
		t.Fatal(err)
	}
	refused(t, r.run(counting("app"), 0, nil), kafka.ErrTopicGone, "internal topic app-1-0-changelog", "roll back to a checkpoint, or reset")
}

func TestOffsetsThatHaveExpiredAreRefused(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*worker.Options){
		"object store":    nil,
		"no object store": func(o *worker.Options) { o.Config.StoreURL = "" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "in", "out")
			r.feed("in", 0, 100)
			r.counted(10, edit)
			if _, err := r.admin().DeleteGroup(t.Context(), "app"); err != nil {
				t.Fatal(err)
			}
			refused(t, r.run(counting("app"), 0, edit), worker.ErrNoOffset, "offsets.retention.minutes")
		})
	}
}

func TestOffsetsOfAnotherProgramAreRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	r.feed("in", 0, 100)
	r.counted(10, nil)
	var offsets kadm.Offsets
	offsets.Add(kadm.Offset{Topic: "in", Partition: 1, At: 3, LeaderEpoch: -1})
	if err := r.admin().CommitAllOffsets(t.Context(), "app", offsets); err != nil {
		t.Fatal(err)
	}
	refused(t, r.run(counting("app"), 0, nil), worker.ErrForeignOffset, "task 0_1", "in/1", "another program uses the group id")
}

func TestAChangelogThatHasLostWhatRecoveryNeedsIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	alone := func(o *worker.Options) { o.Config.StoreURL = "" }
	r.feed("in", 0, 100)
	r.counted(10, alone)
	r.deleteAll("app-1-0-changelog")
	r.feed("in", 100, 100)
	r.counted(20, alone) // the local state is as far as the commit, and does not need it
	r.deleteAll("app-1-0-changelog")
	r.loseDisk(0)
	r.feed("in", 200, 100)
	refused(t, r.run(counting("app"), 0, alone), checkpoint.ErrUnrecoverable, "the changelog begins at offset", "neither a checkpoint nor local state")
}

func TestARestoreWaitsForAStoreThatIsAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	fed := r.checkpointed(0, 3, func(o *worker.Options) { o.Config.CheckpointsKept = 1 })
	r.loseDisk(0)
	r.feed("in", fed, 100)
	store, asked := fault.New(r.store(), nil), make(chan struct{}, 1)
	store.SetHook(func(op fault.Op) fault.Fault {
		if op.Kind != fault.Get || !strings.Contains(op.Name, "/objects/") {
			return fault.Fault{}
		}
		select {
		case asked <- struct{}{}:
		default:
		}
		return fault.Fault{Before: fault.Unavailable(op)}
	})
	go func() {
		for range 8 { // the download is tried again and again
			<-asked
		}
		store.SetHook(nil)
	}()
	r.counted(fed/10+10, func(o *worker.Options) { o.Store = store })
	if len(r.lines("retrying")) == 0 {
		t.Error("the log does not say that the store is away")
	}
	for _, line := range r.lines("task running")[partitions:] {
		if line["source"] != "checkpoint" {
			t.Errorf("got %v", line)
		}
	}
}

func TestProcessingGoesOnWhileTheStoreIsAway(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	store := fault.New(r.store(), nil)
	with := func(o *worker.Options) { o.Store = store }
	r.feed("in", 0, 100)
	r.counted(10, with)
	w := r.start(counting("app"), 0, func(o *worker.Options) {
		with(o)
		o.Ready = func() {
			store.SetHook(func(op fault.Op) fault.Fault { return fault.Fault{Before: fault.Unavailable(op)} })
		}
		o.Config.DrainTimeout = 5 * time.Second
	})
	r.feed("in", 100, 100)
	r.until("the records are processed", func() bool {
		n := 0
		for _, values := range r.read("out") {
			n += len(values)
		}
		return n == 200
	})
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(upTo(20), r.read("out")); diff != "" {
		t.Error(diff)
	}
}
