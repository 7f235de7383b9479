// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/core"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/partition"
)

// applicationStatus is the output of status.
type applicationStatus struct {
	App          string              `json:"app"`
	State        string              `json:"state"` // of the consumer group
	Workers      []workerStatus      `json:"workers"`
	Moves        []moveStatus        `json:"moves"`
	Inputs       []inputStatus       `json:"inputs"`
	Transactions []transactionStatus `json:"transactions"`
	LagRecords   int64               `json:"lagRecords"` // of all inputs
}

type workerStatus struct {
	ID       string             `json:"id"`
	Host     string             `json:"host"`
	Inputs   int                `json:"inputs"` // partitions
	Endpoint string             `json:"endpoint,omitempty"`
	Zone     string             `json:"zone,omitempty"`
	Version  string             `json:"version,omitempty"`
	Leaving  bool               `json:"leaving"`
	Tasks    []partition.TaskID `json:"tasks"`
	Standbys []partition.TaskID `json:"standbys"` // tasks of others whose state it keeps near to the present
	WarmUps  []partition.TaskID `json:"warmUps"`  // tasks that it is to get, and does so for
}

// moveStatus is a task that changes hands or is to. Workers are named by their hosts and endpoints.
type moveStatus struct {
	Task   string `json:"task"`
	From   string `json:"from,omitempty"`
	To     string `json:"to"`
	Reason string `json:"reason"`
	State  string `json:"state"`
}

// inputStatus is one input partition. Epoch, Checkpoint and Incarnation come from what is committed beside the offset.
type inputStatus struct {
	Topic       string `json:"topic"`
	Partition   int32  `json:"partition"`
	Committed   int64  `json:"committed"`
	End         int64  `json:"end"` // last stable offset
	LagRecords  int64  `json:"lagRecords"`
	Incarnation int    `json:"incarnation"`
	Epoch       uint64 `json:"epoch"`
	Checkpoint  int64  `json:"checkpoint"`       // newest durable one; 0: none
	Worker      string `json:"worker,omitempty"` // host; empty: nobody's
	Problem     string `json:"problem,omitempty"`
}

type transactionStatus struct {
	ID         string  `json:"id"`
	State      string  `json:"state"`
	AgeSeconds float64 `json:"ageSeconds"`
	Partitions int     `json:"partitions"`
}

func (p *program) statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show workers, moving tasks, positions, lag and open transactions of an application",
		Long: "Asks Kafka, so it works from anywhere and also when no worker runs. Lag is counted to the last stable offset: to\n" +
			"what a reader of committed records can see. Markers of transactions count as records.",
		Example: p.example("status --app-id flights --brokers kafka:9092", "status -o json"),
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := p.application(cmd)
			if err != nil {
				return err
			}
			st, err := loadStatus(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if outputFormat(cmd) == "json" {
				return writeJSON(cmd.OutOrStdout(), st)
			}
			return st.print(cmd)
		},
	}
	return withSettings(withTimeout(withOutput(cmd, "table", "json"), 30*time.Second), false)
}

func loadStatus(ctx context.Context, cfg *config.Config) (*applicationStatus, error) {
	adm, err := kafka.NewAdmin(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer adm.Close()
	group, err := adm.GroupOf(ctx, cfg.AppID)
	if err != nil {
		return nil, err
	}
	if group.State == "Dead" && len(group.Committed) == 0 {
		return nil, failf(exitNotFound, "there is no application %s on %v: its group has no members and has committed nothing", cfg.AppID, cfg.Brokers)
	}
	st := &applicationStatus{App: cfg.AppID, State: group.State, Workers: []workerStatus{}, Moves: []moveStatus{}, Inputs: []inputStatus{}, Transactions: []transactionStatus{}}
	owner := map[partition.TopicPartition]string{}
	for _, m := range group.Members {
		row := m.Placed
		st.Workers = append(st.Workers, workerStatus{
			ID: m.ID, Host: m.Host, Inputs: len(m.Assigned), Endpoint: row.Endpoint, Zone: row.Zone, Version: row.Version,
			Leaving: row.Leaving, Tasks: orEmpty(row.Owned), Standbys: orEmpty(row.Standby), WarmUps: orEmpty(row.WarmUp),
		})
		for _, tp := range m.Assigned {
			owner[tp] = m.Host
		}
	}
	st.moves(group)
	if err := st.inputs(ctx, adm, group, owner); err != nil {
		return nil, err
	}
	open, err := adm.Transactions(ctx, worker.Names{App: cfg.AppID}.TransactionalIDPrefix())
	if err != nil {
		return nil, err
	}
	for _, t := range open {
		st.Transactions = append(st.Transactions, transactionStatus{t.ID, t.State, t.Age.Seconds(), len(t.Touching)})
	}
	return st, nil
}

func orEmpty(ids []partition.TaskID) []partition.TaskID { return append([]partition.TaskID{}, ids...) }

func (st *applicationStatus) moves(group kafka.GroupInfo) {
	name := map[string]string{"": ""}
	for _, m := range group.Members {
		name[m.Placed.TransactionalID] = cmp.Or(m.Placed.Endpoint, m.Host)
	}
	for _, mv := range group.Table.Moves {
		if mv.State == partition.Moved {
			continue
		}
		st.Moves = append(st.Moves, moveStatus{mv.Task.String(), name[mv.From], name[mv.To], mv.Reason.String(), mv.State.String()})
	}
}

func (st *applicationStatus) inputs(ctx context.Context, adm *kafka.Admin, group kafka.GroupInfo, owner map[partition.TopicPartition]string) error {
	var topics []string
	for tp := range group.Committed {
		topics = append(topics, tp.Topic)
	}
	slices.Sort(topics)
	topics = slices.Compact(topics)
	if len(topics) == 0 {
		return nil
	}
	existing, err := adm.Topics(ctx, topics)
	if err != nil {
		return err
	}
	topics = slices.DeleteFunc(topics, func(t string) bool { _, ok := existing[t]; return !ok })
	ends := map[partition.TopicPartition]int64{}
	if len(topics) > 0 {
		if ends, err = adm.EndOffsets(ctx, topics...); err != nil {
			return err
		}
	}
	present := 0
	for _, c := range group.Committed {
		if m, err := core.DecodeMetadata(c.Metadata); err == nil {
			present = max(present, m.Incarnation)
		}
	}
	for tp, c := range group.Committed {
		if m, err := core.DecodeMetadata(c.Metadata); err == nil && m.Incarnation < present {
			continue // of a life before a rollback
		}
		in := inputStatus{Topic: tp.Topic, Partition: tp.Partition, Committed: c.Offset, Worker: owner[tp]}
		if end, ok := ends[tp]; ok {
			in.End, in.LagRecords = end, max(0, end-c.Offset)
		} else {
			in.Problem = "the partition does not exist any more"
		}
		if m, err := core.DecodeMetadata(c.Metadata); err == nil {
			in.Incarnation, in.Epoch, in.Checkpoint = m.Incarnation, m.Epoch, m.Round
		} else {
			in.Problem = err.Error()
		}
		st.LagRecords += in.LagRecords
		st.Inputs = append(st.Inputs, in)
	}
	slices.SortFunc(st.Inputs, func(a, b inputStatus) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return nil
}

func (st *applicationStatus) print(cmd *cobra.Command) error {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "application %s: %s, %d workers, lag %d records\n\n", st.App, st.State, len(st.Workers), st.LagRecords)
	workers := newTable("WORKER", "HOST", "ENDPOINT", "ZONE", "TASKS", "STANDBYS", "WARM-UPS", "")
	for _, w := range st.Workers {
		leaving := ""
		if w.Leaving {
			leaving = "leaving"
		}
		workers.row(w.ID, w.Host, dash(w.Endpoint), dash(w.Zone), len(w.Tasks), len(w.Standbys), len(w.WarmUps), leaving)
	}
	moves := newTable("TASK", "FROM", "TO", "REASON", "STATE")
	for _, mv := range st.Moves {
		moves.row(mv.Task, dash(mv.From), mv.To, mv.Reason, mv.State)
	}
	inputs := newTable("TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "EPOCH", "CHECKPOINT", "WORKER", "PROBLEM")
	for _, in := range st.Inputs {
		inputs.row(in.Topic, in.Partition, in.Committed, in.End, in.LagRecords, in.Epoch, in.Checkpoint, dash(in.Worker), in.Problem)
	}
	open := newTable("OPEN TRANSACTION", "STATE", "AGE", "PARTITIONS")
	for _, t := range st.Transactions {
		open.row(t.ID, t.State, time.Duration(t.AgeSeconds*float64(time.Second)).Round(time.Millisecond), t.Partitions)
	}
	for _, t := range []*table{workers, moves, inputs, open} {
		if len(t.rows) == 0 {
			continue
		}
		if err := t.write(out); err != nil {
			return err
		}
		if t != open {
			fmt.Fprintln(out)
		}
	}
	return nil
}
