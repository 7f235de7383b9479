// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"context"
	"fmt"
	"time"

	"github.com/streamd/streamd/partition"
)

// Fork makes a checkpoint of another application the checkpoint of a task of this one, by reference: the manifest is
// new, the objects stay where they are. m is the manifest to be stored, with the Files of its origin. It may be
// repeated; a manifest of another generation is ErrSuperseded. The origin's collection spares the objects from then
// on; an object that it has condemned or deleted already is ErrMissing.
func (r *Repository) Fork(ctx context.Context, m Manifest) (Manifest, error) {
	l, err := r.lifeRound(m.Incarnation, m.Round)
	if err == nil && m.App != r.app {
		err = fmt.Errorf("%w: manifest is of application %q, the repository of %q", ErrInvalid, m.App, r.app)
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("fork checkpoint of task %s: %w", m.Task, err)
	}
	m.Created = storedTime(time.Now())
	if standing, ok, err := r.standing(ctx, l, m); ok || err != nil {
		return standing, err
	}
	// See doc.go on I3: beyond this time collection may not have seen the manifest.
	ctx, cancel := context.WithTimeout(ctx, r.grace/2)
	defer cancel()
	if err := r.borrow(ctx, m.Files); err != nil {
		return Manifest{}, fmt.Errorf("fork checkpoint of task %s: %w", m.Task, err)
	}
	stored, err := r.createManifest(ctx, l, m)
	if err != nil {
		return Manifest{}, fmt.Errorf("fork checkpoint of task %s: %w", m.Task, err)
	}
	return stored, nil
}

// CompleteManifests reads the manifests of a round that must be complete, one for each task. ErrIncomplete says that
// it is not; ErrMissing that the round does not exist or was dropped.
func (r *Repository) CompleteManifests(ctx context.Context, incarnation int, n int64, tasks []partition.TaskID) ([]Manifest, error) {
	for round, err := range r.Rounds(ctx, incarnation) {
		if err != nil {
			return nil, err
		}
		if round.Number != n {
			continue
		}
		if !round.Complete {
			return nil, fmt.Errorf("checkpoint %d of application %s: %w: %d of %d tasks have stored theirs", n, r.app, ErrIncomplete, len(round.Tasks), len(tasks))
		}
		manifests := make([]Manifest, len(tasks))
		for i, id := range tasks {
			if manifests[i], err = r.Manifest(ctx, incarnation, n, id); err != nil {
				return nil, fmt.Errorf("checkpoint %d of application %s: %w", n, r.app, err)
			}
		}
		return manifests, nil
	}
	return nil, fmt.Errorf("checkpoint %d of application %s: %w; list what there is with: checkpoints list", n, r.app, ErrMissing)
}
