// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"bytes"
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
	Abandoned bool               // some task cannot store its part
	Tasks     []partition.TaskID // that have a manifest, sorted
}

// roundRecord is the content of a "complete" object.
type roundRecord struct {
	Round     int64                       `json:"round"`
	Manifests map[partition.TaskID]string `json:"manifests"` // checksums
	Channels  []Channel                   `json:"channels,omitempty"`
}

func newRoundRecord(round int64, manifests []Manifest, channels []Channel) roundRecord {
	rec := roundRecord{Round: round, Manifests: map[partition.TaskID]string{}, Channels: channels}
	for _, m := range manifests {
		rec.Manifests[m.Task] = m.Checksum
	}
	return rec
}

// How says what tasks do that have entered a round.
type How string

// What tasks do that have entered a round.
const (
	GoOn How = "go on\n"
	Halt How = "halt\n" // until Resume
)

// StartRound creates round n if it does not exist. created is informative: after a lost reply or a race
// it says who came first, not whether the round exists, which it does when err is nil. Round numbers are
// dense: call it with LatestRound's number plus one only. A number that was dropped is ErrSuperseded: the
// caller has not looked for very long.
func (r *Repository) StartRound(ctx context.Context, incarnation int, n int64, how How) (created bool, err error) {
	l, err := r.lifeRound(incarnation, n)
	if err != nil {
		return false, err
	}
	if err := r.checkFloor(ctx, l, n); err != nil {
		return false, fmt.Errorf("start round %d: %w", n, err)
	}
	if created, err = r.mark(ctx, l.started(n), string(how)); err != nil {
		return false, fmt.Errorf("start round %d: %w", n, err)
	}
	return created, nil
}

// Halted says whether a round is a halt that nobody has ended yet.
func (r *Repository) Halted(ctx context.Context, incarnation int, n int64) (bool, error) {
	l, err := r.lifeRound(incarnation, n)
	if err != nil {
		return false, err
	}
	content, err := objstore.ReadAll(ctx, r.store, l.started(n), int64(len(GoOn)))
	how := How(content)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return false, nil // dropped
	case errors.Is(err, objstore.ErrTooLarge) || err == nil && how != GoOn && how != Halt:
		// Going on after a halt would emit beyond a savepoint, so nothing is guessed.
		return false, fmt.Errorf("look whether round %d is a halt: %w: object %s says neither %q nor %q", n, ErrCorrupt, l.started(n), GoOn, Halt)
	case err != nil || how == GoOn:
		return false, err
	}
	resumed, err := r.exists(ctx, l.resumed(n))
	return !resumed, err
}

// Resume ends a halt: workers that start go on from it. May be repeated.
func (r *Repository) Resume(ctx context.Context, incarnation int, n int64) error {
	l, err := r.lifeRound(incarnation, n)
	if err != nil {
		return err
	}
	if _, err := r.mark(ctx, l.resumed(n), "resumed\n"); err != nil {
		return fmt.Errorf("resume after round %d: %w", n, err)
	}
	return nil
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

// Abandon records that the round will not be complete: a task that has entered it cannot store its part. The next round
// need not wait for it. It is a hint: should the round be completed nevertheless, it is complete. May be repeated.
func (r *Repository) Abandon(ctx context.Context, incarnation int, n int64, why string) error {
	l, err := r.lifeRound(incarnation, n)
	if err != nil {
		return err
	}
	if _, err := r.mark(ctx, l.abandoned(n), why+"\n"); err != nil {
		return fmt.Errorf("abandon round %d: %w", n, err)
	}
	return nil
}

// Over says whether a round is complete or abandoned: nothing more is expected of it.
func (r *Repository) Over(ctx context.Context, incarnation int, n int64) (bool, error) {
	l, err := r.lifeRound(incarnation, n)
	if err != nil {
		return false, err
	}
	for _, name := range []string{l.complete(n), l.abandoned(n)} {
		if ok, err := r.exists(ctx, name); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// Completion is what CompleteRound needs to know of a round.
type Completion struct {
	Incarnation int
	Round       int64
	Tasks       []partition.TaskID // all of the application
	Generation  string             // of the caller
	// Channels brings what was in flight between the tasks at the cut into local files, one for each channel that was not
	// empty. It is called once all manifests are there, which are in the order of Tasks.
	Channels func(ctx context.Context, manifests []Manifest) ([]ChannelFile, error)
}

// CompleteRound stores what was in flight and records that the round is complete, if every task's manifest is there and
// whole. If some are still to come the error wraps ErrIncomplete and names them; a dropped round is ErrSuperseded. Any
// worker may call it, and call it again.
func (r *Repository) CompleteRound(ctx context.Context, c Completion) error {
	l, err := r.lifeRound(c.Incarnation, c.Round)
	if err == nil {
		err = r.completeRound(ctx, l, c)
	}
	if err != nil {
		return fmt.Errorf("complete round %d: %w", c.Round, err)
	}
	return nil
}

func (r *Repository) completeRound(ctx context.Context, l life, c Completion) error {
	// Repeated calls are common, and cost little.
	if err := r.checkFloor(ctx, l, c.Round); err != nil {
		return err
	}
	if ok, err := r.exists(ctx, l.complete(c.Round)); ok || err != nil {
		return err
	}
	manifests, err := r.allManifests(ctx, l, c.Round, c.Tasks)
	if err != nil {
		return err
	}
	var channels []Channel
	began := time.Now()
	if c.Channels != nil {
		files, err := c.Channels(ctx, manifests)
		if err != nil {
			return err
		}
		began = time.Now() // nothing is in the store yet
		if channels, err = r.storeChannels(ctx, r.newSender(l, c.Generation, c.Round), files); err != nil {
			return err
		}
	}
	// A drop that begins after this look hides the round by its floor, whatever is created below.
	if err := r.checkFloor(ctx, l, c.Round); err != nil {
		return err
	}
	return r.createRecord(ctx, l, newRoundRecord(c.Round, manifests, channels), began)
}

// createRecord creates a round's record. One that stands is fine. began is as for createNaming, of the channels' objects.
func (r *Repository) createRecord(ctx context.Context, l life, record roundRecord, began time.Time) error {
	document, _, err := encode(kindRound, record)
	if err != nil {
		return err
	}
	if len(record.Channels) == 0 {
		err = r.store.Create(ctx, l.complete(record.Round), bytes.NewReader(document))
	} else {
		err = r.createNaming(ctx, began, l.complete(record.Round), document)
	}
	if errors.Is(err, objstore.ErrExists) {
		return nil
	}
	return err
}

// checkFloor refuses a round that is dropped.
func (r *Repository) checkFloor(ctx context.Context, l life, n int64) error {
	floor, err := r.floor(ctx, l)
	if err == nil && n < floor {
		err = fmt.Errorf("%w: rounds below %d are dropped", ErrSuperseded, floor)
	}
	return err
}

// listed returns the tasks of which a manifest of the round is listed.
func (r *Repository) listed(ctx context.Context, l life, n int64) (map[partition.TaskID]bool, error) {
	found := map[partition.TaskID]bool{}
	for info, err := range r.store.List(ctx, l.round(n)) {
		if err != nil {
			return nil, err
		}
		if e, ok := l.parseRoundEntry(info.Name); ok && e.kind == entryManifest {
			found[e.task] = true
		}
	}
	return found, nil
}

// allManifests reads the manifests of all tasks of a round. It looks at the listing first, since it is called often before
// all are there.
func (r *Repository) allManifests(ctx context.Context, l life, n int64, tasks []partition.TaskID) ([]Manifest, error) {
	listed, err := r.listed(ctx, l, n)
	if err != nil {
		return nil, err
	}
	var absent []string
	for _, task := range tasks {
		if !listed[task] {
			absent = append(absent, task.String())
		}
	}
	if len(absent) > 0 {
		return nil, fmt.Errorf("%w: no manifest of %d of %d tasks: %s", ErrIncomplete, len(absent), len(tasks), abbreviate(absent))
	}
	return r.readManifests(ctx, l, n, tasks)
}

// readManifests reads the manifests of tasks, in their order. None may be missing.
func (r *Repository) readManifests(ctx context.Context, l life, n int64, tasks []partition.TaskID) ([]Manifest, error) {
	manifests := make([]Manifest, len(tasks))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(r.parallel)
	for i, task := range tasks {
		group.Go(func() (err error) {
			manifests[i], err = r.readManifest(ctx, l, n, task)
			return err
		})
	}
	return manifests, group.Wait()
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
	return r.roundsBelow(ctx, l, l.rounds())
}

// roundsBelow lists the rounds of which objects have names with the prefix.
func (r *Repository) roundsBelow(ctx context.Context, l life, prefix string) ([]Round, error) {
	byNumber := map[int64]*Round{}
	for info, err := range r.store.List(ctx, prefix) {
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
		case entryAbandoned:
			round.Abandoned = true
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
	// One that is damaged keeps nobody from the rounds that need no savepoint; collection stops at it.
	kept, _, err := r.readSavepoints(ctx, l)
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
