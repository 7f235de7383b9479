// SPDX-License-Identifier: Apache-2.0

package fork

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"time"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// The new application begins its first life with one checkpoint.
const (
	firstIncarnation = 1
	firstRound       = 1
)

// rebaseBytes is what the stores that are opened on the way may use: they hold one record that is written.
const rebaseBytes = 128 << 20

// Execute makes the new application, which a worker can then run. It may be repeated after a failure.
func (p *Plan) Execute(ctx context.Context) error {
	if err := p.execute(ctx); err != nil {
		return fmt.Errorf("replay checkpoint %d of %s as %s: %w", p.request.Round, p.request.Origin, p.request.Config.AppID, err)
	}
	return nil
}

func (p *Plan) execute(ctx context.Context) error {
	if _, err := p.target.StartRound(ctx, firstIncarnation, firstRound); err != nil {
		return err
	}
	if err := p.copyState(ctx); err != nil {
		return err
	}
	ids := make([]partition.TaskID, len(p.Parts))
	for i, part := range p.Parts {
		ids[i] = part.Task
	}
	if err := p.target.CompleteRound(ctx, firstIncarnation, firstRound, ids); err != nil {
		return err
	}
	changelogs, err := p.createChangelogs(ctx)
	if err != nil {
		return err
	}
	if err := p.record(ctx, changelogs); err != nil {
		return err
	}
	return p.commit(ctx)
}

// copyState publishes every task's state as the new application's first checkpoint.
func (p *Plan) copyState(ctx context.Context) (err error) {
	resources, err := statestore.NewResources(rebaseBytes)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resources.Close()) }()
	if err := os.MkdirAll(p.request.Config.StateDir, 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(p.request.Config.StateDir, "fork-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	for i := range p.Parts {
		if err := p.copyPart(ctx, &p.Parts[i], temp, resources); err != nil {
			return fmt.Errorf("copy the state of task %v: %w", p.Parts[i].Task, err)
		}
	}
	return nil
}

func (p *Plan) copyPart(ctx context.Context, part *Part, temp string, resources *statestore.Resources) error {
	m := part.manifest
	m.App, m.Incarnation, m.Round, m.Generation = p.request.Config.AppID, firstIncarnation, firstRound, p.generation()
	m.Position.ChangelogOffset = -1
	u := checkpoint.Upload{Manifest: m, Dir: temp}
	if len(m.Files) > 0 {
		dir := filepath.Join(temp, part.Task.String())
		if _, err := p.origin.Restore(ctx, part.manifest, dir); err != nil {
			return err
		}
		u.Dir = dir + "-cut"
		files, err := p.rebase(ctx, part, dir, u.Dir, resources)
		if err != nil {
			return err
		}
		u.Files = files
		defer os.RemoveAll(dir)
		defer os.RemoveAll(u.Dir)
	}
	u.Manifest.Files = nil
	_, _, err := p.target.Publish(ctx, u)
	return err
}

// generation names the owner of the copied checkpoint: the same for the same request, so that it may be repeated.
func (p *Plan) generation() string {
	return fmt.Sprintf("fork-%s-%d", p.request.Origin, p.request.Round)
}

// rebase opens restored state in dir, sets its changelog position to "nothing yet" and freezes its files into cut. It
// returns no file for a task that had not committed anything yet.
func (p *Plan) rebase(ctx context.Context, part *Part, dir, cut string, resources *statestore.Resources) (files []string, err error) {
	db, err := statestore.Open(statestore.Options{
		Dir:       dir,
		Identity:  statestore.Identity{App: p.request.Config.AppID, Incarnation: firstIncarnation, Task: part.Task},
		Resources: resources,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	have, ok := db.Position()
	part.stateful = ok
	if !ok && part.manifest.Position.ChangelogOffset < 0 {
		return nil, nil
	}
	if want := part.manifest.Position; !ok || have.Epoch != want.Epoch || have.Offset != want.ChangelogOffset {
		return nil, fmt.Errorf("%w: its files are at epoch %d, its manifest says %d", checkpoint.ErrCorrupt, have.Epoch, want.Epoch)
	}
	have.Offset = -1
	if err := db.Apply(nil, have); err != nil {
		return nil, err
	}
	c, err := db.Cut(ctx, cut)
	if err != nil {
		return nil, err
	}
	if err := <-c.Done(); err != nil {
		return nil, err
	}
	for _, f := range c.Files() {
		files = append(files, f.Name)
	}
	return files, nil
}

// createChangelogs creates the new application's changelogs, which are empty, and returns their ids.
func (p *Plan) createChangelogs(ctx context.Context) (map[string]string, error) {
	tasks := map[int32]int32{}
	for _, part := range p.Parts {
		tasks[part.Task.SubTopology]++
	}
	var topics []kafka.InternalTopic
	var names []string
	for _, s := range p.request.Topology.SubTopologies {
		if s.Stateful() {
			name := p.names().Changelog(s.ID)
			topics = append(topics, kafka.InternalTopic{Name: name, Partitions: tasks[s.ID]})
			names = append(names, name)
		}
	}
	if err := p.request.Admin.CreateInternal(ctx, topics); err != nil {
		return nil, err
	}
	got, err := p.request.Admin.Topics(ctx, names)
	if err == nil {
		err = kafka.Missing(names, got)
	}
	if err != nil {
		return nil, err
	}
	ids := map[string]string{}
	for name, info := range got {
		ids[name] = info.ID
	}
	return ids, nil
}

func (p *Plan) names() worker.Names {
	return worker.Names{App: p.request.Config.AppID, Incarnation: firstIncarnation}
}

// record creates the application's object. One of another request is an application of its own.
func (p *Plan) record(ctx context.Context, changelogs map[string]string) error {
	rec := checkpoint.Application{
		App: p.request.Config.AppID, Incarnation: firstIncarnation, Fingerprint: p.request.Topology.Fingerprint(),
		Created: time.Now(), TopicIDs: maps.Clone(p.topicIDs), InitialOffsets: map[string]map[int32]int64{},
	}
	maps.Copy(rec.TopicIDs, changelogs)
	for _, part := range p.Parts {
		for tp, at := range part.Inputs {
			if rec.InitialOffsets[tp.Topic] == nil {
				rec.InitialOffsets[tp.Topic] = map[int32]int64{}
			}
			rec.InitialOffsets[tp.Topic][tp.Partition] = at
		}
	}
	winner, _, err := p.target.CreateApplication(ctx, rec)
	if err != nil {
		return err
	}
	if !maps.EqualFunc(winner.InitialOffsets, rec.InitialOffsets, maps.Equal) || !maps.Equal(winner.TopicIDs, rec.TopicIDs) {
		return ErrExists
	}
	return nil
}

// commit commits the offsets that name the copied checkpoint: with it the new application has begun.
func (p *Plan) commit(ctx context.Context) error {
	var commits []kafka.OffsetCommit
	for _, part := range p.Parts {
		meta := core.Metadata{
			Incarnation: firstIncarnation, Epoch: part.manifest.Position.Epoch, ChangelogOffset: -1,
			TransactionalID: p.names().TransactionalID(p.generation()),
		}
		if part.stateful {
			meta.Round = firstRound
		}
		for tp, at := range part.Inputs {
			commits = append(commits, kafka.OffsetCommit{Partition: tp, Offset: at, Metadata: meta.Encode()})
		}
	}
	return p.request.Admin.CommitInitial(ctx, p.request.Config.AppID, commits)
}
