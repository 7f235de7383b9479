// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/partition"
)

// roundView is a checkpoint of the whole application in a list.
type roundView struct {
	Round     int64     `json:"round"`
	State     string    `json:"state"` // complete, running, abandoned or incomplete
	Started   time.Time `json:"started,omitzero"`
	Completed time.Time `json:"completed,omitzero"`
	Tasks     int       `json:"tasks"` // that have stored their part
	weight
}

// weight is what there is to a complete checkpoint. It does not change.
type weight struct {
	Bytes    int64 `json:"bytes,omitempty"`    // of all files that a restore needs
	Files    int   `json:"files,omitempty"`    //
	InFlight int64 `json:"inFlight,omitempty"` // records between tasks at the cut
}

// stateOf says what is to be expected of a round.
func stateOf(r checkpoint.Round, newest int64) string {
	switch {
	case r.Complete:
		return "complete"
	case r.Abandoned:
		return "abandoned"
	case r.Number == newest:
		return "running"
	}
	return "incomplete"
}

func newRoundView(r checkpoint.Round, newest int64) roundView {
	return roundView{Round: r.Number, State: stateOf(r, newest), Started: r.Started.UTC(), Completed: r.Completed.UTC(), Tasks: len(r.Tasks)}
}

// weights remembers those of complete checkpoints, which take a request for each task to find out.
type weights struct {
	mu struct {
		sync.Mutex
		known map[checkpoint.Origin]weight
	}
}

// maxWeights bounds what is remembered: some are forgotten when there are more.
const maxWeights = 4096

func newWeights() *weights {
	w := &weights{}
	w.mu.known = map[checkpoint.Origin]weight{}
	return w
}

func (w *weights) of(ctx context.Context, repo *checkpoint.Repository, incarnation int, round checkpoint.Round) (weight, error) {
	name := checkpoint.Origin{App: repo.App(), Incarnation: incarnation, Round: round.Number}
	w.mu.Lock()
	known, ok := w.mu.known[name]
	w.mu.Unlock()
	if ok {
		return known, nil
	}
	cut, err := repo.CutOf(ctx, incarnation, round)
	if err != nil {
		return weight{}, err
	}
	known = weigh(cut)
	w.mu.Lock()
	defer w.mu.Unlock()
	for other := range w.mu.known {
		if len(w.mu.known) < maxWeights {
			break
		}
		delete(w.mu.known, other)
	}
	w.mu.known[name] = known
	return known, nil
}

func weigh(cut checkpoint.Cut) weight {
	total := weight{InFlight: cut.InFlight()}
	for _, m := range cut.Manifests {
		total.Bytes += m.Bytes()
		total.Files += len(m.Files)
	}
	return total
}

// listRounds returns the rounds of the application's life, newest first.
func (res *resources) listRounds(ctx context.Context, life Life) ([]checkpoint.Round, error) {
	return res.rounds.get(ctx, func(ctx context.Context) ([]checkpoint.Round, error) {
		var rounds []checkpoint.Round
		for r, err := range life.Repository.Rounds(ctx, life.Incarnation) {
			if err != nil {
				return nil, err
			}
			rounds = append(rounds, r)
		}
		slices.Reverse(rounds)
		return rounds, nil
	})
}

func newestOf(rounds []checkpoint.Round) int64 {
	if len(rounds) == 0 {
		return 0
	}
	return rounds[0].Number
}

func (res *resources) getCheckpoints(w http.ResponseWriter, r *http.Request) error {
	life, repo, err := res.archive()
	if err != nil {
		return err
	}
	rounds, err := res.listRounds(r.Context(), life)
	if err != nil {
		return err
	}
	part, err := pageOf(r, rounds, func(c checkpoint.Round) string { return strconv.FormatInt(c.Number, 10) })
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), lookTimeout)
	defer cancel()
	answer := page[roundView]{Next: part.Next}
	for _, c := range part.Items {
		v := newRoundView(c, newestOf(rounds))
		if c.Complete {
			// One that is collected at this moment, or damaged, has no weight; the others are listed all the same.
			if v.weight, err = res.weights.of(ctx, repo, life.Incarnation, c); err != nil && !checkpoint.IsDamage(err) {
				return err
			}
		}
		answer.Items = append(answer.Items, v)
	}
	return WriteJSON(w, r, answer)
}

// maxSince is how many rounds may have begun since the rounds were listed.
const maxSince = 10

// roundDetail is a checkpoint with what each task has stored.
type roundDetail struct {
	roundView
	Parts []partView `json:"parts"`
}

// partView is one task's part of a checkpoint.
type partView struct {
	Task            partition.TaskID           `json:"task"`
	Epoch           uint64                     `json:"epoch"`
	ChangelogOffset int64                      `json:"changelogOffset"`
	Files           int                        `json:"files"`
	Bytes           int64                      `json:"bytes"`
	Owner           string                     `json:"owner"` // the transactional id of the worker that stored it
	Created         time.Time                  `json:"created"`
	Inputs          map[string]map[int32]int64 `json:"inputs"` // next offset by topic and partition
}

func (res *resources) getCheckpoint(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	n, err := strconv.ParseInt(r.PathValue("round"), 10, 64)
	if err != nil || n < 1 {
		return Problemf(http.StatusBadRequest, codeInvalid, "%.40q is not the number of a checkpoint", r.PathValue("round"))
	}
	life, repo, err := res.archive()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), lookTimeout)
	defer cancel()
	rounds, err := res.listRounds(ctx, life)
	if err != nil {
		return err
	}
	if newest := newestOf(rounds); n > newest && n <= newest+maxSince {
		res.rounds.forget()
		if rounds, err = res.listRounds(ctx, life); err != nil {
			return err
		}
	}
	i := slices.IndexFunc(rounds, func(c checkpoint.Round) bool { return c.Number == n })
	if i < 0 {
		return Problemf(http.StatusNotFound, codeNotFound, "there is no checkpoint %d; the newest is %d", n, newestOf(rounds))
	}
	d := roundDetail{roundView: newRoundView(rounds[i], newestOf(rounds))}
	var parts []checkpoint.Manifest
	if rounds[i].Complete {
		cut, err := repo.CutOf(ctx, life.Incarnation, rounds[i])
		if err != nil {
			return err
		}
		d.weight, parts = weigh(cut), cut.Manifests
	} else {
		for _, task := range rounds[i].Tasks {
			m, err := repo.Manifest(ctx, life.Incarnation, n, task)
			if err != nil {
				return err
			}
			parts = append(parts, m)
		}
	}
	for _, m := range parts {
		d.Parts = append(d.Parts, partView{
			Task: m.Task, Epoch: m.Position.Epoch, ChangelogOffset: m.Position.ChangelogOffset, Files: len(m.Files), Bytes: m.Bytes(),
			Owner: m.Generation, Created: m.Created.UTC(), Inputs: m.Position.Inputs,
		})
	}
	return WriteJSON(w, r, d)
}

// forget has what was looked up in the object store looked up anew, since it has just been changed.
func (res *resources) forget() {
	res.rounds.forget()
	res.saved.forget()
	res.halts.forget()
}

// savepointView is the resource of a savepoint.
type savepointView struct {
	Name        string    `json:"name"`
	Round       int64     `json:"round"`
	Incarnation int       `json:"incarnation"`
	Created     time.Time `json:"created"`
	By          string    `json:"by,omitempty"`
	Note        string    `json:"note,omitempty"`
}

// listSavepoints returns those of all lives of the application.
func (res *resources) listSavepoints(ctx context.Context, life Life) ([]checkpoint.LifeSavepoint, error) {
	return res.saved.get(ctx, func(ctx context.Context) ([]checkpoint.LifeSavepoint, error) {
		var all []checkpoint.LifeSavepoint
		for s, err := range life.Repository.LifeSavepoints(ctx, life.Incarnation) {
			if err != nil {
				return nil, err
			}
			all = append(all, s)
		}
		return all, nil
	})
}

func (res *resources) getSavepoints(w http.ResponseWriter, r *http.Request) error {
	life, _, err := res.archive()
	if err != nil {
		return err
	}
	all, err := res.listSavepoints(r.Context(), life)
	if err != nil {
		return err
	}
	part, err := pageOf(r, all, func(s checkpoint.LifeSavepoint) string { return strconv.Itoa(s.Life) + "/" + s.Name })
	if err != nil {
		return err
	}
	answer := page[savepointView]{Next: part.Next}
	for _, s := range part.Items {
		answer.Items = append(answer.Items, savepointView{s.Name, s.Round, s.Life, s.Created.UTC(), s.By, s.Note})
	}
	return WriteJSON(w, r, answer)
}

// deleteSavepoint lets go of the newest savepoint of a name.
func (res *resources) deleteSavepoint(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	name := r.PathValue("name")
	Audit(r.Context(), "savepoint", name)
	life, repo, err := res.archive()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), lookTimeout)
	defer cancel()
	for s, err := range repo.LifeSavepoints(ctx, life.Incarnation) {
		if err != nil {
			return err
		}
		if s.Name != name {
			continue
		}
		if err := repo.DeleteSavepoint(ctx, s.Life, name); err != nil {
			return err
		}
		res.forget()
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return Problemf(http.StatusNotFound, codeNotFound, "there is no savepoint of that name")
}
