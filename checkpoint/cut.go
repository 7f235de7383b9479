// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/partition"
)

// Cut is a complete round: one consistent state of a whole pipeline. Any life of any application can begin from it.
type Cut struct {
	App         string
	Incarnation int
	Round       int64
	Manifests   []Manifest // in order of their tasks
	Channels    []Channel  // in order of topic and partition
}

// String names the cut as "application/incarnation@round".
func (c Cut) String() string { return Origin{c.App, c.Incarnation, c.Round}.String() }

// InFlight is how many records were in the channels at the cut.
func (c Cut) InFlight() (records int64) {
	for _, channel := range c.Channels {
		records += channel.Records
	}
	return records
}

// Origin names the cut that a life began from.
type Origin struct {
	App         string `json:"app"`
	Incarnation int    `json:"incarnation"`
	Round       int64  `json:"round"`
}

// String gives "application/incarnation@round".
func (o Origin) String() string { return fmt.Sprintf("%s/%d@%d", o.App, o.Incarnation, o.Round) }

// Channel is what was on its way in one partition of a repartition topic: written by upstream tasks before their cut,
// and not read by the downstream task before its own. Where nothing was there is no Channel.
type Channel struct {
	Topic     string `json:"topic"` // as the topology names it
	Partition int32  `json:"partition"`
	Records   int64  `json:"records"`
	File      File   `json:"file"`
}

// ChannelFile is a channel's content on its way to the store.
type ChannelFile struct {
	Topic     string
	Partition int32
	Records   int64
	Path      string // of the local file
}

// maxChannels and maxTasks bound a round record.
const (
	maxChannels = 100_000
	maxTasks    = 100_000
)

func (c Channel) validate() error {
	if err := CheckID(c.Topic); err != nil {
		return err
	}
	if c.Partition < 0 || c.Records < 1 {
		return fmt.Errorf("channel %s/%d has %d records", c.Topic, c.Partition, c.Records)
	}
	if err := c.File.validate(); err != nil {
		return fmt.Errorf("channel %s/%d: %w", c.Topic, c.Partition, err)
	}
	return nil
}

func filesOfChannels(channels []Channel) []File {
	files := make([]File, len(channels))
	for i, c := range channels {
		files[i] = c.File
	}
	return files
}

func (rec roundRecord) validate() error {
	if len(rec.Manifests) == 0 || len(rec.Manifests) > maxTasks {
		return fmt.Errorf("%d manifests, allowed are 1 to %d", len(rec.Manifests), maxTasks)
	}
	for task, checksum := range rec.Manifests {
		if task.SubTopology < 0 || task.Partition < 0 {
			return fmt.Errorf("task %s is negative", task)
		}
		if err := checkHash(checksum); err != nil {
			return fmt.Errorf("manifest of task %s: %w", task, err)
		}
	}
	return validateChannels(rec.Channels)
}

// confirm says whether a manifest is the one that the round was completed with. One that the record does not name is fine.
func (rec roundRecord) confirm(l life, m Manifest) error {
	if want, ok := rec.Manifests[m.Task]; ok && want != m.Checksum {
		return fmt.Errorf("%w: manifest %s has checksum %s, the round was completed with %s", ErrCorrupt, l.manifest(m.Round, m.Task), m.Checksum, want)
	}
	return nil
}

func validateChannels(channels []Channel) error {
	if len(channels) > maxChannels {
		return fmt.Errorf("%d channels, more than %d", len(channels), maxChannels)
	}
	seen := map[partition.TopicPartition]bool{}
	for _, c := range channels {
		if err := c.validate(); err != nil {
			return err
		}
		tp := partition.TopicPartition{Topic: c.Topic, Partition: c.Partition}
		if seen[tp] {
			return fmt.Errorf("channel %v is there twice", tp)
		}
		seen[tp] = true
	}
	return nil
}

func (r *Repository) readRoundRecord(ctx context.Context, l life, n int64) (roundRecord, error) {
	var rec roundRecord
	if err := r.readDocument(ctx, l.complete(n), kindRound, &rec); err != nil {
		return rec, err
	}
	if rec.Round != n {
		return rec, fmt.Errorf("%w: object %s is of round %d", ErrCorrupt, l.complete(n), rec.Round)
	}
	return rec, nil
}

// LoadCut reads a complete round: its record, and the manifests that the record names, each compared with the checksum
// that it had when the round was completed. ErrIncomplete says that not all tasks have stored theirs; ErrMissing that the
// round does not exist, was dropped, or has lost a manifest.
func (r *Repository) LoadCut(ctx context.Context, incarnation int, n int64) (Cut, error) {
	cut, err := r.loadCut(ctx, incarnation, n)
	if err != nil {
		return Cut{}, fmt.Errorf("checkpoint %d of application %s: %w", n, r.app, err)
	}
	return cut, nil
}

func (r *Repository) loadCut(ctx context.Context, incarnation int, n int64) (Cut, error) {
	l, err := r.lifeRound(incarnation, n)
	if err != nil {
		return Cut{}, err
	}
	rounds, err := r.listRounds(ctx, l)
	if err != nil {
		return Cut{}, err
	}
	i := slices.IndexFunc(rounds, func(x Round) bool { return x.Number == n })
	switch {
	case i < 0:
		return Cut{}, fmt.Errorf("%w; list what there is with: checkpoints list", ErrMissing)
	case !rounds[i].Complete:
		return Cut{}, fmt.Errorf("%w: %d tasks have stored theirs; list what there is with: checkpoints list", ErrIncomplete, len(rounds[i].Tasks))
	}
	return r.readCut(ctx, l, n)
}

// CutOf is LoadCut for a round that [Repository.Rounds] has listed. ErrIncomplete if it was not complete then; ErrMissing if it
// has been collected since.
func (r *Repository) CutOf(ctx context.Context, incarnation int, round Round) (Cut, error) {
	l, err := r.lifeRound(incarnation, round.Number)
	if err == nil && !round.Complete {
		err = ErrIncomplete
	}
	var cut Cut
	if err == nil {
		cut, err = r.readCut(ctx, l, round.Number)
	}
	if err != nil {
		return Cut{}, fmt.Errorf("checkpoint %d of application %s: %w", round.Number, r.app, err)
	}
	return cut, nil
}

// readCut reads what a round's record names.
func (r *Repository) readCut(ctx context.Context, l life, n int64) (Cut, error) {
	rec, err := r.readRoundRecord(ctx, l, n)
	if err != nil {
		return Cut{}, dropped(err)
	}
	manifests, err := r.readManifests(ctx, l, n, slices.SortedFunc(maps.Keys(rec.Manifests), partition.TaskID.Compare))
	if err != nil {
		return Cut{}, err
	}
	for _, m := range manifests {
		if err := rec.confirm(l, m); err != nil {
			return Cut{}, err
		}
	}
	return Cut{App: r.app, Incarnation: l.incarnation, Round: n, Channels: rec.Channels, Manifests: manifests}, nil
}

// Adopt makes a cut of any application the first checkpoint of a new life of this one, under the number of its round and
// by reference: manifests are new, objects stay where they are. manifests are those to be stored, of this application
// and of the life that begins. Adopt may be repeated after any failure. The owners' collections spare the objects from
// then on; an object that one of them has condemned or deleted already is ErrMissing.
func (r *Repository) Adopt(ctx context.Context, cut Cut, manifests []Manifest) error {
	stored, err := r.AdoptManifests(ctx, cut, manifests)
	if err == nil {
		err = r.adoptRecord(ctx, cut, stored)
	}
	if err != nil {
		return fmt.Errorf("begin application %s from %v: %w", r.app, cut, err)
	}
	return nil
}

// AdoptManifests is the part of Adopt that concerns the tasks: the round is begun, and not complete. It returns the
// manifests as they are stored.
func (r *Repository) AdoptManifests(ctx context.Context, cut Cut, manifests []Manifest) ([]Manifest, error) {
	if len(manifests) == 0 {
		return nil, nil
	}
	l, err := r.lifeRound(manifests[0].Incarnation, manifests[0].Round)
	if err != nil {
		return nil, err
	}
	if _, err := r.StartRound(ctx, l.incarnation, manifests[0].Round, GoOn); err != nil {
		return nil, err
	}
	stored := make([]Manifest, len(manifests))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(r.parallel)
	for i, m := range manifests {
		group.Go(func() (err error) {
			stored[i], err = r.adoptManifest(groupCtx, cut, l, m)
			return err
		})
	}
	return stored, group.Wait()
}

func (r *Repository) adoptRecord(ctx context.Context, cut Cut, stored []Manifest) error {
	if len(stored) == 0 {
		return fmt.Errorf("%w: no manifest", ErrInvalid)
	}
	l := life{r.app, stored[0].Incarnation}
	files := filesOfChannels(cut.Channels)
	began := time.Now()
	if err := r.borrow(ctx, l, files); err != nil {
		return err
	}
	if len(files) > 0 {
		if _, err := r.readRoundRecord(ctx, life{cut.App, cut.Incarnation}, cut.Round); err != nil {
			return dropped(err)
		}
	}
	return r.createRecord(ctx, l, newRoundRecord(cut.Round, stored, cut.Channels), began)
}

// dropped makes an error of an absent document ErrMissing.
func dropped(err error) error {
	if errors.Is(err, objstore.ErrNotFound) {
		return fmt.Errorf("%w: the checkpoint was dropped meanwhile: %w", ErrMissing, err)
	}
	return err
}

func (r *Repository) adoptManifest(ctx context.Context, cut Cut, l life, m Manifest) (Manifest, error) {
	if m.App != l.app || m.Incarnation != l.incarnation {
		return Manifest{}, fmt.Errorf("%w: manifest of task %v is of application %s/%d", ErrInvalid, m.Task, m.App, m.Incarnation)
	}
	m.Created = storedTime(time.Now())
	if standing, ok, err := r.standing(ctx, l, m); ok || err != nil {
		return standing, err
	}
	began := time.Now()
	if err := r.borrow(ctx, l, m.Files); err != nil {
		return Manifest{}, fmt.Errorf("checkpoint of task %s: %w", m.Task, err)
	}
	original, err := r.readManifest(ctx, life{cut.App, cut.Incarnation}, cut.Round, m.Task)
	if err != nil {
		return Manifest{}, fmt.Errorf("checkpoint of task %s: %w", m.Task, dropped(err))
	}
	if !slices.Equal(original.Files, m.Files) {
		return Manifest{}, fmt.Errorf("%w: the files of task %s are not those of %v", ErrInvalid, m.Task, cut)
	}
	return r.createManifest(ctx, l, m, began)
}

// storeChannels sends the files of channels.
func (r *Repository) storeChannels(ctx context.Context, s sender, files []ChannelFile) ([]Channel, error) {
	channels := make([]Channel, len(files))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.parallel)
	for i, f := range files {
		group.Go(func() error {
			root, err := os.OpenRoot(filepath.Dir(f.Path))
			if err != nil {
				return err
			}
			defer root.Close()
			sent, err := s.send(ctx, root, filepath.Base(f.Path), nil)
			if err != nil {
				return fmt.Errorf("store what was in flight in %s/%d: %w", f.Topic, f.Partition, err)
			}
			channels[i] = Channel{f.Topic, f.Partition, f.Records, sent}
			return nil
		})
	}
	return channels, group.Wait()
}

// FetchChannel brings a channel's content into a local file, which must not exist, and verifies it. ErrCorrupt and
// ErrMissing name the object.
func (r *Repository) FetchChannel(ctx context.Context, c Channel, path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("fetch what was in flight in %s/%d: %w", c.Topic, c.Partition, err)
	}
	defer file.Close()
	if err := r.readVerified(ctx, c.File, file); err != nil {
		return fmt.Errorf("fetch what was in flight in %s/%d: %w", c.Topic, c.Partition, err)
	}
	return nil
}
