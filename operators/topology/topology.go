// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"slices"
	"strings"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/partition"
)

// version is the newest JSON form that Decode reads and the one that Describe writes.
const version = 1

// Topology is a compiled pipeline. Its JSON form (see Describe, Decode) leaves New out and is what a
// later start compares itself with.
type Topology struct {
	Version       int           `json:"version"` // of the JSON form
	App           string        `json:"app"`
	SubTopologies []SubTopology `json:"subTopologies"` // ordered by id, without gaps
	// Dropped names the stores and repartition topics that the pipeline says it no longer wants.
	Dropped []string `json:"dropped,omitempty"`
}

// SubTopology is a part of the pipeline that one task runs as a whole.
type SubTopology struct {
	ID      int32    `json:"id"`
	Sources []Source `json:"sources"` // in the order of declaration
	Outputs []Sink   `json:"outputs"` // user topics, then repartition topics, each sorted by name
	Stores  []Store  `json:"stores"`  // sorted by name
	Nodes   []Node   `json:"nodes"`   // in the order of declaration: parents before children

	// New makes the Processor of one task. It is nil in a decoded topology.
	New func(*operators.Runtime) (operators.Processor, error) `json:"-"`
}

// Stateful says whether tasks of the sub-topology need a database and a changelog: for stores, and since event time is
// state where a step looks at it. If so, all its sources are
// expected to have equal partition counts: partition n of each of them belongs to task n.
func (s *SubTopology) Stateful() bool {
	return len(s.Stores) > 0 || slices.ContainsFunc(s.Nodes, func(n Node) bool { return n.Timed })
}

// Source is one topic that a sub-topology reads.
type Source struct {
	Topic         string       `json:"topic"`             // logical name if Internal
	Internal      bool         `json:"internal,omitzero"` // a repartition topic
	KeyCodec      string       `json:"keyCodec"`
	ValueCodec    string       `json:"valueCodec"`
	OnDecodeError DecodePolicy `json:"onDecodeError"`
	// OutOfOrder is by how many milliseconds of event time a record may come after a newer one of its partition
	// without being late.
	OutOfOrder int64 `json:"outOfOrder,omitzero"`
	Node       int   `json:"node"` // id of the source node
}

// Sink is one topic that a sub-topology writes.
type Sink struct {
	Topic    string `json:"topic"`             // logical name if Internal
	Internal bool   `json:"internal,omitzero"` // a repartition topic
}

// StoreKind says how the entries of a store are laid out.
type StoreKind string

// The kinds of stores.
const (
	// TableStore holds the rows of a table: 8 bytes of event time (big-endian, sign bit flipped, the newest
	// record that touched the row), then the value.
	TableStore StoreKind = "table"
	// BroadcastStore holds one value per key of a broadcast, the same in every task.
	BroadcastStore StoreKind = "broadcast"
	// ValueStore holds one value per key.
	ValueStore StoreKind = "value"
	// MapStore holds values by key and sub-key.
	MapStore StoreKind = "map"
	// WindowStore holds values by time, key and, where there are several, sub-key.
	WindowStore StoreKind = "window"
	// SessionStore holds per key the open sessions: a byte of flags, 8 bytes of the time at which the key is looked at
	// next, their number as a uvarint, and for each its first and its last time, 8 bytes each, and the value after 4
	// bytes of its length.
	SessionStore StoreKind = "session"
)

// TTL says by which time the values of a store expire.
type TTL string

// The kinds of TTL. How long values live is not part of the topology: it may change.
const (
	EventTimeTTL      TTL = "event-time"
	ProcessingTimeTTL TTL = "processing-time"
)

// Store is one store of a sub-topology.
type Store struct {
	ID          uint16    `json:"id"`   // stable: a hash of the name
	Name        string    `json:"name"` // the step's name; "step.state" for state that a Process step declares
	Kind        StoreKind `json:"kind"`
	KeyCodec    string    `json:"keyCodec"`
	SubKeyCodec string    `json:"subKeyCodec,omitempty"` // MapStore, and WindowStore where it has one
	ValueCodec  string    `json:"valueCodec"`
	// TTL, where values expire: each then begins with 8 bytes of the time of its last use, as in a TableStore.
	TTL  TTL `json:"ttl,omitempty"`
	Node int `json:"node"` // id of the owning node
}

// TimeBytes is how many bytes of time, big-endian with the sign bit flipped, are in front of each value.
func (s *Store) TimeBytes() int {
	if s.Kind == TableStore || s.TTL != "" {
		return 8
	}
	return 0
}

// DecodePolicy says what a source does with a record that it cannot decode.
type DecodePolicy string

// The policies without a parameter.
const (
	Fail DecodePolicy = "fail" // stop the task with a *operators.DecodeError
	Skip DecodePolicy = "skip" // drop the record and report it to the listener
)

const deadLetterPrefix = "dead-letter:"

// DeadLetter is the policy that sends the original bytes to a topic, in the same transaction.
func DeadLetter(topic string) DecodePolicy { return DecodePolicy(deadLetterPrefix + topic) }

// DeadLetterTopic returns the topic of a DeadLetter policy.
func (p DecodePolicy) DeadLetterTopic() (string, bool) {
	return strings.CutPrefix(string(p), deadLetterPrefix)
}

// Partition returns the input of partition.Tasks, with topics named as name maps them. Sources are
// sorted by that name.
func (t *Topology) Partition(name func(topic string, internal bool) string) []partition.SubTopology {
	subs := make([]partition.SubTopology, 0, len(t.SubTopologies))
	for i := range t.SubTopologies {
		s := &t.SubTopologies[i]
		topics := make([]string, 0, len(s.Sources))
		for _, src := range s.Sources {
			topics = append(topics, name(src.Topic, src.Internal))
		}
		slices.Sort(topics)
		subs = append(subs, partition.SubTopology{ID: s.ID, Sources: topics, Stateful: s.Stateful()})
	}
	return subs
}
