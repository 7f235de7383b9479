// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/partition"
)

// ErrChangelogGap marks a changelog that does not hold what the committed offsets name.
var ErrChangelogGap = errors.New("the changelog does not hold the named position record")

// EntryKind tells the records of a changelog apart.
type EntryKind byte

const (
	// DeltaEntry holds a part of what one commit has changed.
	DeltaEntry EntryKind = 'd'
	// PositionEntry ends the deltas of one commit and says where the task stood.
	PositionEntry EntryKind = 'p'
)

// EntryKey is the key of a changelog record: what it is and which commit of which ownership wrote it.
type EntryKey struct {
	Kind       EntryKind
	Generation int32 // of the group: without transactions a record of an older ownership is ignored
	Epoch      uint64
}

const entryKeyBytes = 1 + 4 + 8

// AppendTo encodes the key.
func (k EntryKey) AppendTo(dst []byte) []byte {
	dst = append(dst, byte(k.Kind))
	dst = binary.BigEndian.AppendUint32(dst, uint32(k.Generation))
	return binary.BigEndian.AppendUint64(dst, k.Epoch)
}

// DecodeEntryKey reads what AppendTo has written.
func DecodeEntryKey(b []byte) (EntryKey, error) {
	if len(b) != entryKeyBytes || b[0] != byte(DeltaEntry) && b[0] != byte(PositionEntry) {
		return EntryKey{}, fmt.Errorf("decode changelog key %x: it was not written by this version of streamd", b)
	}
	return EntryKey{EntryKind(b[0]), int32(binary.BigEndian.Uint32(b[1:])), binary.BigEndian.Uint64(b[5:])}, nil
}

// Commit is what one commit of a task has left in its changelog.
type Commit struct {
	Key      EntryKey
	Offset   int64 // of the position record
	Deltas   [][]byte
	Position []byte
}

// ChangelogRange is a part of a changelog: from an offset up to exactly the position record at To.
type ChangelogRange struct {
	Partition partition.TopicPartition
	From, To  int64
}

// ReadChangelog reads the committed records of a range and calls apply for every commit in order. ErrChangelogGap:
// the position record at its end is not there. The slices that apply gets are its own.
func ReadChangelog(ctx context.Context, cfg *config.Config, part ChangelogRange, apply func(Commit) error) error {
	r := changelogReader{tp: part.Partition, to: part.To, apply: apply, atLeastOnce: cfg.Guarantee == config.AtLeastOnce}
	return readFrom(ctx, cfg, part.Partition, part.From, func(b *Batch) (done bool, err error) {
		err = r.take(b.records)
		return r.done, err
	})
}

// ChangelogFollower takes what [FollowChangelog] reads.
type ChangelogFollower interface {
	// Apply takes a commit. Its slices are the follower's own.
	Apply(Commit) error
	// Reached tells after each fetch which offset is read next and where the committed records ended then.
	Reached(next, end int64)
}

// FollowChangelog reads the committed records of a changelog from an offset on until ctx ends, as they come. It returns
// the cause of that end, or an error of the log or of the follower.
func FollowChangelog(ctx context.Context, cfg *config.Config, tp partition.TopicPartition, from int64, f ChangelogFollower) error {
	r := changelogReader{tp: tp, to: math.MaxInt64, apply: f.Apply, atLeastOnce: cfg.Guarantee == config.AtLeastOnce}
	return readFrom(ctx, cfg, tp, from, func(b *Batch) (done bool, err error) {
		if err := r.take(b.records); err != nil {
			return true, err
		}
		f.Reached(b.Last()+1, b.StableEnd)
		return false, nil
	})
}

// changelogReader gathers deltas until their position record.
type changelogReader struct {
	tp      partition.TopicPartition
	to      int64
	apply   func(Commit) error
	pending []pendingDelta
	done    bool

	// Without transactions a former owner may have written on: what is of a generation below the highest seen is
	// not part of the state.
	atLeastOnce bool
	highest     int32
}

type pendingDelta struct {
	key   EntryKey
	value []byte
}

func (r *changelogReader) take(records []*kgo.Record) error {
	for _, rec := range records {
		if r.done {
			return nil
		}
		if rec.Offset > r.to {
			return fmt.Errorf("read changelog %v: %w: offset %d is not there, the next one is %d", r.tp, ErrChangelogGap, r.to, rec.Offset)
		}
		if rec.Attrs.IsControl() {
			if rec.Offset == r.to {
				return fmt.Errorf("read changelog %v: %w: offset %d is a transaction marker", r.tp, ErrChangelogGap, r.to)
			}
			continue
		}
		if err := r.entry(rec); err != nil {
			return err
		}
	}
	return nil
}

func (r *changelogReader) entry(rec *kgo.Record) error {
	key, err := DecodeEntryKey(rec.Key)
	if err != nil {
		return fmt.Errorf("read changelog %v at %d: %w", r.tp, rec.Offset, err)
	}
	stale := r.atLeastOnce && key.Generation < r.highest
	r.highest = max(r.highest, key.Generation)
	if key.Kind == DeltaEntry {
		if !stale {
			r.pending = append(r.pending, pendingDelta{key, rec.Value})
		}
		return nil
	}
	if rec.Offset == r.to {
		r.done = true
	}
	if stale {
		if r.done {
			return fmt.Errorf("read changelog %v: %w: the record at %d belongs to an older ownership", r.tp, ErrChangelogGap, r.to)
		}
		return nil
	}
	c := Commit{Key: key, Offset: rec.Offset, Position: rec.Value}
	for _, d := range r.pending {
		if d.key.Generation == key.Generation && d.key.Epoch == key.Epoch {
			c.Deltas = append(c.Deltas, d.value)
		}
	}
	r.pending = r.pending[:0]
	return r.apply(c)
}
