// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/version"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
)

// ErrStarting says that the worker has not found out yet what was asked for.
var ErrStarting = &Problem{Status: http.StatusServiceUnavailable, Code: codeUnavailable, Retry: time.Second,
	Detail: "the worker is starting: it has not found out yet what it was asked for"}

// errNoStore says that there are no checkpoints.
var errNoStore = Problemf(http.StatusConflict, "no-object-store", "no object store is configured, so there are no checkpoints: set store.url")

// resources answers for a worker and its application.
type resources struct {
	cfg      *config.Config
	topology *topology.Topology
	worker   Worker

	halts   *memo[*halt]
	rounds  *memo[[]checkpoint.Round]
	saved   *memo[[]checkpoint.LifeSavepoint]
	weights *weights
	ops     *operations
	hub     *hub
}

// Resources adds the routes of a worker and of its application.
func (s *Server) Resources(w Worker, t *topology.Topology) {
	res := &resources{
		cfg: s.cfg, topology: t, worker: w,
		halts: newMemo[*halt](), rounds: newMemo[[]checkpoint.Round](), saved: newMemo[[]checkpoint.LifeSavepoint](),
		weights: newWeights(),
	}
	res.hub = newHub(res.facets, res.distantFacets)
	res.ops = newOperations(s.log, s.ending, res.hub)
	res.actions()
	s.background = append(s.background, res.hub.run)
	s.drains = append(s.drains, res.ops.close)
	for _, r := range []struct {
		pattern string
		role    Role
		handle  func(http.ResponseWriter, *http.Request) error
	}{
		{"GET /api/v1/status", Viewer, res.getStatus},
		{"GET /api/v1/application", Viewer, res.getApplication},
		{"GET /api/v1/topology", Viewer, res.getTopology},
		{"GET /api/v1/tasks", Viewer, res.getTasks},
		{"GET /api/v1/tasks/{task}", Viewer, res.getTask},
		{"GET /api/v1/workers", Viewer, res.getWorkers},
		{"GET /api/v1/moves", Viewer, res.getMoves},
		{"GET /api/v1/config", Viewer, res.getConfig},
		{"GET /api/v1/errors", Viewer, res.getErrors},
		{"GET /api/v1/checkpoints", Viewer, res.getCheckpoints},
		{"GET /api/v1/checkpoints/{round}", Viewer, res.getCheckpoint},
		{"GET /api/v1/savepoints", Viewer, res.getSavepoints},
		{"DELETE /api/v1/savepoints/{name}", Admin, res.deleteSavepoint},
		{"GET /api/v1/operations", Viewer, res.getOperations},
		{"GET /api/v1/operations/{id}", Viewer, res.getOperation},
		{"POST /api/v1/operations", Operator, res.postOperation},
	} {
		s.Handle(Route{Pattern: r.pattern, Role: r.role, Handle: r.handle})
	}
	s.Handle(Route{Pattern: "GET /api/v1/events", Role: Viewer, Stream: true, Handle: s.streamEvents(res.hub)})
}

// life returns what is known of the application.
func (res *resources) life() (Life, error) {
	life, ok := res.worker.Life()
	if !ok {
		return life, ErrStarting
	}
	return life, nil
}

// archive returns the application's checkpoints.
func (res *resources) archive() (Life, *checkpoint.Repository, error) {
	life, err := res.life()
	if err == nil && life.Repository == nil {
		err = errNoStore
	}
	return life, life.Repository, err
}

func (res *resources) getStatus(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	return WriteJSON(w, r, res.worker.Status())
}

// halt is a round at which the application stops, or has stopped.
type halt struct {
	Round int64 `json:"round"`
	Over  bool  `json:"over"` // all tasks stand there
}

// applicationView is the resource of the application.
type applicationView struct {
	ID          string             `json:"id"`
	Incarnation int                `json:"incarnation"`
	Fingerprint string             `json:"fingerprint"` // of the worker's pipeline
	Guarantee   config.Guarantee   `json:"guarantee"`
	Created     time.Time          `json:"created,omitzero"`
	Origin      *checkpoint.Origin `json:"origin,omitempty"`
	Outputs     checkpoint.Outputs `json:"outputs"`
	Tasks       int                `json:"tasks"`
	Halt        *halt              `json:"halt,omitempty"`
	Version     version.Info       `json:"version"`
}

func (res *resources) getApplication(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	life, err := res.life()
	if err != nil {
		return err
	}
	v := applicationView{
		ID: res.worker.Status().App, Incarnation: life.Incarnation, Fingerprint: res.topology.Fingerprint(), Guarantee: res.cfg.Guarantee,
		Created: life.Created, Origin: life.Origin, Outputs: life.Outputs, Tasks: len(life.Tasks), Version: version.Of(),
	}
	if v.Halt, err = res.currentHalt(r.Context(), life); err != nil {
		return err
	}
	return WriteJSON(w, r, v)
}

// currentHalt looks whether the application is halted.
func (res *resources) currentHalt(ctx context.Context, life Life) (*halt, error) {
	if life.Repository == nil {
		return nil, nil
	}
	return res.halts.get(ctx, func(ctx context.Context) (*halt, error) {
		n, err := life.Repository.CurrentHalt(ctx, life.Incarnation)
		if err != nil || n == 0 {
			return nil, err
		}
		over, err := life.Repository.Over(ctx, life.Incarnation, n)
		return &halt{n, over}, err
	})
}

// topologyTypes are the media types of the forms in which a topology is given.
var topologyTypes = map[topology.Format]string{
	topology.JSON: "application/json", topology.DOT: "text/vnd.graphviz; charset=utf-8", topology.Mermaid: "text/plain; charset=utf-8", topology.Text: "text/plain; charset=utf-8",
}

func (res *resources) getTopology(w http.ResponseWriter, r *http.Request) error {
	q, err := query(r, "format")
	if err != nil {
		return err
	}
	format := topology.JSON
	if text := q.Get("format"); text != "" {
		format = topology.Format(text)
	}
	mediaType := topologyTypes[format]
	if mediaType == "" {
		return Problemf(http.StatusBadRequest, codeInvalid, "format %.20q is not one of json, dot, mermaid, text", string(format))
	}
	var b bytes.Buffer
	if err := res.topology.Describe(&b, format); err != nil {
		return err
	}
	return write(w, r, mediaType, b.Bytes())
}

// taskView is the resource of a task.
type taskView struct {
	Task        partition.TaskID `json:"task"`
	SubTopology int32            `json:"subTopology"`
	Partition   int32            `json:"partition"`
	Inputs      []taskInput      `json:"inputs"`
	Stores      []string         `json:"stores"`
	Status      *Task            `json:"status,omitempty"` // absent: another worker has it, or nobody
}

type taskInput struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
}

func newTaskView(t TaskPlan, here []Task) taskView {
	v := taskView{Task: t.ID, SubTopology: t.ID.SubTopology, Partition: t.ID.Partition, Stores: t.Stores}
	for _, tp := range t.Inputs {
		v.Inputs = append(v.Inputs, taskInput{tp.Topic, tp.Partition})
	}
	if i := slices.IndexFunc(here, func(s Task) bool { return s.Task == t.ID.String() }); i >= 0 {
		v.Status = &here[i]
	}
	return v
}

func (res *resources) getTasks(w http.ResponseWriter, r *http.Request) error {
	life, err := res.life()
	if err != nil {
		return err
	}
	plans, err := pageOf(r, life.Tasks, func(t TaskPlan) string { return t.ID.String() })
	if err != nil {
		return err
	}
	here := res.worker.Status().Tasks
	answer := page[taskView]{Next: plans.Next}
	for _, t := range plans.Items {
		answer.Items = append(answer.Items, newTaskView(t, here))
	}
	return WriteJSON(w, r, answer)
}

func (res *resources) getTask(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	life, err := res.life()
	if err != nil {
		return err
	}
	id, err := partition.ParseTaskID(r.PathValue("task"))
	if err != nil {
		return Problemf(http.StatusBadRequest, codeInvalid, "%v", err)
	}
	i := slices.IndexFunc(life.Tasks, func(t TaskPlan) bool { return t.ID == id })
	if i < 0 {
		return Problemf(http.StatusNotFound, codeNotFound, "the application has %d tasks, and no task %v", len(life.Tasks), id)
	}
	return WriteJSON(w, r, newTaskView(life.Tasks[i], res.worker.Status().Tasks))
}

func (res *resources) getWorkers(w http.ResponseWriter, r *http.Request) error {
	p, err := pageOf(r, res.worker.Members(), func(m Member) string { return m.ID })
	if err != nil {
		return err
	}
	return WriteJSON(w, r, p)
}

func (res *resources) getMoves(w http.ResponseWriter, r *http.Request) error {
	p, err := pageOf(r, res.worker.Status().Moves, func(m Move) string { return m.Task })
	if err != nil {
		return err
	}
	return WriteJSON(w, r, p)
}

// settingView is a setting as the worker was started with.
type settingView struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Origin string `json:"origin"`
}

// getConfig gives all settings. No setting holds a secret: those are in files that settings name.
func (res *resources) getConfig(w http.ResponseWriter, r *http.Request) error {
	if _, err := query(r); err != nil {
		return err
	}
	var answer page[settingView]
	for _, s := range config.Settings() {
		answer.Items = append(answer.Items, settingView{s.Name, res.cfg.Text(s.Name), res.cfg.Origin(s.Name).String()})
	}
	return WriteJSON(w, r, answer)
}

// getErrors gives what has gone wrong. The texts of errors are for those who may look up state.
func (res *resources) getErrors(w http.ResponseWriter, r *http.Request) error {
	all := res.worker.Failures()
	p, err := pageOf(r, all, func(f Failure) string { return fmt.Sprintf("%q %q %q %q", f.Source, f.Step, f.Phase, f.Outcome) })
	if err != nil {
		return err
	}
	if !CallerOf(r.Context()).Role.may(&Route{Role: Operator}) {
		for i := range p.Items {
			for j := range p.Items[i].Samples {
				p.Items[i].Samples[j].Error = ""
			}
		}
	}
	return WriteJSON(w, r, p)
}
