// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/inspect"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
)

// planOptions are the flags of plan.
type planOptions struct {
	from, maxDownload string
	samples           int
	offline           bool
	failOn            []string
}

// verdicts are what --fail-on may name.
var verdicts = map[string]topology.Verdict{
	"drop": topology.Dropped, "refused": topology.Refused, "migrate": topology.Migrated, "new": topology.New,
}

// The ways to a release.
const (
	wayRolling  = "worker by worker"
	wayRollback = "rollback"
	wayNone     = "none"
)

// plan is what becomes of an application when another release goes on with it.
type plan struct {
	App        string                 `json:"app"`
	Life       int                    `json:"life"`
	Checkpoint int64                  `json:"checkpoint,omitzero"` // 0: there is none
	Changes    []planned              `json:"changes"`
	Create     []worker.InternalTopic `json:"create"` // topics that will be made
	Read       []inspect.TaskRead     `json:"read"`   // tasks whose state was sampled
	Left       []inspect.TaskRead     `json:"left"`   // tasks whose state was too much to download
	Way        string                 `json:"way"`
	earlier    bool                   // the life is not the newest
}

// planned is a change, and how samples of the state fared.
type planned struct {
	topology.Change
	Tried    int64         `json:"tried,omitzero"`
	Failed   int64         `json:"failed,omitzero"`
	Failures []planFailure `json:"failures,omitempty"`
}

type planFailure struct {
	Task    partition.TaskID `json:"task"`
	KeyHash string           `json:"keyHash"`
	Error   string           `json:"error"`
}

func (p *program) planCommand() *cobra.Command {
	var o planOptions
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Say what this binary would do to the application's state",
		Long: "Compares the pipeline of this binary with what the application has recorded and stored: what becomes of each\n" +
			"stage, topic and store, which topics will be made, and how to deploy it. Codecs and migrations are tried on samples\n" +
			"of the state of a checkpoint; an entry that does not decode is named by its task and the hash of its key. Nothing is\n" +
			"changed, and no worker is disturbed.\n\n" +
			"Exits with 3 if something is refused, or has a verdict that --fail-on names.",
		Example: p.example("plan", "plan --fail-on drop,migrate -o json", "plan --from before-release --samples 100000"),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, v := range o.failOn {
				if _, known := verdicts[v]; !known {
					return failf(exitUsage, "--fail-on %s is not known: it takes drop, refused, migrate and new, separated by commas", v)
				}
			}
			pl, err := p.plan(cmd, o)
			if err != nil {
				return err
			}
			if err := pl.print(cmd, p.name); err != nil {
				return err
			}
			return pl.verdict(o.failOn)
		},
	}
	addFrom(cmd, &o.from)
	f := cmd.Flags()
	f.IntVar(&o.samples, "samples", 1000, "try up to this `number` of entries of each store; 0: none")
	f.StringVar(&o.maxDownload, "max-download", "1GiB", "download at most this `size` of state, the smallest tasks first")
	f.BoolVar(&o.offline, "offline", false, "ask the object store only, not the brokers")
	f.StringSliceVar(&o.failOn, "fail-on", nil, "`verdicts` that exit with 3, beside refused: drop, migrate, new")
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), 10*time.Minute), false)
}

// plan makes the plan.
func (p *program) plan(cmd *cobra.Command, o planOptions) (*plan, error) {
	most, err := config.ParseSize(o.maxDownload)
	if err != nil {
		return nil, failf(exitUsage, "--max-download: %w", err)
	}
	own, err := p.topology()
	if err != nil {
		return nil, err
	}
	cfg, a, err := p.openArchive(cmd)
	if err != nil {
		return nil, err
	}
	life, c, err := a.planned(cmd, o.from, own)
	if err != nil {
		return nil, err
	}
	changes, err := c.Plan()
	if err != nil {
		return nil, err
	}
	pl := &plan{App: life.App, Life: life.Incarnation, Checkpoint: c.Number(), earlier: life.Incarnation != a.app.Incarnation,
		Create: []worker.InternalTopic{}, Read: []inspect.TaskRead{}, Left: []inspect.TaskRead{}}
	for _, ch := range changes {
		pl.Changes = append(pl.Changes, planned{Change: ch})
	}
	if err := pl.try(cmd, c, own, inspect.TrialOptions{Samples: o.samples, MaxBytes: most}); err != nil {
		return nil, err
	}
	was, err := topology.Decode([]byte(life.Topology))
	if err != nil {
		return nil, err
	}
	if pl.Way = wayRolling; pl.has(topology.Refused) {
		pl.Way = wayNone
	} else if life.Incarnation != a.app.Incarnation || begins(was, own) {
		pl.Way = wayRollback
	}
	if pl.Way != wayNone {
		// A rollback begins the life after the newest.
		is, had := life, topicsOf(was, life)
		if pl.Way == wayRollback {
			is.Incarnation, had = a.app.Incarnation+1, nil
		}
		pl.creates(topicsOf(own, is), had)
		if !o.offline {
			err = pl.ask(cmd, worker.Options{Config: cfg, Topology: own}, is)
		}
	}
	return pl, err
}

// planned opens the checkpoint of a plan. Without any, the application's record is all there is.
func (a *archive) planned(cmd *cobra.Command, from string, own *topology.Topology) (checkpoint.Application, *inspect.Checkpoint, error) {
	life, round, err := a.round(cmd.Context(), from)
	var coded *codedError
	if from == "latest" && errors.As(err, &coded) && coded.code == exitNotFound {
		say(cmd, "application %s has no complete checkpoint yet: no codec is tried", a.repo.App())
		life, round, err = a.app, checkpoint.Round{}, nil
	}
	if err == nil && round.Number > 0 {
		err = a.expectComplete(round)
	}
	if err != nil {
		return life, nil, err
	}
	c, err := inspect.Open(cmd.Context(), a.repo, life, round, own)
	return life, c, err
}

// try has the pipeline's codecs read samples of what stays.
func (pl *plan) try(cmd *cobra.Command, c *inspect.Checkpoint, own *topology.Topology, o inspect.TrialOptions) error {
	if o.Samples <= 0 {
		return nil
	}
	at := map[string]*planned{}
	for i := range pl.Changes {
		ch := &pl.Changes[i]
		if ch.Part == topology.PartStore && (ch.Verdict == topology.Kept || ch.Verdict == topology.Migrated) {
			at[ch.Name] = ch
			o.Stores = append(o.Stores, ch.Name)
		}
	}
	for _, open := range own.Openings {
		if err := open(cmd.Context()); err != nil {
			return fmt.Errorf("open the codecs of the pipeline: %w", err)
		}
	}
	o.Progress = progress(cmd, progressInterval)
	t, err := c.Try(cmd.Context(), o)
	if err != nil {
		return err
	}
	pl.Read, pl.Left = append(pl.Read, t.Read...), append(pl.Left, t.Left...)
	for _, s := range t.Stores {
		ch := at[s.Store]
		ch.Tried, ch.Failed = s.Tried, s.Failed
		for _, f := range s.Failures {
			ch.Failures = append(ch.Failures, planFailure{f.Task, f.KeyHash, f.Err.Error()})
		}
		if s.Failed > 0 {
			ch.Verdict = topology.Refused
			ch.Detail = fmt.Sprintf("%d of %d samples do not decode; mend the codec or the migration", s.Failed, s.Tried)
		}
	}
	return nil
}

// begins says whether the new release has a stage, or a stage a source, that was not there: it has no offsets yet.
func begins(was, is *topology.Topology) bool {
	for i, sub := range is.SubTopologies {
		if i >= len(was.SubTopologies) {
			return true
		}
		for _, src := range sub.Sources {
			had := func(s topology.Source) bool { return s.Topic == src.Topic && s.Internal == src.Internal }
			if !slices.ContainsFunc(was.SubTopologies[i].Sources, had) {
				return true
			}
		}
	}
	return false
}

// topicsOf names the internal topics of a pipeline in a life of an application.
func topicsOf(t *topology.Topology, life checkpoint.Application) []string {
	names := worker.Names{App: life.App, Incarnation: life.Incarnation}
	var topics []string
	for _, sub := range t.SubTopologies {
		for _, src := range sub.Sources {
			if src.Internal {
				topics = append(topics, names.Repartition(src.Topic))
			}
		}
		if sub.Stateful() {
			topics = append(topics, names.Changelog(sub.ID))
		}
	}
	return topics
}

func (pl *plan) creates(want, had []string) {
	for _, name := range want {
		if !slices.Contains(had, name) {
			pl.Create = append(pl.Create, worker.InternalTopic{Name: name})
		}
	}
}

// ask has the brokers say how many partitions the topics will have. One that does not answer is no obstacle.
func (pl *plan) ask(cmd *cobra.Command, o worker.Options, life checkpoint.Application) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), brokerPatience)
	defer cancel()
	topics, err := worker.InternalTopics(ctx, o, life)
	switch {
	case errors.Is(err, worker.ErrPartitionsChanged):
		return err
	case err != nil:
		say(cmd, "the brokers were asked in vain, so numbers of partitions are not known (--offline does not ask): %v", err)
		return nil
	}
	pl.Create = pl.Create[:0]
	for _, t := range topics {
		if !t.Exists {
			pl.Create = append(pl.Create, t)
		}
	}
	return nil
}

// brokerPatience is how long plan waits for brokers, which it can do without.
const brokerPatience = 15 * time.Second

func (pl *plan) has(v topology.Verdict) bool {
	return slices.ContainsFunc(pl.Changes, func(ch planned) bool { return ch.Verdict == v })
}

// verdict is the error of a plan that does not pass.
func (pl *plan) verdict(failOn []string) error {
	for _, name := range append([]string{"refused"}, failOn...) {
		n := 0
		for _, ch := range pl.Changes {
			if ch.Verdict == verdicts[name] {
				n++
			}
		}
		if n > 0 && name == "refused" {
			return failf(exitInvalid, "the pipeline cannot go on from the state of application %s: %d of %d parts refused", pl.App, n, len(pl.Changes))
		}
		if n > 0 {
			return failf(exitInvalid, "%d of %d parts %s, which --fail-on %s does not let pass", n, len(pl.Changes), verdicts[name], name)
		}
	}
	return nil
}

func (pl *plan) print(cmd *cobra.Command, binary string) error {
	t := newTable("PART", "NAME", "VERDICT", "TRIED", "DETAIL")
	for _, ch := range pl.Changes {
		tried := "-"
		if ch.Tried > 0 {
			tried = fmt.Sprint(ch.Tried)
		}
		t.row(ch.Part, ch.Name, ch.Verdict, tried, strings.ReplaceAll(ch.Detail, "\n", "; "))
	}
	for _, topic := range pl.Create {
		detail := "number of partitions not known"
		if topic.Partitions > 0 {
			detail = fmt.Sprintf("%d partitions", topic.Partitions)
		}
		t.row("internal topic", topic.Name, "created", "-", detail)
	}
	if err := printOut(cmd, pl, t); err != nil {
		return err
	}
	for _, ch := range pl.Changes {
		for _, f := range ch.Failures {
			say(cmd, "store %s, task %s, key with hash %s…: %s", ch.Name, f.Task, f.KeyHash, f.Error)
		}
	}
	pl.sayRead(cmd)
	pl.sayWay(cmd, binary)
	return nil
}

// sayRead tells what of the state was read.
func (pl *plan) sayRead(cmd *cobra.Command) {
	size := func(tasks []inspect.TaskRead) string {
		var n int64
		for _, t := range tasks {
			n += t.Bytes
		}
		return sizeText(n)
	}
	if len(pl.Read)+len(pl.Left) == 0 {
		return
	}
	say(cmd, "read %s of checkpoint %d/%d: %d of %d tasks", size(pl.Read), pl.Life, pl.Checkpoint, len(pl.Read), len(pl.Read)+len(pl.Left))
	if len(pl.Left) > 0 {
		say(cmd, "%d tasks, %s, were left out: --max-download is the limit", len(pl.Left), size(pl.Left))
	}
}

// sayWay tells how the release gets there.
func (pl *plan) sayWay(cmd *cobra.Command, binary string) {
	switch {
	case pl.Way == wayRolling:
		say(cmd, "deploy it worker by worker")
	case pl.Way == wayRollback && pl.earlier:
		say(cmd, "the checkpoint is of an earlier life: stop the workers, then %s rollback --to %d/%d --yes %s", binary, pl.Life, pl.Checkpoint, pl.App)
	case pl.Way == wayRollback:
		say(cmd, "it has a stage or a source that is new, so it begins from a savepoint:")
		say(cmd, "  %s savepoint create NAME --stop", binary)
		say(cmd, "  (deploy the new binary)")
		say(cmd, "  %s rollback --to NAME --yes %s", binary, pl.App)
		say(cmd, "  (start the workers)")
	}
}
