// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/streamd/streamd/partition"
)

// Report is what Verify found.
type Report struct {
	Round    int64
	Complete bool
	Tasks    []TaskReport // in order of their ids
	Channels ChannelReport
}

// ChannelReport is what Verify found of what was in flight.
type ChannelReport struct {
	Channels int
	Records  int64
	Bytes    int64
	Problems []error // as in TaskReport
}

// TaskReport is what Verify found of one task's checkpoint.
type TaskReport struct {
	Task     partition.TaskID
	Files    int
	Bytes    int64
	Problems []error // each wraps ErrCorrupt, ErrMissing or ErrFutureFormat and names the object
}

// Damaged says whether anything is wrong.
func (rep Report) Damaged() bool {
	return len(rep.Channels.Problems) > 0 || slices.ContainsFunc(rep.Tasks, func(t TaskReport) bool { return len(t.Problems) > 0 })
}

// Verify reads a round whole, as a restore would, and reports per task what could not be restored. An
// object that several manifests name is read once. The error is for what kept it from looking; a round of
// which nothing exists is ErrMissing.
func (r *Repository) Verify(ctx context.Context, incarnation int, n int64) (Report, error) {
	report, err := r.verify(ctx, incarnation, n)
	if err != nil {
		return Report{}, fmt.Errorf("verify round %d: %w", n, err)
	}
	return report, nil
}

func (r *Repository) verify(ctx context.Context, incarnation int, n int64) (Report, error) {
	l, err := r.lifeRound(incarnation, n)
	if err != nil {
		return Report{}, err
	}
	rounds, err := r.listRounds(ctx, l)
	if err != nil {
		return Report{}, err
	}
	at := slices.IndexFunc(rounds, func(x Round) bool { return x.Number == n })
	if at < 0 {
		return Report{}, fmt.Errorf("%w: there is no such round", ErrMissing)
	}
	report := Report{Round: n, Complete: rounds[at].Complete}
	record := roundRecord{}
	if report.Complete {
		if record, err = r.readRoundRecord(ctx, l, n); err != nil {
			return Report{}, err
		}
	}
	tasks := rounds[at].Tasks
	for task := range record.Manifests {
		if !slices.Contains(tasks, task) {
			tasks = append(tasks, task)
		}
	}
	slices.SortFunc(tasks, partition.TaskID.Compare)
	v := verifier{r: r, l: l, record: record}
	v.mu.checked = map[string]error{}
	for _, task := range tasks {
		t, err := v.task(ctx, n, task)
		if err != nil {
			return Report{}, err
		}
		report.Tasks = append(report.Tasks, t)
	}
	report.Channels, err = v.channels(ctx)
	return report, err
}

type verifier struct {
	r      *Repository
	l      life
	record roundRecord
	mu     struct {
		sync.Mutex
		checked map[string]error // by object
	}
}

func (v *verifier) task(ctx context.Context, n int64, task partition.TaskID) (TaskReport, error) {
	t := TaskReport{Task: task}
	m, err := v.r.readManifest(ctx, v.l, n, task)
	if IsDamage(err) {
		t.Problems = append(t.Problems, err)
		return t, nil
	}
	if err != nil {
		return t, err
	}
	if err := v.record.confirm(v.l, m); err != nil {
		t.Problems = append(t.Problems, err)
	}
	t.Files, t.Bytes = len(m.Files), m.Bytes()
	problems, err := v.objects(ctx, m.Files)
	t.Problems = append(t.Problems, problems...)
	return t, err
}

func (v *verifier) channels(ctx context.Context) (ChannelReport, error) {
	rep := ChannelReport{Channels: len(v.record.Channels)}
	for _, c := range v.record.Channels {
		rep.Records += c.Records
		rep.Bytes += c.File.Size
	}
	var err error
	rep.Problems, err = v.objects(ctx, filesOfChannels(v.record.Channels))
	return rep, err
}

// objects returns what is wrong with the objects of files.
func (v *verifier) objects(ctx context.Context, files []File) ([]error, error) {
	problems := make([]error, len(files))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(v.r.parallel)
	for i, f := range files {
		group.Go(func() error {
			err := v.object(ctx, f)
			if IsDamage(err) {
				problems[i] = err
				return nil
			}
			return err
		})
	}
	err := group.Wait()
	return slices.DeleteFunc(problems, func(err error) bool { return err == nil }), err
}

func (v *verifier) object(ctx context.Context, f File) error {
	v.mu.Lock()
	err, done := v.mu.checked[f.Object]
	v.mu.Unlock()
	if done {
		return err
	}
	err = v.r.readVerified(ctx, f, io.Discard)
	if err == nil || IsDamage(err) {
		v.mu.Lock()
		v.mu.checked[f.Object] = err
		v.mu.Unlock()
	}
	return err
}
