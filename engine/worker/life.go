// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/engine/task"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
)

// This file begins a life of an application from a cut: a fork is a new application, a rollback another life of the same
// one. Both take the state by reference, put the records that were in flight into new repartition topics, and commit the
// offsets of the cut, in one transaction. All steps may be repeated, by anyone: a worker that finds a life half begun
// finishes it.

// Life is a life of an application that begins from a cut.
type Life struct {
	From     checkpoint.Origin
	Outputs  checkpoint.Outputs
	Rollback bool // of the same application; else a fork
	// Rescale allows for numbers of tasks other than those at the cut: state, and what was in flight, is divided anew.
	Rescale bool
	// Partitions is how many partitions repartition topics get in a rescale; 0: as many as they had.
	Partitions int32
}

// Beginning is what a life begins with.
type Beginning struct {
	App         string          `json:"app"`
	Incarnation int             `json:"incarnation"`
	From        string          `json:"from"` // the cut
	Tasks       []BeginningTask `json:"tasks"`
	InFlight    int64           `json:"inFlight"` // records carried over
	Resumed     bool            `json:"resumed"`  // an earlier attempt had got so far that this one goes on with it
	Rescaled    []Rescaled      `json:"rescaled,omitempty"`
}

// Rescaled is a sub-topology whose checkpoints are written anew.
type Rescaled struct {
	SubTopology int32 `json:"subTopology"`
	From        int32 `json:"from"` // tasks; 0: there was no such sub-topology
	To          int32 `json:"to"`
}

// BeginningTask is one task of a life that begins.
type BeginningTask struct {
	Task       partition.TaskID           `json:"task"`
	StateBytes int64                      `json:"stateBytes"`
	Inputs     map[string]map[int32]int64 `json:"inputs"`   // where it begins in the user's topics
	InFlight   int64                      `json:"inFlight"` // records that wait for it in repartition topics
	Behind     int64                      `json:"behind"`   // records from there to the present ends of the user's topics, markers included
}

// Errors of lives.
var (
	// ErrLifeTaken refuses an application id under which something else has begun.
	ErrLifeTaken = errors.New("the application id is in use")
	// ErrRunning refuses what only a stopped application allows.
	ErrRunning = errors.New("the application is running; stop its workers first")
	// ErrOutputs refuses a fork that would write to the topics of the application it comes from without being told to.
	ErrOutputs = errors.New("a fork needs a prefix for its output topics, or must be muted: it would write to the original's topics")
)

// Begin begins a life of the application that the options name, and returns what it begins with. Everything is verified
// before anything is written: that the cut is complete, that the pipeline fits its state, that the source topics are the
// same and still hold what follows. With dryRun nothing is written at all. Called again after a failure it goes on.
func Begin(ctx context.Context, o Options, life Life, dryRun bool) (Beginning, error) {
	w, err := New(o)
	if err != nil {
		return Beginning{}, err
	}
	defer func() {
		w.cease(errHalted)
		w.release()
	}()
	if w.store == nil && w.cfg.StoreURL == "" {
		return Beginning{}, errors.New("no object store is configured; set store.url to where the checkpoints are")
	}
	if err := w.connect(ctx); err != nil {
		return Beginning{}, err
	}
	if err := w.openStore(ctx); err != nil {
		return Beginning{}, err
	}
	b, err := w.planLife(ctx, life)
	if err != nil || dryRun {
		return b, err
	}
	return b, w.beginLife(ctx)
}

// planLife loads the cut and verifies that the life can begin from it.
func (w *Worker) planLife(ctx context.Context, life Life) (Beginning, error) {
	w.names = Names{App: w.cfg.AppID, Incarnation: 1}
	if w.names.App == life.From.App && !life.Rollback {
		return Beginning{}, fmt.Errorf("application %s: %w: a fork needs an id of its own", life.From.App, ErrLifeTaken)
	}
	if life.Outputs == (checkpoint.Outputs{}) && !life.Rollback {
		return Beginning{}, ErrOutputs
	}
	if err := w.chooseLife(ctx, life); err != nil {
		return Beginning{}, err
	}
	members, err := w.cluster.Members(ctx, w.names.App)
	if err != nil {
		return Beginning{}, err
	}
	if members > 0 {
		return Beginning{}, fmt.Errorf("application %s has %d workers: %w", w.names.App, members, ErrRunning)
	}
	w.app.origin, w.app.outputs = &life.From, life.Outputs
	original, err := w.originalLife(ctx)
	if err != nil {
		return Beginning{}, err
	}
	if w.rescales = life.Rescale; w.app.topicIDs == nil {
		w.planPartitions(original, life)
	}
	if err := w.resolveTopics(ctx, w.userSources()); err != nil {
		return Beginning{}, err
	}
	return w.verifyLife(ctx, original)
}

// chooseLife finds the number of the life: that of an earlier attempt at the same, or a new one.
func (w *Worker) chooseLife(ctx context.Context, life Life) error {
	rec, err := w.repo.LoadApplication(ctx)
	switch {
	case errors.Is(err, checkpoint.ErrMissing) && !life.Rollback:
		return nil
	case err != nil:
		return err
	}
	w.app.initialized, err = w.repo.Initialized(ctx, rec.Incarnation)
	if err != nil {
		return err
	}
	same := rec.Origin != nil && *rec.Origin == life.From && rec.Outputs == life.Outputs
	switch {
	case same && (!w.app.initialized || !life.Rollback):
		w.adopt(rec)
	case life.Rollback && w.app.initialized:
		w.names.Incarnation, w.app.initialized = rec.Incarnation+1, false
	case life.Rollback:
		return fmt.Errorf("application %s: %w: its life %d was begun from %v and not finished; finish that first", rec.App, ErrLifeTaken, rec.Incarnation, rec.Origin)
	default:
		return fmt.Errorf("application %s: %w: it began %s", rec.App, ErrLifeTaken, beganFrom(rec))
	}
	return nil
}

func beganFrom(rec checkpoint.Application) string {
	if rec.Origin == nil {
		return "with nothing"
	}
	return "from " + rec.Origin.String()
}

// originalLife loads the life that the cut is of.
func (w *Worker) originalLife(ctx context.Context) (checkpoint.Application, error) {
	from := w.app.origin
	return checkpoint.NewRepository(w.store, from.App).LoadLife(ctx, from.Incarnation)
}

// verifyLife proves that the pipeline can go on from the cut of an original, which it loads.
func (w *Worker) verifyLife(ctx context.Context, original checkpoint.Application) (b Beginning, err error) {
	from := *w.app.origin
	b = Beginning{App: w.names.App, Incarnation: w.names.Incarnation, From: from.String(), Resumed: w.app.topicIDs != nil}
	if err := w.checkTopology(original); err != nil {
		return b, err
	}
	if w.cut, err = checkpoint.NewRepository(w.store, from.App).LoadCut(ctx, from.Incarnation, from.Round); err != nil {
		return b, err
	}
	w.leaveOut()
	if b.Rescaled, err = w.compareTasks(original); err != nil {
		return b, err
	}
	w.rescaled = b.Rescaled
	starts, ends, err := w.logBounds(ctx, original)
	if err != nil {
		return b, err
	}
	for _, m := range w.cut.Manifests {
		if err := w.fits(m); err != nil {
			return b, err
		}
	}
	for _, id := range w.taskIDs() {
		t, err := w.verifyTask(id, starts, ends)
		if err != nil {
			return b, err
		}
		b.Tasks = append(b.Tasks, t)
	}
	for _, c := range w.cut.Channels {
		b.InFlight += c.Records
	}
	return b, w.verifyKeys(ctx, ends)
}

// planPartitions says how many partitions repartition topics get: as many as at the cut, or as a rescale wants.
func (w *Worker) planPartitions(original checkpoint.Application, life Life) {
	w.app.partitions = maps.Clone(original.Partitions)
	if life.Rescale && life.Partitions > 0 {
		for step := range w.app.partitions {
			w.app.partitions[step] = life.Partitions
		}
	}
}

// leaveOut takes off the cut what the pipeline has given up by Drop.
func (w *Worker) leaveOut() {
	w.cut.Manifests = slices.DeleteFunc(w.cut.Manifests, func(m checkpoint.Manifest) bool { return w.subs[m.Task.SubTopology] == nil })
	w.cut.Channels = slices.DeleteFunc(w.cut.Channels, func(c checkpoint.Channel) bool { return !w.repartition[w.names.Repartition(c.Topic)] })
}

// compareTasks compares the tasks of the cut with those that the pipeline has now, and returns the sub-topologies whose
// checkpoints cannot be taken as they are: the number of tasks, or what they read, has changed, or there was no such
// sub-topology.
func (w *Worker) compareTasks(original checkpoint.Application) ([]Rescaled, error) {
	before := w.topology
	if original.Topology != "" {
		var err error
		if before, err = topology.Decode([]byte(original.Topology)); err != nil {
			return nil, err
		}
	}
	had, has := tasksIn(manifestTasks(w.cut.Manifests)), tasksIn(w.taskIDs())
	var rescaled []Rescaled
	for i := range w.topology.SubTopologies {
		s := &w.topology.SubTopologies[i]
		was, is := had[s.ID], has[s.ID]
		if was != is && was > 0 && !w.rescales && w.app.topicIDs == nil {
			return nil, fmt.Errorf("sub-topology %d had %d tasks at the cut, its topics now give %d: %w", s.ID, was, is, ErrPartitionsChanged)
		}
		if was != is || !readsTheSame(before, s) {
			rescaled = append(rescaled, Rescaled{s.ID, was, is})
		}
	}
	return rescaled, nil
}

// readsTheSame says whether a sub-topology has the sources that it had.
func readsTheSame(before *topology.Topology, s *topology.SubTopology) bool {
	type input struct {
		topic    string
		internal bool
	}
	inputs := func(sources []topology.Source) map[input]bool {
		set := map[input]bool{}
		for _, src := range sources {
			set[input{src.Topic, src.Internal}] = true
		}
		return set
	}
	return int(s.ID) < len(before.SubTopologies) && maps.Equal(inputs(before.SubTopologies[s.ID].Sources), inputs(s.Sources))
}

func manifestTasks(manifests []checkpoint.Manifest) (ids []partition.TaskID) {
	for _, m := range manifests {
		ids = append(ids, m.Task)
	}
	return ids
}

// tasksIn counts the tasks of each sub-topology.
func tasksIn(ids []partition.TaskID) map[int32]int32 {
	n := map[int32]int32{}
	for _, id := range ids {
		n[id.SubTopology] = max(n[id.SubTopology], id.Partition+1)
	}
	return n
}

// logBounds returns the starts and ends of the user's source topics, after a look whether they still are the same topics.
func (w *Worker) logBounds(ctx context.Context, original checkpoint.Application) (starts, ends map[partition.TopicPartition]int64, err error) {
	sources := w.userSources()
	for _, name := range sources {
		if was := original.TopicIDs[name]; was != "" && was != w.user[name].ID {
			return nil, nil, fmt.Errorf("source topic %s: %w: its id is %s, the cut is of %s", name, kafka.ErrTopicGone, w.user[name].ID, was)
		}
	}
	if starts, err = w.cluster.StartOffsets(ctx, sources...); err != nil {
		return nil, nil, err
	}
	ends, err = w.cluster.EndOffsets(ctx, sources...)
	return starts, ends, err
}

// verifyTask finds where a task begins, and checks that its inputs hold what follows.
func (w *Worker) verifyTask(id partition.TaskID, starts, ends map[partition.TopicPartition]int64) (BeginningTask, error) {
	t := BeginningTask{Task: id, Inputs: map[string]map[int32]int64{}}
	for _, m := range w.cut.Manifests {
		if m.Task == id && !w.isRescaled(id.SubTopology) {
			t.StateBytes = m.Bytes()
		}
	}
	for _, tp := range w.all[id].Inputs {
		if w.repartition[tp.Topic] {
			continue
		}
		at, ok := w.cutPosition(tp)
		switch {
		case !ok && w.isRescaled(id.SubTopology):
			at = starts[tp] // a partition that there was not
		case !ok:
			return t, fmt.Errorf("%w: the checkpoint of task %v has no position in %v", ErrTopologyChanged, id, tp)
		case at < starts[tp]:
			return t, fmt.Errorf("begin from %v: task %v goes on with %v at offset %d: %w: the log begins at %d, so %d offsets are gone", w.cut, id, tp, at, kafka.ErrOffsetExpired, starts[tp], starts[tp]-at)
		}
		t.Inputs[tp.Topic] = map[int32]int64{tp.Partition: at}
		t.Behind += max(0, ends[tp]-at)
		w.begins[tp] = at
	}
	for _, c := range w.cut.Channels {
		if w.owner[partition.TopicPartition{Topic: w.names.Repartition(c.Topic), Partition: c.Partition}] == id && !w.isRescaled(id.SubTopology) {
			t.InFlight += c.Records
		}
	}
	return t, nil
}

// cutPosition is where the application stood in a partition of a user's topic at the cut.
func (w *Worker) cutPosition(tp partition.TopicPartition) (int64, bool) {
	for _, m := range w.cut.Manifests {
		if at, ok := m.Position.Inputs[tp.Topic][tp.Partition]; ok {
			return at, true
		}
	}
	return 0, false
}

// beginLife makes what the life consists of. Everything has been verified.
func (w *Worker) beginLife(ctx context.Context) error {
	if w.app.initialized {
		return nil
	}
	if err := w.createOutputs(ctx); err != nil {
		return err
	}
	if err := w.ensureInternal(ctx); err != nil {
		return err
	}
	if err := w.createApplication(ctx, w.begins); err != nil {
		return err
	}
	if err := w.storeCut(ctx); err != nil {
		return err
	}
	own, err := w.repo.LoadCut(ctx, w.names.Incarnation, w.cut.Round)
	if err != nil {
		return err
	}
	dir, err := w.channelDir()
	if err != nil {
		return err
	}
	channels, err := w.fetchChannels(ctx, own, dir)
	if err != nil {
		return err
	}
	var commits []kafka.OffsetCommit
	for _, m := range own.Manifests {
		metadata := core.Metadata{
			Incarnation: w.names.Incarnation, Epoch: m.Position.Epoch, ChangelogOffset: -1, Round: own.Round, Entered: own.Round,
			TransactionalID: "-", Watermark: m.Position.Watermark,
		}.Encode()
		for _, tp := range w.all[m.Task].Inputs {
			commits = append(commits, kafka.OffsetCommit{Partition: tp, Offset: w.begins[tp], Metadata: metadata})
		}
	}
	if err := w.commitInitial(ctx, commits, channels); err != nil {
		return err
	}
	return w.markInitialized(ctx)
}

// storeCut makes the cut the first checkpoint of this life: by reference, or divided anew.
func (w *Worker) storeCut(ctx context.Context) error {
	if len(w.rescaled) > 0 {
		return w.rescale(ctx)
	}
	return w.repo.Adopt(ctx, w.cut, w.adopted(w.cut.Manifests))
}

// adopted are manifests of the cut as checkpoints of this life, whose changelog is empty.
func (w *Worker) adopted(manifests []checkpoint.Manifest) []checkpoint.Manifest {
	manifests = slices.Clone(manifests)
	for i := range manifests {
		m := &manifests[i]
		m.App, m.Incarnation = w.names.App, w.names.Incarnation
		m.Position.ChangelogOffset, m.Position.Produced = -1, nil
		m.Position.Inputs = byTopic(w.beginsOf(m.Task))
	}
	return manifests
}

// beginsOf is where a task begins. Repartition topics begin with what was in flight.
func (w *Worker) beginsOf(id partition.TaskID) task.Position {
	inputs := task.Position{}
	for _, tp := range w.all[id].Inputs {
		inputs[tp] = w.begins[tp]
	}
	return inputs
}

// fetchChannels brings what was in flight at a cut into files of a folder.
func (w *Worker) fetchChannels(ctx context.Context, cut checkpoint.Cut, dir string) ([]kafka.SavedChannel, error) {
	repo := checkpoint.NewRepository(w.store, cut.App)
	var saved []kafka.SavedChannel
	for _, c := range cut.Channels {
		s := kafka.SavedChannel{
			Partition: partition.TopicPartition{Topic: w.names.Repartition(c.Topic), Partition: c.Partition},
			File:      filepath.Join(dir, fmt.Sprintf("%s.%d", c.Topic, c.Partition)), Records: c.Records,
		}
		if err := repo.FetchChannel(ctx, c, s.File); err != nil {
			return nil, err
		}
		saved = append(saved, s)
	}
	return saved, nil
}

// seedTimeout is how long the transaction may take that carries over what was in flight: as long as brokers allow unless
// they are told otherwise.
const seedTimeout = 15 * time.Minute

// resolveTopics looks up topics of the user, and finds what tasks the pipeline has.
func (w *Worker) resolveTopics(ctx context.Context, names []string) (err error) {
	if w.user, err = waitForTopics(ctx, names, topicPatience, w.cluster.Topics); err != nil {
		return err
	}
	if err := w.planTopics(w.user); err != nil {
		return err
	}
	tasks, err := partition.Tasks(w.topology.Partition(w.topicName), w.counts)
	if err != nil {
		return err
	}
	w.all, w.owner, w.subs = map[partition.TaskID]partition.Task{}, map[partition.TopicPartition]partition.TaskID{}, map[int32]*topology.SubTopology{}
	w.first, w.repartition, w.begins = tasks[0].ID, map[string]bool{}, map[partition.TopicPartition]int64{}
	for _, t := range tasks {
		w.all[t.ID] = t
		for _, tp := range t.Inputs {
			w.owner[tp] = t.ID
		}
	}
	for i := range w.topology.SubTopologies {
		s := &w.topology.SubTopologies[i]
		w.subs[s.ID] = s
		for _, src := range s.Sources {
			if src.Internal {
				w.repartition[w.names.Repartition(src.Topic)] = true
			}
		}
	}
	return nil
}

// outputName is the name on the cluster of a topic that the pipeline writes.
func (w *Worker) outputName(topic string, internal bool) string {
	if !internal {
		return w.app.outputs.Prefix + topic
	}
	return w.topicName(topic, internal)
}

// muted says whether records for a topic are thrown away.
func (w *Worker) muted(internal bool) bool { return w.app.outputs.Muted && !internal }

// createOutputs makes the prefixed topics of a fork, each with as many partitions as the one it stands for.
func (w *Worker) createOutputs(ctx context.Context) error {
	if w.app.outputs.Prefix == "" || w.app.outputs.Muted {
		return nil
	}
	originals, err := waitForTopics(ctx, w.topology.UserOutputs(), topicPatience, w.cluster.Topics)
	if err != nil {
		return err
	}
	var create []kafka.InternalTopic
	for _, t := range originals {
		create = append(create, kafka.InternalTopic{Name: w.app.outputs.Prefix + t.Name, Partitions: t.Partitions})
	}
	return w.cluster.CreateInternal(ctx, create)
}

// taskIDs returns all tasks of the application, in order.
func (w *Worker) taskIDs() []partition.TaskID {
	return slices.SortedFunc(maps.Keys(w.all), partition.TaskID.Compare)
}
