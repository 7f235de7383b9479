// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"slices"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/kafka"
	"github.com/streamd/streamd/operators/topology"
)

// WorkerGrants returns what the principal of an application's workers needs from Kafka, and nothing that it does not.
// Whoever may read, write or delete may also describe, so that is not listed beside these.
func WorkerGrants(t *topology.Topology, cfg *config.Config, outputs checkpoint.Outputs) []kafka.Grant {
	g := &grants{names: Names{App: cfg.AppID}}
	for _, topic := range t.ReadTopics() {
		g.topic(topic, "the pipeline reads it", kafka.Read)
	}
	for _, topic := range t.UserOutputs() {
		switch {
		case outputs.Muted:
		case outputs.Prefix != "":
			g.topic(topic, "what is written instead has as many partitions", kafka.Describe)
			g.topic(outputs.Prefix+topic, "the pipeline writes it", kafka.Create, kafka.Write)
		default:
			g.topic(topic, "the pipeline writes it", kafka.Write)
		}
	}
	if hasInternal(t) {
		g.internal("changelogs and repartition topics are made", kafka.Create)
		g.internal("and read", kafka.Read)
		g.internal("and written", kafka.Write)
		g.internal("and trimmed", kafka.Delete)
	}
	g.group("workers share the tasks and commit offsets", kafka.Read)
	if cfg.Guarantee == config.ExactlyOnce {
		g.transactions("each commit is a transaction", kafka.Write)
	}
	return g.all
}

// OperatorGrants returns what the commands need that look at an application, begin lives of it (which commits offsets, and
// writes what was in flight), or remove it.
func OperatorGrants(t *topology.Topology, cfg *config.Config, outputs checkpoint.Outputs) []kafka.Grant {
	g := &grants{names: Names{App: cfg.AppID}}
	for _, topic := range t.UserSources() {
		g.topic(topic, "rollback, fork and rescale commit offsets of it", kafka.Read)
	}
	if outputs.Prefix != "" {
		for _, topic := range t.UserOutputs() {
			g.topic(topic, "what is written instead has as many partitions", kafka.Describe)
			g.topic(outputs.Prefix+topic, "fork makes it", kafka.Create)
		}
	}
	if hasInternal(t) {
		g.internal("rollback, fork and rescale make changelogs and repartition topics", kafka.Create)
		g.internal("and commit offsets of them", kafka.Read)
		g.internal("and write what was in flight", kafka.Write)
		g.internal("reset deletes them", kafka.Delete)
	}
	g.group("rollback, fork and rescale commit offsets", kafka.Read)
	g.group("reset deletes it", kafka.Delete)
	if cfg.Guarantee == config.ExactlyOnce {
		g.transactions("a life begins with a transaction", kafka.Write)
	}
	return g.all
}

func hasInternal(t *topology.Topology) bool {
	return slices.ContainsFunc(t.SubTopologies, func(s topology.SubTopology) bool {
		return s.Stateful() || slices.ContainsFunc(s.Sources, func(src topology.Source) bool { return src.Internal })
	})
}

// grants gathers, without repeating any.
type grants struct {
	names Names
	all   []kafka.Grant
}

func (g *grants) add(n kafka.Grant, ops []kafka.Operation) {
	for _, n.Operation = range ops {
		same := func(o kafka.Grant) bool {
			return o.Name == n.Name && o.Resource == n.Resource && o.Operation == n.Operation
		}
		if !slices.ContainsFunc(g.all, same) {
			g.all = append(g.all, n)
		}
	}
}

func (g *grants) topic(name, why string, ops ...kafka.Operation) {
	g.add(kafka.Grant{Resource: kafka.TopicResource, Name: name, Why: why}, ops)
}

func (g *grants) internal(why string, ops ...kafka.Operation) {
	g.add(kafka.Grant{Resource: kafka.TopicResource, Name: g.names.InternalPrefix(), Prefixed: true, Why: why}, ops)
}

func (g *grants) group(why string, ops ...kafka.Operation) {
	g.add(kafka.Grant{Resource: kafka.GroupResource, Name: g.names.App, Why: why}, ops)
}

func (g *grants) transactions(why string, ops ...kafka.Operation) {
	g.add(kafka.Grant{Resource: kafka.TransactionalIDResource, Name: g.names.TransactionalIDPrefix(), Prefixed: true, Why: why}, ops)
}
