// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/partition"
)

// Round is what the store shows of one round. Times are the store's.
type Round struct {
	Number    int64
	Started   time.Time          // zero if the round has manifests but no start object (half dropped)
	Completed time.Time          // zero unless Complete
	Complete  bool               // every manifest was there and whole, and the round is not dropped
	Tasks     []partition.TaskID // that have a manifest, sorted
}

// roundRecord is the content of a "complete" object.
type roundRecord struct {
	Round     int64                       `json:"round"`
	Manifests map[partition.TaskID]string `json:"manifests"` // checksums
}

// StartRound creates round n if it does not exist. created is informative: after a lost reply or a race
// it says who came first, not whether the round exists, which it does when err is nil. Round numbers are
// dense: call it with LatestRound's number plus one only. A number that was dropped is ErrSuperseded: the
// caller has not looked for very long.
func (r *Repository) StartRound(ctx context.Context, incarnation int, n int64) (created bool, err error) {
	l, err := r.lifeRound(incarnation, n)
	if err != nil {
		return false, err
	}
	floor, err := r.floor(ctx, l)
	if err != nil {
		return false, fmt.Errorf("start round %d: %w", n, err)
	}
	if n < floor {
		return false, fmt.Errorf("start round %d: %w: rounds below %d are dropped", n, ErrSuperseded, floor)
	}
	err = r.store.Create(ctx, l.started(n), strings.NewReader("started\n"))
	if err != nil && !errors.Is(err, objstore.ErrExists) {
		return false, fmt.Errorf("start round %d: %w", n, err)
	}
	return err == nil, nil
}

// LatestRound returns the newest round that was started, with its start time; the zero Round if there is
// none. It costs two small requests when called often, since it looks upwards from what it saw last.
// Of the result only Number and Started are filled.
func (r *Repository) LatestRound(ctx context.Context, incarnation int) (Round, error) {
	l, err := r.life(incarnation)
	if err != nil {
		return Round{}, err
	}
	r.mu.Lock()
	n := r.mu.latest[incarnation]
	r.mu.Unlock()
	if n == 0 {
		if n, err = r.listLatest(ctx, l); err != nil || n == 0 {
			return Round{}, err
		}
	}
	latest, err := r.climb(ctx, l, n)
	if errors.Is(err, objstore.ErrNotFound) {
		// The round we remember was dropped, and its successors perhaps too: look at all.
		if n, err = r.listLatest(ctx, l); err == nil && n > 0 {
			latest, err = r.climb(ctx, l, n)
		}
	}
	if err != nil {
		return Round{}, fmt.Errorf("find the latest round: %w", err)
	}
	r.mu.Lock()
	r.mu.latest[incarnation] = max(r.mu.latest[incarnation], latest.Number)
	r.mu.Unlock()
	return latest, nil
}

// climb walks from round n to the newest. Rounds are dropped oldest first: if n+1 is absent and n, looked
// at afterwards, is present, then n+1 was never started. ErrNotFound if n is not there.
func (r *Repository) climb(ctx context.Context, l life, n int64) (Round, error) {
	for {
		next, err := r.exists(ctx, l.started(n+1))
		if err != nil {
			return Round{}, err
		}
		if next {
			n++
			continue
		}
		info, err := r.store.Stat(ctx, l.started(n))
		return Round{Number: n, Started: info.Modified}, err
	}
}

func (r *Repository) listLatest(ctx context.Context, l life) (int64, error) {
	var n int64
	for info, err := range r.store.List(ctx, l.rounds()) {
		if err != nil {
			return 0, fmt.Errorf("list rounds: %w", err)
		}
		if e, ok := l.parseRoundEntry(info.Name); ok && e.kind == entryStarted {
			n = max(n, e.round)
		}
	}
	return n, nil
}

// CompleteRound records that the round is complete, if every task's manifest is there and whole. If some
// are still to come the error wraps ErrIncomplete and names them; a dropped round is ErrSuperseded. Any
// worker may call it, and call it again.
func (r *Repository) CompleteRound(ctx context.Context, incarnation int, n int64, tasks []partition.TaskID) error {
	l, err := r.lifeRound(incarnation, n)
	if err != nil {
		return err
	}
	record, err := r.roundRecord(ctx, l, n, tasks)
	if err != nil {
		return fmt.Errorf("complete round %d: %w", n, err)
	}
	// A drop that begins after this look hides the round by its floor, whatever is created below.
	floor, err := r.floor(ctx, l)
	if err != nil {
		return fmt.Errorf("complete round %d: %w", n, err)
	}
	if n < floor {
		return fmt.Errorf("complete round %d: %w: rounds below %d are dropped", n, ErrSuperseded, floor)
	}
	err = r.createDocument(ctx, l.complete(n), kindRound, record)
	if err != nil && !errors.Is(err, objstore.ErrExists) {
		return fmt.Errorf("complete round %d: %w", n, err)
	}
	return nil
}

func (r *Repository) roundRecord(ctx context.Context, l life, n int64, tasks []partition.TaskID) (roundRecord, error) {
	checksums := make([]string, len(tasks))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.parallel)
	for i, task := range tasks {
		group.Go(func() error {
			m, err := r.readManifest(ctx, l, n, task)
			if errors.Is(err, ErrMissing) {
				return nil
			}
			checksums[i] = m.Checksum
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return roundRecord{}, err
	}
	record := roundRecord{Round: n, Manifests: map[partition.TaskID]string{}}
	var absent []string
	for i, task := range tasks {
		if checksums[i] == "" {
			absent = append(absent, task.String())
			continue
		}
		record.Manifests[task] = checksums[i]
	}
	if len(absent) > 0 {
		return roundRecord{}, fmt.Errorf("%w: no manifest of %d of %d tasks: %s", ErrIncomplete, len(absent), len(tasks), abbreviate(absent))
	}
	return record, nil
}

func abbreviate(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return strings.Join(names[:most], ", ") + ", …"
}

// Rounds yields the rounds of an incarnation, oldest first. It reads the whole listing before it yields,
// so that the floor it compares with is newer than what it lists.
func (r *Repository) Rounds(ctx context.Context, incarnation int) iter.Seq2[Round, error] {
	return func(yield func(Round, error) bool) {
		l, err := r.life(incarnation)
		if err != nil {
			yield(Round{}, err)
			return
		}
		rounds, err := r.listRounds(ctx, l)
		if err != nil {
			yield(Round{}, fmt.Errorf("list rounds: %w", err))
			return
		}
		for _, round := range rounds {
			if !yield(round, nil) {
				return
			}
		}
	}
}

func (r *Repository) listRounds(ctx context.Context, l life) ([]Round, error) {
	byNumber := map[int64]*Round{}
	for info, err := range r.store.List(ctx, l.rounds()) {
		if err != nil {
			return nil, err
		}
		e, ok := l.parseRoundEntry(info.Name)
		if !ok {
			continue
		}
		round := byNumber[e.round]
		if round == nil {
			round = &Round{Number: e.round}
			byNumber[e.round] = round
		}
		switch e.kind {
		case entryStarted:
			round.Started = info.Modified
		case entryComplete:
			round.Complete, round.Completed = true, info.Modified
		case entryManifest:
			round.Tasks = append(round.Tasks, e.task)
		}
	}
	visible, err := r.visibility(ctx, l)
	if err != nil {
		return nil, err
	}
	var rounds []Round
	for _, n := range slices.Sorted(maps.Keys(byNumber)) {
		round := *byNumber[n]
		if !visible(n) {
			round.Complete, round.Completed = false, time.Time{}
		}
		slices.SortFunc(round.Tasks, partition.TaskID.Compare)
		rounds = append(rounds, round)
	}
	return rounds, nil
}

// visibility says of a round number whether a complete round of that number counts: it is not below the
// floor, or a savepoint keeps it.
func (r *Repository) visibility(ctx context.Context, l life) (func(int64) bool, error) {
	kept, err := r.listSavepoints(ctx, l)
	if err != nil {
		return nil, err
	}
	floor, err := r.floor(ctx, l)
	if err != nil {
		return nil, err
	}
	return func(n int64) bool {
		return n >= floor || slices.ContainsFunc(kept, func(s Savepoint) bool { return s.Round == n })
	}, nil
}

// floor is the number below which rounds are dropped or being dropped; 0 if none.
func (r *Repository) floor(ctx context.Context, l life) (int64, error) {
	var floor int64
	for info, err := range r.store.List(ctx, l.floors()) {
		if err != nil {
			return 0, err
		}
		if n, ok := l.parseFloor(info.Name); ok {
			floor = max(floor, n)
		}
	}
	return floor, nil
}
