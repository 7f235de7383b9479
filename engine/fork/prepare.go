// SPDX-License-Identifier: Apache-2.0

package fork

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
)

// ErrNotPossible marks a checkpoint that this pipeline cannot go on from.
var ErrNotPossible = errors.New("the checkpoint cannot be replayed")

// ErrExists marks a new application id that is taken.
var ErrExists = errors.New("an application of this id exists already: choose another id, or reset it first")

// Request says what to fork from what. Config is that of the new application, its id included.
type Request struct {
	Config   *config.Config
	Topology *topology.Topology
	Store    objstore.Store
	Admin    *kafka.Admin
	Origin   string // application id
	Round    int64  // a complete checkpoint of the origin
}

// Part is one task's share of a Plan.
type Part struct {
	Task   partition.TaskID
	Bytes  int64 // of state, to be copied
	Inputs map[partition.TopicPartition]int64
	Behind int64 // records between its offsets and the present ends, markers included

	manifest checkpoint.Manifest
	stateful bool // Execute has found state in its files
}

// Plan is a fork that was found possible.
type Plan struct {
	Parts []Part // by task

	request  Request
	origin   *checkpoint.Repository
	target   *checkpoint.Repository
	topicIDs map[string]string
	counts   map[string]int32
}

// Prepare checks everything and changes nothing.
func Prepare(ctx context.Context, r Request) (*Plan, error) {
	p := &Plan{
		request: r,
		origin:  checkpoint.NewRepository(r.Store, r.Origin),
		target:  checkpoint.NewRepository(r.Store, r.Config.AppID),
	}
	if err := p.checkTopology(); err != nil {
		return nil, err
	}
	if err := p.checkTarget(ctx); err != nil {
		return nil, err
	}
	app, err := p.origin.LoadApplication(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.loadManifests(ctx, app.Incarnation); err != nil {
		return nil, err
	}
	obstacles := p.checkStores()
	more, err := p.checkInputs(ctx, app)
	if err != nil {
		return nil, err
	}
	if obstacles = append(obstacles, more...); len(obstacles) > 0 {
		return nil, fmt.Errorf("replay checkpoint %d of %s: %w:\n%w", r.Round, r.Origin, ErrNotPossible, errors.Join(obstacles...))
	}
	return p, nil
}

func (p *Plan) checkTopology() error {
	r := p.request
	if r.Origin == r.Config.AppID {
		return fmt.Errorf("replay %s as %s: %w: the new application needs an id of its own", r.Origin, r.Config.AppID, ErrNotPossible)
	}
	if !config.ValidAppID(r.Config.AppID) {
		return fmt.Errorf("replay %s as %q: %w: an application id has up to 100 letters, digits, underscores and dashes", r.Origin, r.Config.AppID, ErrNotPossible)
	}
	for _, s := range r.Topology.SubTopologies {
		for _, src := range s.Sources {
			if src.Internal {
				return fmt.Errorf("replay %s: %w: the pipeline has a repartition topic (%s), and the records that were on their way through it when the checkpoint was taken are in no task's state", r.Origin, ErrNotPossible, src.Topic)
			}
		}
	}
	return nil
}

// checkTarget refuses an id that is in use. What an earlier, killed Execute of the same request has left is no
// obstacle: it has not marked the application as initialized, and has committed what this one would.
func (p *Plan) checkTarget(ctx context.Context) error {
	id := p.request.Config.AppID
	started, err := p.target.Initialized(ctx, firstIncarnation)
	if err != nil {
		return err
	}
	group, err := p.request.Admin.GroupOf(ctx, id)
	if err != nil {
		return err
	}
	rec, err := p.target.LoadApplication(ctx)
	recorded := err == nil
	if err != nil && !errors.Is(err, checkpoint.ErrMissing) {
		return err
	}
	if started || len(group.Members) > 0 || recorded && rec.Incarnation != firstIncarnation || !recorded && len(group.Committed) > 0 {
		return fmt.Errorf("replay %s as %s: %w", p.request.Origin, id, ErrExists)
	}
	return nil
}

func (p *Plan) loadManifests(ctx context.Context, incarnation int) error {
	n := p.request.Round
	for round, err := range p.origin.Rounds(ctx, incarnation) {
		if err != nil {
			return err
		}
		if round.Number != n {
			continue
		}
		if !round.Complete {
			return fmt.Errorf("replay checkpoint %d of %s: %w: not every task has stored its part", n, p.request.Origin, checkpoint.ErrIncomplete)
		}
		for _, id := range round.Tasks {
			m, err := p.origin.Manifest(ctx, incarnation, n, id)
			if err != nil {
				return err
			}
			p.Parts = append(p.Parts, Part{Task: id, Bytes: m.Bytes(), Inputs: inputsOf(m), manifest: m})
		}
		return nil
	}
	return fmt.Errorf("replay checkpoint %d of %s: %w: there is no such checkpoint", n, p.request.Origin, checkpoint.ErrMissing)
}

func inputsOf(m checkpoint.Manifest) map[partition.TopicPartition]int64 {
	inputs := map[partition.TopicPartition]int64{}
	for topic, offsets := range m.Position.Inputs {
		for n, at := range offsets {
			inputs[partition.TopicPartition{Topic: topic, Partition: n}] = at
		}
	}
	return inputs
}

// checkStores compares the stores in the checkpoint with those of the pipeline: every stored one needs an owner that
// reads it as it was written.
func (p *Plan) checkStores() []error {
	subs := map[int32]*topology.SubTopology{}
	for i := range p.request.Topology.SubTopologies {
		s := &p.request.Topology.SubTopologies[i]
		subs[s.ID] = s
	}
	var obstacles []error
	seen := map[string]bool{}
	for _, part := range p.Parts {
		m := part.manifest
		for name, id := range m.Stores {
			key := fmt.Sprint(m.Task.SubTopology, "/", name)
			if seen[key] {
				continue
			}
			seen[key] = true
			if err := checkStore(subs[m.Task.SubTopology], name, id, m.Codecs[name]); err != nil {
				obstacles = append(obstacles, err)
			}
		}
	}
	slices.SortFunc(obstacles, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return obstacles
}

func checkStore(sub *topology.SubTopology, name string, id uint16, codecs string) error {
	if sub != nil {
		for _, st := range sub.Stores {
			if st.Name != name {
				continue
			}
			if now := st.KeyCodec + "/" + st.ValueCodec; st.ID != id || codecs != "" && codecs != now {
				return fmt.Errorf("store %s was written with codecs %s and id %d, the pipeline has %s and %d: %w", name, codecs, id, now, st.ID, topology.ErrIncompatible)
			}
			return nil
		}
	}
	return fmt.Errorf("store %s is in the checkpoint, but the pipeline has no such store at its place: %w", name, topology.ErrIncompatible)
}

// checkInputs finds out whether the source topics are those of the checkpoint and still hold what follows it.
func (p *Plan) checkInputs(ctx context.Context, app checkpoint.Application) ([]error, error) {
	names := p.userTopics()
	topics, err := p.request.Admin.Topics(ctx, names)
	if err != nil {
		return nil, err
	}
	sources := p.sources()
	if err := kafka.Missing(sources, topics); err != nil {
		return nil, err
	}
	var obstacles []error
	p.topicIDs, p.counts = map[string]string{}, map[string]int32{}
	for name, info := range topics {
		p.topicIDs[name], p.counts[name] = info.ID, info.Partitions
		if was := app.TopicIDs[name]; slices.Contains(sources, name) && was != "" && was != info.ID {
			obstacles = append(obstacles, fmt.Errorf("topic %s: %w since the checkpoint", name, kafka.ErrTopicGone))
		}
	}
	tasks, err := partition.Tasks(p.request.Topology.Partition(plainName), p.counts)
	if err != nil {
		return append(obstacles, err), nil
	}
	if missing := p.missingTasks(tasks); missing != nil {
		obstacles = append(obstacles, missing)
	}
	more, err := p.checkOffsets(ctx, sources)
	return append(obstacles, more...), err
}

func plainName(topic string, _ bool) string { return topic }

func (p *Plan) missingTasks(tasks []partition.Task) error {
	same := len(tasks) == len(p.Parts)
	for _, t := range tasks {
		same = same && slices.ContainsFunc(p.Parts, func(part Part) bool { return part.Task == t.ID })
	}
	if same {
		return nil
	}
	return fmt.Errorf("the checkpoint is of %d tasks, the pipeline has %d now: partitions were added, or the pipeline has changed", len(p.Parts), len(tasks))
}

func (p *Plan) checkOffsets(ctx context.Context, sources []string) ([]error, error) {
	starts, err := p.request.Admin.StartOffsets(ctx, sources...)
	if err != nil {
		return nil, err
	}
	ends, err := p.request.Admin.HighWatermarks(ctx, sources...)
	if err != nil {
		return nil, err
	}
	var obstacles []error
	for i := range p.Parts {
		for tp, at := range p.Parts[i].Inputs {
			start, ok := starts[tp]
			switch {
			case !ok:
				obstacles = append(obstacles, fmt.Errorf("input %v is not there any more", tp))
			case at < start:
				obstacles = append(obstacles, fmt.Errorf("input %v: %w: the checkpoint is at offset %d, the topic begins at %d", tp, kafka.ErrOffsetExpired, at, start))
			case at > ends[tp]:
				obstacles = append(obstacles, fmt.Errorf("input %v ends at offset %d, before the checkpoint (%d): records were lost", tp, ends[tp], at))
			default:
				p.Parts[i].Behind += ends[tp] - at
			}
		}
	}
	return obstacles, nil
}

// sources are the topics that the pipeline reads.
func (p *Plan) sources() []string {
	var names []string
	for _, s := range p.request.Topology.SubTopologies {
		for _, src := range s.Sources {
			names = append(names, src.Topic)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// userTopics are the topics that the pipeline reads and writes.
func (p *Plan) userTopics() []string {
	names := p.sources()
	for _, s := range p.request.Topology.SubTopologies {
		for _, out := range s.Outputs {
			names = append(names, out.Topic)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
