// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// TrialOptions say what to try.
type TrialOptions struct {
	Stores   []string // names; those without a part in the checkpoint are passed over
	Samples  int      // entries of each store
	MaxBytes int64    // what may be downloaded of the checkpoint
	// Progress is called before a task is read; it may be nil.
	Progress func(Progress)
}

// Trials is how samples of the state fared with the codecs of a pipeline.
type Trials struct {
	Stores []Trial    // in order of their names
	Read   []TaskRead // tasks whose state was read, in that order
	Left   []TaskRead // tasks whose state was not, since it would have been too much
}

// TaskRead is one task's part of a checkpoint.
type TaskRead struct {
	Task  partition.TaskID `json:"task"`
	Bytes int64            `json:"bytes"`
}

// Trial is how entries of one store fared.
type Trial struct {
	Store    string
	Tried    int64
	Failed   int64
	Failures []Refusal // the first ones
}

// Refusal is an entry that does not decode. It holds nothing of the entry itself.
type Refusal struct {
	Task    partition.TaskID
	KeyHash string // the first bytes of the key's SHA-256, in hexadecimal
	Err     error  // what the codec said
}

const (
	refusalsKept = 3 // of a store
	hashBytes    = 4
)

// Try decodes samples of stores with the codecs of the pipeline, values of former codecs with their migrations. The
// samples of a task are chosen by chance, the same ones every time. The smallest tasks of each sub-topology are read
// first, as many as MaxBytes allows: its sub-topologies have equal shares of it.
func (c *Checkpoint) Try(ctx context.Context, o TrialOptions) (*Trials, error) {
	t := &trials{Trials: &Trials{}, c: c, o: o, stores: map[string]*tried{}}
	subs := map[int32][]*tried{}
	for _, name := range slices.Sorted(slices.Values(o.Stores)) {
		s, err := t.open(name)
		if err != nil {
			return nil, err
		}
		if s != nil {
			subs[s.store.sub] = append(subs[s.store.sub], s)
		}
	}
	var reads []read
	for _, sub := range slices.Sorted(maps.Keys(subs)) {
		reads = append(reads, t.choose(subs[sub], o.MaxBytes/int64(len(subs)))...)
	}
	for i, r := range reads {
		if o.Progress != nil {
			o.Progress(Progress{Task: r.manifest.Task, Part: i + 1, Parts: len(reads), Bytes: r.manifest.Bytes(), Rows: t.rows})
		}
		if err := t.read(ctx, r); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(t.stores)) {
		t.Stores = append(t.Stores, t.stores[name].Trial)
	}
	return t.Trials, nil
}

// trials is a Try in progress.
type trials struct {
	*Trials
	c      *Checkpoint
	o      TrialOptions
	stores map[string]*tried
	rows   int64
}

// tried is a store that is tried.
type tried struct {
	Trial
	store *Store
	trial *trial
	parts int // tasks whose state is still to be read
}

// read is a task whose state is to be read.
type read struct {
	manifest checkpoint.Manifest
	stores   []*tried
}

// open makes a store that is read by the pipeline's own code, as laid out by the pipeline. Nil: the checkpoint has no part of it.
func (t *trials) open(name string) (*tried, error) {
	if t.c.own == nil {
		return nil, errors.New("try the codecs of a pipeline: this binary has none")
	}
	st, sub := t.c.own.Store(name)
	if sub == nil || !slices.ContainsFunc(t.c.manifests, func(m checkpoint.Manifest) bool { return hasStore(&m, name) }) {
		return nil, nil
	}
	s := &tried{Trial: Trial{Store: name}, trial: &trial{}}
	s.store = newStore(st, true, nil, views{t.c.own.Views, s.trial})
	s.store.sub = sub.ID
	t.stores[name] = s
	return s, nil
}

// choose finds the tasks to read for stores of one sub-topology.
func (t *trials) choose(stores []*tried, most int64) []read {
	var reads []read
	for _, m := range t.c.manifests {
		r := read{manifest: m}
		for _, s := range stores {
			if hasStore(&m, s.Store) {
				r.stores = append(r.stores, s)
			}
		}
		if len(r.stores) > 0 && len(m.Files) > 0 {
			reads = append(reads, r)
		}
	}
	slices.SortStableFunc(reads, func(a, b read) int { return cmp.Compare(a.manifest.Bytes(), b.manifest.Bytes()) })
	n, sum := 0, int64(0)
	for _, r := range reads {
		if sum += r.manifest.Bytes(); sum > most {
			break
		}
		n++
		for _, s := range r.stores {
			s.parts++
		}
	}
	for i, r := range reads {
		at := TaskRead{r.manifest.Task, r.manifest.Bytes()}
		if i < n {
			t.Read = append(t.Read, at)
		} else {
			t.Left = append(t.Left, at)
		}
	}
	return reads[:n]
}

// read tries what one task has of its stores.
func (t *trials) read(ctx context.Context, r read) error {
	return t.c.read(ctx, r.manifest, func(from *statestore.Reader) error {
		for _, s := range r.stores {
			left := int64(t.o.Samples) - s.Tried
			samples, err := sample(ctx, from, s.store.ID, int((left+int64(s.parts)-1)/int64(s.parts)))
			if err != nil {
				return fmt.Errorf("store %s of task %s: %w", s.Store, r.manifest.Task, err)
			}
			s.parts--
			for _, e := range samples {
				s.try(r.manifest.Task, e)
			}
			t.rows += int64(len(samples))
		}
		return nil
	})
}

// sample chooses n entries of a store, each with the same chance, in the order in which they are stored.
func sample(ctx context.Context, r *statestore.Reader, store uint16, n int) ([]stored, error) {
	if n <= 0 {
		return nil, nil
	}
	chance := rand.New(rand.NewPCG(uint64(store), uint64(n)))
	entries, ended := r.Select(statestore.Range{Store: statestore.StoreID(store)})
	var chosen []stored
	seen := 0
	for key, value := range entries {
		if seen++; seen%progressRows == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		at := len(chosen)
		if at < n {
			chosen = append(chosen, stored{})
		} else if at = chance.IntN(seen); at >= n {
			continue
		}
		chosen[at] = stored{slices.Clone(key), slices.Clone(value)}
	}
	return chosen, damage(ended())
}

// try decodes one entry.
func (s *tried) try(task partition.TaskID, e stored) {
	s.Tried++
	s.trial.err = nil
	_, key, sub, err := statestore.SplitKey(e.key)
	if err == nil {
		var r Row
		r.decode(s.store.key, key)
		if s.store.HasSubKey() {
			r.decode(s.store.subKey, sub)
		}
		err = s.store.setValue(&r, sub, e.value)
		if err == nil && r.Refused && s.trial.err == nil {
			err = fmt.Errorf("codec %s does not read it", s.store.ValueCodec)
		}
	}
	if err = cmp.Or(s.trial.err, err); err == nil {
		return
	}
	if s.Failed++; len(s.Failures) < refusalsKept {
		sum := sha256.Sum256(key)
		s.Failures = append(s.Failures, Refusal{task, hex.EncodeToString(sum[:hashBytes]), err})
	}
}

// trial notes what the pipeline's codecs do not read.
type trial struct{ err error } // the first of an entry

// decoder returns what has check read values, and gives none.
func (t *trial) decoder(check func(src []byte) error) decoder {
	return decoder{JSON, true, func(src []byte) (any, error) {
		if err := guarded(check, src); err != nil {
			t.err = cmp.Or(t.err, err)
		}
		return nil, nil
	}}
}

// guarded makes a panic of a codec, or of a migration, an error. The panic's value may hold what was to be decoded.
func guarded(check func(src []byte) error, src []byte) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("the code of its codec or migration panics")
		}
	}()
	return check(src)
}
