// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"github.com/streamd/streamd/engine/api"
)

// view is what the HTTP API sees of a worker.
type view struct{ w *Worker }

// Status implements api.Worker.
func (v view) Status() api.Status { return v.w.status.Snapshot() }

// Failures implements api.Worker.
func (v view) Failures() []api.Failure { return v.w.listener.f.all() }

// Drain implements api.Worker.
func (v view) Drain() { v.w.drain() }

// Life implements api.Worker.
func (v view) Life() (api.Life, bool) {
	life := v.w.life.Load()
	if life == nil {
		return api.Life{}, false
	}
	return *life, true
}

// Members implements api.Worker.
func (v view) Members() []api.Member {
	var members []api.Member
	t := v.w.Placement()
	for i, m := range t.Members {
		members = append(members, api.Member{
			ID: m.TransactionalID, Endpoint: m.Endpoint, Zone: m.Zone, Version: m.Version, Leaving: m.Leaving, Self: i == t.Self,
			Tasks: m.Owned, Standbys: m.Standby, WarmUps: m.WarmUp,
		})
	}
	return members
}

// showLife lets the API see what the worker has found out about its application.
func (w *Worker) showLife() {
	life := &api.Life{
		Incarnation: w.names.Incarnation, Created: w.app.created, Origin: w.app.origin, Outputs: w.app.outputs, Repository: w.repo,
	}
	for _, id := range w.taskIDs() {
		plan := api.TaskPlan{ID: id, Inputs: w.all[id].Inputs}
		for _, s := range w.subs[id.SubTopology].Stores {
			plan.Stores = append(plan.Stores, s.Name)
		}
		life.Tasks = append(life.Tasks, plan)
	}
	w.life.Store(life)
}
