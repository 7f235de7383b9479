// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
)

// finding is one line of the doctor's report.
type finding struct {
	Check  string `json:"check"`
	Result string `json:"result"` // ok, warning, failed or skipped
	Detail string `json:"detail"`
}

const (
	resultOK      = "ok"
	resultWarning = "warning"
	resultFailed  = "failed"
	resultSkipped = "skipped"
)

// examination gathers findings.
type examination struct {
	cfg      *config.Config
	topology *topology.Topology // nil in the generic binary
	role     string             // whose grants are looked for
	findings []finding
	auth     bool // something was refused for lack of rights
}

func (e *examination) note(check, result, format string, args ...any) {
	e.findings = append(e.findings, finding{check, result, fmt.Sprintf(format, args...)})
}

// failed notes an error.
func (e *examination) failed(check string, err error) {
	e.auth = e.auth || kafka.IsAuth(err)
	e.note(check, resultFailed, "%v", err)
}

func (p *program) doctorCommand() *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check everything that a worker needs",
		Long: "Checks settings, brokers, topics, grants, object store, memory and disk, and says which promise holds here. It\n" +
			"writes only a few bytes below \"selftest/\" in the object store, and removes them. Exit code 1 if a check failed, 7 if\n" +
			"it was for lack of rights.",
		Example: p.example("doctor", "doctor -o json"),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.settings(cmd)
			if err != nil {
				return err
			}
			e := &examination{cfg: cfg, role: role}
			if p.compile != nil {
				if e.topology, err = p.topology(); err != nil {
					return err
				}
			}
			e.run(cmd.Context())
			return e.report(cmd)
		},
	}
	addRole(cmd, &role)
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), time.Minute), false)
}

func (e *examination) run(ctx context.Context) {
	if err := e.cfg.Validate(); err != nil {
		e.failed("settings", err)
	} else {
		e.note("settings", resultOK, "valid")
	}
	e.kafka(ctx)
	e.store(ctx)
	e.memory()
	e.disk()
}

func (e *examination) report(cmd *cobra.Command) error {
	t := newTable("RESULT", "CHECK", "DETAIL")
	failures := 0
	for _, f := range e.findings {
		if f.Result == resultFailed {
			failures++
		}
		t.row(f.Result, f.Check, strings.ReplaceAll(f.Detail, "\n", " "))
	}
	if err := printOut(cmd, e.findings, t); err != nil {
		return err
	}
	switch {
	case failures == 0:
		return nil
	case e.auth:
		return failf(exitAuth, "%d of %d checks failed, for lack of rights among them", failures, len(e.findings))
	}
	return failf(exitFailure, "%d of %d checks failed", failures, len(e.findings))
}

func (e *examination) kafka(ctx context.Context) {
	// A client retries for as long as its request timeout; here somebody waits for the answer.
	cfg := *e.cfg
	cfg.RequestTimeout = min(cfg.RequestTimeout, 10*time.Second)
	adm, err := kafka.NewAdmin(ctx, &cfg)
	if err != nil {
		e.failed("brokers", err)
		return
	}
	defer adm.Close()
	info, err := adm.Describe(ctx)
	if err != nil {
		e.failed("brokers", err)
		return
	}
	e.brokers(info)
	e.topics(ctx, adm)
}

func (e *examination) brokers(info kafka.ClusterInfo) {
	if !info.StableFetch {
		e.note("brokers", resultFailed, "Kafka %s: at least 2.5 is needed, because a new owner of a task must be able to wait for the offsets of an open transaction", info.Version)
	} else {
		e.note("brokers", resultOK, "%d, Kafka %s: %s", len(info.Brokers), info.Version, strings.Join(info.Brokers, ", "))
	}
	switch {
	case e.cfg.Guarantee == config.AtLeastOnce:
		e.note("promise", resultOK, "at-least-once, as set: after a crash some outputs are repeated")
	case info.TransactionVersion >= 2:
		e.note("promise", resultOK, "exactly-once (transaction.version %d)", info.TransactionVersion)
	default:
		e.note("promise", resultWarning, "exactly-once, but for one known hole: with transaction.version %d a request that was delayed in the network can end a later transaction of the same producer; upgrade to Kafka 4.0 and finalize transaction.version 2 to close it", info.TransactionVersion)
	}
}

// topics checks the pipeline's own topics and the grants on all that it uses.
func (e *examination) topics(ctx context.Context, adm *kafka.Admin) {
	if e.topology == nil {
		e.note("topics", resultSkipped, "this binary knows no pipeline: run the doctor of the pipeline's own")
		return
	}
	e.grants(ctx, adm)
	names := e.topology.UserSources()
	if e.role == roleWorker {
		names = append(e.topology.ReadTopics(), e.topology.UserOutputs()...)
	}
	slices.Sort(names)
	got, err := adm.Topics(ctx, names)
	if err == nil {
		err = kafka.Missing(names, got)
	}
	if err != nil {
		e.failed("topics", err)
		return
	}
	e.note("topics", resultOK, "all there: %s", strings.Join(names, ", "))
	e.coPartitioned(got)
}

// grants asks for every grant that acl prints.
func (e *examination) grants(ctx context.Context, adm *kafka.Admin) {
	wanted, err := grantsFor(e.role, e.topology, e.cfg, checkpoint.Outputs{})
	if err != nil {
		e.failed("grants", err)
		return
	}
	missing, err := adm.Lacking(ctx, wanted)
	if err != nil {
		e.failed("grants", err)
		return
	}
	if len(missing) == 0 {
		e.note("grants", resultOK, "all %d of the %s of %s", len(wanted), e.role, e.cfg.AppID)
		return
	}
	e.auth = true
	for _, g := range missing {
		e.note("grants", resultFailed, "missing: %v (%s); acl prints the command that adds it", g, g.Why)
	}
}

// coPartitioned checks that source topics that meet before a step with state have equal partition counts.
func (e *examination) coPartitioned(got map[string]kafka.TopicInfo) {
	var subs []partition.SubTopology
	counts := map[string]int32{}
	for _, s := range e.topology.SubTopologies {
		sub := partition.SubTopology{ID: s.ID, Stateful: s.Keyed()}
		for _, src := range s.Sources {
			if !src.Internal { // a worker creates internal ones to fit
				sub.Sources = append(sub.Sources, src.Topic)
				counts[src.Topic] = got[src.Topic].Partitions
			}
		}
		slices.Sort(sub.Sources)
		if len(sub.Sources) > 0 {
			subs = append(subs, sub)
		}
	}
	if _, err := partition.Tasks(subs, counts); err != nil {
		e.failed("partitions", err)
		return
	}
	e.note("partitions", resultOK, "source topics that meet before a step with state have equal counts")
}

func (e *examination) store(ctx context.Context) {
	if e.cfg.StoreURL == "" {
		e.note("object store", resultWarning, "none is set (store.url): there will be no checkpoints, recovery replays whole changelogs, and replay is not possible")
		return
	}
	store, err := openStore(ctx, e.cfg)
	if err != nil {
		e.failed("object store", err)
		return
	}
	began := time.Now()
	if err := objstore.SelfTest(ctx, store); err != nil {
		e.failed("object store", err)
		return
	}
	e.note("object store", resultOK, "keeps create-if-absent and read-after-write (self-test took %s)", time.Since(began).Round(time.Millisecond))
}

func (e *examination) memory() {
	budget, err := e.cfg.MemoryBudget()
	switch {
	case err != nil:
		e.failed("memory", err)
	case budget.Bytes < config.MinMemoryBytes:
		e.note("memory", resultFailed, "%s (%s): at least %s is needed", sizeText(budget.Bytes), budget.Source, sizeText(config.MinMemoryBytes))
	default:
		e.note("memory", resultOK, "%s (%s)", sizeText(budget.Bytes), budget.Source)
	}
}

// lowDiskBytes is the free space below which the doctor warns: a few memtable flushes and one restore.
const lowDiskBytes = 1 << 30

func (e *examination) disk() {
	dir := e.cfg.StateDir
	// The folder itself may not exist yet; its nearest parent says whether it can be created, and where.
	for {
		_, err := os.Stat(dir)
		if err == nil {
			break
		}
		parent := filepath.Dir(dir)
		if !errors.Is(err, os.ErrNotExist) || parent == dir {
			e.failed("state folder", err)
			return
		}
		dir = parent
	}
	f, err := os.CreateTemp(dir, ".streamd-doctor-*")
	if err != nil {
		e.failed("state folder", fmt.Errorf("%s cannot be written to: %w", dir, err))
		return
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		e.failed("state folder", err)
		return
	}
	switch free, err := freeBytes(dir); {
	case err != nil:
		e.failed("state folder", err)
	case free < lowDiskBytes:
		e.note("state folder", resultWarning, "%s has only %s free", e.cfg.StateDir, sizeText(free))
	default:
		e.note("state folder", resultOK, "%s, %s free", e.cfg.StateDir, sizeText(free))
	}
}
