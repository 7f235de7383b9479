// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"net/http"

	"github.com/streamd/streamd/checkpoint"
)

// conflicts are the reasons for which an operation cannot be done as things are.
var conflicts = []struct {
	err  error
	code string
}{
	{checkpoint.ErrTaken, "name-taken"},
	{checkpoint.ErrHalted, "halted"},
	{checkpoint.ErrNotHalted, "not-halted"},
	{checkpoint.ErrAbandoned, "abandoned"},
}

// actions says what may be asked for, and how it is done.
func (res *resources) actions() {
	plain := func(a asked) error {
		if a.Name != "" || a.Note != "" || a.Stop {
			return Problemf(http.StatusBadRequest, codeInvalid, "action %s takes neither name nor note nor stop", a.Action)
		}
		return nil
	}
	stored := func(also func(asked) error) func(asked) error {
		return func(a asked) error {
			if err := also(a); err != nil {
				return err
			}
			_, _, err := res.archive()
			return err
		}
	}
	for _, action := range []struct {
		name  string
		check func(asked) error
		do    deed
	}{
		{"savepoint", stored(checkSavepoint), res.takeRound},
		{"pause", stored(plain), res.takeRound},
		{"resume", stored(plain), res.resume},
		{"drain", plain, res.drain},
	} {
		res.ops.check[action.name], res.ops.deeds[action.name] = action.check, action.do
	}
}

func checkSavepoint(a asked) error {
	if err := checkpoint.CheckID(a.Name); err != nil {
		return Problemf(http.StatusBadRequest, codeInvalid, "name of the savepoint: %v", err)
	}
	if len(a.Note) > maxNote {
		return Problemf(http.StatusBadRequest, codeInvalid, "the note has %d bytes, at most %d are allowed", len(a.Note), maxNote)
	}
	return nil
}

// takeRound has all tasks store their state, keeps that if it is given a name, and stops the application there if it is asked
// to. Whoever is told to stop ends: a worker that is started again waits until resume.
func (res *resources) takeRound(ctx context.Context, by string, a asked, report func(func(*operation))) error {
	life, repo, err := res.archive()
	if err != nil {
		return err
	}
	defer res.forget()
	how := checkpoint.GoOn
	if a.Stop || a.Action == "pause" {
		how = checkpoint.Halt
	}
	_, err = repo.RequestRound(ctx, checkpoint.RoundRequest{
		Incarnation: life.Incarnation, How: how, Name: a.Name, By: by, Note: a.Note,
		Begun:  func(n int64) { report(func(op *operation) { op.Round = n }) },
		Stored: func(_ int64, tasks int) { report(func(op *operation) { op.Stored = tasks }) },
	})
	return err
}

func (res *resources) resume(ctx context.Context, _ string, _ asked, report func(func(*operation))) error {
	life, repo, err := res.archive()
	if err != nil {
		return err
	}
	defer res.forget()
	n, err := repo.EndHalt(ctx, life.Incarnation)
	if err == nil {
		report(func(op *operation) { op.Round = n })
	}
	return err
}

// drain ends this worker. The operation has succeeded when the server ends, which is the last that a worker does.
func (res *resources) drain(ctx context.Context, _ string, _ asked, _ func(func(*operation))) error {
	res.worker.Drain()
	select {
	case <-res.ops.ending.Done():
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
