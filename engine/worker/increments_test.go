// SPDX-License-Identifier: Apache-2.0

package worker_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

const (
	bulkyKeys  = 4000
	bulkyBytes = 1000 // of the state of a key
)

// bulky keeps the newest value of each key, led by the number of values that there were.
func bulky(app string) *stream.Pipeline {
	p := stream.NewPipeline(app)
	stream.From(p, "in", codec.Uint64, codec.Bytes).
		Group().
		Reduce("bulky", func(old, v []byte) []byte {
			n := binary.BigEndian.Uint64(old) + binary.BigEndian.Uint64(v)
			return append(binary.BigEndian.AppendUint64(nil, n), v[8:]...)
		}).
		Stream().
		Map(func(v []byte) uint64 { return binary.BigEndian.Uint64(v) }).
		To("out", codec.Uint64)
	return p
}

// feedBulky sends one value for every so many keys, and waits for the results.
func (r *rig) feedBulky(every int, results int) {
	r.t.Helper()
	var records []*kgo.Record
	for i := 0; i < bulkyKeys; i += every {
		value := make([]byte, bulkyBytes)
		value[7] = 1
		records = append(records, &kgo.Record{Topic: "in", Partition: int32(i % partitions), Key: binary.BigEndian.AppendUint64(nil, uint64(i)), Value: value})
	}
	r.put(records...)
	r.emitted("out", results)
}

func TestACheckpointSendsWhatHasChangedSinceTheOneBefore(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	repo := checkpoint.NewRepository(r.store(), "app")
	w := r.start(bulky("app"), 0, keepAll)
	r.feedBulky(1, bulkyKeys)
	whole := r.nextRound(repo)
	const changes, changeEvery = 3, 97 // prime to the partitions: all tasks have changes
	fed := bulkyKeys
	for range changes {
		fed += bulkyKeys/changeEvery + 1
		r.feedBulky(changeEvery, fed)
		r.nextRound(repo)
	}
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	sent, stored := 0.0, 0
	for _, line := range r.lines("checkpoint stored") {
		if line["round"].(float64) > float64(whole) {
			sent += line["bytes"].(float64)
			stored++
		}
	}
	// Each checkpoint costs a manifest of the database and a position, at least.
	if limit := float64(fed-bulkyKeys)*bulkyBytes*1.5 + float64(stored)*8000; sent > limit || stored == 0 {
		t.Errorf("%d checkpoints sent %.0f bytes, expected at most %.0f for %d changes of %d bytes", stored, sent, limit, fed-bulkyKeys, bulkyBytes)
	}

	r.restoreBulky(fed, changeEvery, changes)
}

// nextRound waits for a round that has begun by now or later, and returns the newest that is complete.
func (r *rig) nextRound(repo *checkpoint.Repository) (newest int64) {
	r.t.Helper()
	n := len(r.complete(repo)) + 2 // one may have begun before
	r.until("rounds are complete", func() bool {
		complete := r.complete(repo)
		if len(complete) > 0 {
			newest = complete[len(complete)-1]
		}
		return len(complete) >= n
	})
	return newest
}

// restoreBulky starts a worker that has no disk, feeds it all keys, and looks at the number of values of each.
func (r *rig) restoreBulky(fed int, changeEvery uint64, changes int) {
	r.t.Helper()
	r.loseDisk(0)
	w := r.start(bulky("app"), 0, keepAll)
	r.feedBulky(1, fed+bulkyKeys)
	if err := w.stop(); err != nil {
		r.t.Fatal(err)
	}
	for _, line := range r.lines("task running")[partitions:] {
		if line["source"] != "checkpoint" {
			r.t.Errorf("the successor did not restore a checkpoint: %v", line)
		}
	}
	for k, got := range r.read("out") {
		want := 2
		if k%changeEvery == 0 {
			want += changes
		}
		if len(got) != want || got[want-1] != uint64(want) {
			r.t.Fatalf("key %d: results %v, want 1 to %d", k, got, want)
		}
	}
}

func TestACheckpointIsWholeIfWhatItWasToBuildUponIsGone(t *testing.T) {
	t.Parallel()
	r := newRig(t, "in", "out")
	repo := checkpoint.NewRepository(r.store(), "app")
	w := r.start(bulky("app"), 0, keepAll)
	r.feedBulky(1, bulkyKeys)
	r.nextRound(repo)
	manifests, err := filepath.Glob(filepath.Join(r.dir, "store", "app", "1", "rounds", "*", "tasks", "*.json"))
	if err != nil || len(manifests) < partitions {
		t.Fatalf("found %d manifests: %v", len(manifests), err)
	}
	for _, name := range manifests {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	const changeEvery = 97
	fed := bulkyKeys + bulkyKeys/changeEvery + 1
	r.feedBulky(changeEvery, fed)
	r.nextRound(repo)
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	missing := 0
	for _, line := range r.lines("checkpoint not stored; processing goes on") {
		if strings.Contains(line["error"].(string), checkpoint.ErrMissing.Error()) {
			missing++
		}
	}
	if missing == 0 {
		t.Error("no checkpoint missed what it was to build upon")
	}
	r.restoreBulky(fed, changeEvery, 1)
}
