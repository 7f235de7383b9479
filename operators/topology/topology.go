// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
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
	// Globals are the topics of which every worker holds all rows, sorted by topic.
	Globals []Global `json:"globals,omitempty"`
	// Dropped names the stores and repartition topics that the pipeline says it no longer wants.
	Dropped []string `json:"dropped,omitempty"`

	// Openings are to be called by each process before it makes its first Processor; an error ends it. There are
	// none in a decoded topology.
	Openings []operators.Opening `json:"-"`

	// Views show what is written with the codecs of the pipeline, by their ids. There are none in a decoded topology.
	Views map[string]codec.View `json:"-"`
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
// state. It is where a step looks at it, and where it comes through a repartition topic: what the tasks upstream have said of it
// is not said again to a new owner, which would wait for them forever.
func (s *SubTopology) Stateful() bool {
	return s.Keyed() || slices.ContainsFunc(s.Sources, func(src Source) bool { return src.Internal })
}

// Keyed says whether steps of the sub-topology rely on keys or event time. If so, all its sources are expected to have equal
// partition counts: partition n of each of them belongs to task n.
func (s *SubTopology) Keyed() bool {
	return len(s.Stores) > 0 || slices.ContainsFunc(s.Nodes, func(n Node) bool { return n.Timed })
}

// Global is a topic that every worker reads as a whole, into a table that its tasks look up.
type Global struct {
	Topic         string `json:"topic"`
	KeyCodec      string `json:"keyCodec"`
	ValueCodec    string `json:"valueCodec"`
	OnDecodeError string `json:"onDecodeError"` // what becomes of records that do not decode: "fail" or "skip"

	// New makes the table of one process, empty. It is nil in a decoded topology.
	New func(*operators.Listener) operators.GlobalStore `json:"-"`
}

// Source is one topic that a sub-topology reads.
type Source struct {
	Topic      string `json:"topic"`             // logical name if Internal
	Internal   bool   `json:"internal,omitzero"` // a repartition topic
	KeyCodec   string `json:"keyCodec"`
	ValueCodec string `json:"valueCodec"`
	// FormerValueCodecs are those of former releases that values in flight can be upgraded from, oldest first. Internal
	// only: there each value is behind the number of its codec, as in a Store.
	FormerValueCodecs []string `json:"formerValueCodecs,omitempty"`
	OnDecodeError     string   `json:"onDecodeError"` // what becomes of records that do not decode
	// OutOfOrder is by how many milliseconds of event time a record may come after a newer one of its partition
	// without being late.
	OutOfOrder int64 `json:"outOfOrder,omitzero"`
	// ProcessingTime says that the time of a record is when it is processed, and that event time follows the clock.
	ProcessingTime bool `json:"processingTime,omitzero"`
	Node           int  `json:"node"` // id of the source node
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
	// VersionedTableStore holds the newest version of each row of a versioned table: as TableStore, with nothing after the
	// time where the version is a deletion.
	VersionedTableStore StoreKind = "versioned-table"
	// VersionStore holds the older versions of the rows of a versioned table, by key and time (see AppendVersionTime), the
	// newest of a key first. An empty value is a deletion.
	VersionStore StoreKind = "versions"
	// GroupStore holds aggregates of groups of rows: 8 bytes that count the rows of the group (big-endian), then as
	// TableStore.
	GroupStore StoreKind = "group"
	// BroadcastStore holds one value per key of a broadcast, the same in every task.
	BroadcastStore StoreKind = "broadcast"
	// ValueStore holds one value per key.
	ValueStore StoreKind = "value"
	// MapStore holds values by key and sub-key.
	MapStore StoreKind = "map"
	// WindowStore holds values by time, key and, where there are several, sub-key. With the value codec "none" it holds
	// keys only.
	WindowStore StoreKind = "window"
	// WindowTableStore is a WindowStore of aggregates: a byte of flags, 8 bytes of event time as in a TableStore, then the
	// value. The entry's time is the start of its window.
	WindowTableStore StoreKind = "window-table"
	// SessionStore holds per key the open sessions: a byte of flags, 8 bytes of the time at which the key is looked at
	// next, their number as a uvarint, and for each its first and its last time, 8 bytes each, and the value after 4
	// bytes of its length.
	SessionStore StoreKind = "session"
	// TopStore holds per key the values that rank highest: 8 bytes of event time as in a TableStore, then the values from
	// the highest down, each after 4 bytes of its length.
	TopStore StoreKind = "top"
)

// TTL says by which time the values of a store expire.
type TTL string

// The kinds of TTL. How long values live is not part of the topology: it may change.
const (
	EventTimeTTL      TTL = "event-time"
	ProcessingTimeTTL TTL = "processing-time"
)

const (
	countBytes = 8
	timeBytes  = 8
)

// Windowed says whether the store's entries are led by a time.
func (k StoreKind) Windowed() bool { return k == WindowStore || k == WindowTableStore }

// Mapped says whether the store's entries are found by key and sub-key.
func (k StoreKind) Mapped() bool { return k == MapStore || k == VersionStore }

// Versioned says whether the store's entries are versions of rows, of which one without a value is a deletion.
func (k StoreKind) Versioned() bool { return k == VersionedTableStore || k == VersionStore }

// Timed says whether the store's entries have a time: in their keys, or in front of their values.
func (s *Store) Timed() bool {
	return s.TTL != "" || s.Kind.Windowed() || s.Kind.Versioned() || s.Kind == TableStore || s.Kind == GroupStore
}

// AppendVersionTime appends the sub-key of a version in a VersionStore: its time in 8 bytes, big-endian with all bits
// but the sign's flipped, so that later times come first.
func AppendVersionTime(dst []byte, t operators.Time) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(t)^math.MaxInt64)
}

// VersionTime returns the time in the sub-key of a version.
func VersionTime(sub []byte) (operators.Time, error) {
	if len(sub) != timeBytes {
		return 0, fmt.Errorf("sub-key of %d bytes is not the time of a version", len(sub))
	}
	return operators.Time(binary.BigEndian.Uint64(sub) ^ math.MaxInt64), nil
}

// Split takes an entry of the store apart: the time in front of its value, if it has one, and the value.
func (s *Store) Split(entry []byte) (at operators.Time, timed bool, value []byte, err error) {
	value = entry
	switch s.Kind {
	case GroupStore:
		if len(value) < countBytes {
			return 0, false, nil, fmt.Errorf("entry of %d bytes has no number of rows", len(entry))
		}
		value = value[countBytes:]
	case WindowTableStore:
		if len(value) == 0 {
			return 0, false, nil, fmt.Errorf("entry of %d bytes has no flags", len(entry))
		}
		value = value[1:]
	case TableStore, VersionedTableStore:
	default:
		if s.TTL == "" {
			return 0, false, value, nil
		}
	}
	if len(value) < timeBytes {
		return 0, false, nil, fmt.Errorf("entry of %d bytes has no time", len(entry))
	}
	return operators.Time(binary.BigEndian.Uint64(value) ^ 1<<63), true, value[timeBytes:], nil
}

// Store is one store of a sub-topology.
type Store struct {
	ID          uint16    `json:"id"`   // stable: a hash of the name
	Name        string    `json:"name"` // the step's name; "step.state" for state that a Process step declares
	Kind        StoreKind `json:"kind"`
	KeyCodec    string    `json:"keyCodec"`
	SubKeyCodec string    `json:"subKeyCodec,omitempty"` // MapStore, and WindowStore where it has one
	ValueCodec  string    `json:"valueCodec"`
	// FormerValueCodecs are those of former releases that values can be upgraded from, oldest first. In every store
	// with values each is behind the number of the codec that wrote it, an unsigned varint: an index into this
	// list, or its length for ValueCodec.
	FormerValueCodecs []string `json:"formerValueCodecs,omitempty"`
	// Plain says that values are not behind the number of the codec that wrote them: they are the step's own, and are
	// never upgraded.
	Plain bool `json:"plain,omitzero"`
	// TTL, where values expire: each then begins with 8 bytes of the time of its last use, as in a TableStore.
	TTL  TTL `json:"ttl,omitempty"`
	Node int `json:"node"` // id of the owning node

	// Keeps is how long values live after their last use, where there is a TTL, and how far back a versioned table looks.
	// It may change, so it is not part of the JSON form.
	Keeps time.Duration `json:"-"`
}

// Codecs returns the ids of what the entries of a store are written with: of keys, of sub-keys, and of values, from the
// oldest to the present one. A release can read what another one wrote if its list begins with the other's.
func (s *Store) Codecs() []string {
	return append([]string{s.KeyCodec, s.SubKeyCodec}, s.ValueCodecs()...)
}

// ValueCodecs returns the ids of the codecs that values may be written with, by their number.
func (s *Store) ValueCodecs() []string { return history(s.FormerValueCodecs, s.ValueCodec) }

// UserSources returns the topics that sub-topologies read and that are the user's, sorted.
func (t *Topology) UserSources() []string {
	var names []string
	for _, s := range t.SubTopologies {
		for _, src := range s.Sources {
			if !src.Internal {
				names = append(names, src.Topic)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ReadTopics returns the user's topics that workers read: those of sub-topologies and of global tables, sorted.
func (t *Topology) ReadTopics() []string {
	names := t.UserSources()
	for _, table := range t.Globals {
		names = append(names, table.Topic)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// UserOutputs returns the topics that sub-topologies write and that are the user's, sorted.
func (t *Topology) UserOutputs() []string {
	var names []string
	for _, s := range t.SubTopologies {
		for _, out := range s.Outputs {
			if !out.Internal {
				names = append(names, out.Topic)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Partition returns the input of partition.Tasks, with topics named as name maps them. Sources are
// sorted by that name.
//
// The weight of a sub-topology is 1 for reading and passing on its records, and 1 for each store: a store costs a look-up
// and a change of each record, a share of the changelog and of the memory for caches, and its size is what a move copies.
// What user code costs nobody knows before it runs, and weights that followed measurements would move tasks about.
func (t *Topology) Partition(name func(topic string, internal bool) string) []partition.SubTopology {
	subs := make([]partition.SubTopology, 0, len(t.SubTopologies))
	for i := range t.SubTopologies {
		s := &t.SubTopologies[i]
		topics := make([]string, 0, len(s.Sources))
		for _, src := range s.Sources {
			topics = append(topics, name(src.Topic, src.Internal))
		}
		slices.Sort(topics)
		subs = append(subs, partition.SubTopology{ID: s.ID, Sources: topics, Stateful: s.Keyed(), Weight: 1 + len(s.Stores)})
	}
	return subs
}
