// SPDX-License-Identifier: Apache-2.0

package query

import (
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/config"
	"github.com/streamd/streamd/engine/inspect"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
)

// store is one that can be asked.
type store struct {
	*inspect.Store
	raw      *inspect.Store
	sub      *topology.SubTopology
	versions *store // of a versioned table: the older ones
}

// catalog has the stores of a pipeline by name.
type catalog map[string]*store

func newCatalog(t *topology.Topology) catalog {
	c, codecs := catalog{}, inspect.NewCodecs(t)
	for i := range t.SubTopologies {
		sub := &t.SubTopologies[i]
		for _, st := range sub.Stores {
			s := &store{Store: codecs.Store(st.ID), sub: sub}
			s.raw = s.Store.Raw()
			c[st.Name] = s
		}
	}
	for _, s := range c {
		for _, st := range s.sub.Stores {
			if s.Kind == topology.VersionedTableStore && st.Kind == topology.VersionStore && st.Node == s.Node {
				s.versions = c[st.Name]
			}
		}
	}
	return c
}

func (c catalog) names() []string { return slices.Sorted(maps.Keys(c)) }

// find finds a store.
func (c catalog) find(name string) (*store, error) {
	if s := c[name]; s != nil {
		return s, nil
	}
	hint := "the pipeline keeps no state"
	if len(c) > 0 {
		hint = "GET /api/v1/stores lists those that there are"
		if near := config.Nearest(name, c.names()); near != "" {
			hint = "did you mean " + near + "?"
		}
	}
	return nil, api.Problemf(http.StatusConflict, codeNoStore, "the pipeline has no store %q: %s", name, hint)
}

// in renders entries in one of the encodings.
func (s *store) in(raw bool) *inspect.Store {
	if raw {
		return s.raw
	}
	return s.Store
}

// single says whether a key has one entry at most.
func (s *store) single() bool { return !s.Kind.Mapped() && !s.Kind.Windowed() }

// home is the task that holds a key, of as many as the sub-topology has.
func (s *store) home(key []byte, tasks int32) partition.TaskID {
	return partition.TaskID{SubTopology: s.sub.ID, Partition: partition.ForKey(key, tasks)}
}

// reads says whether tasks of the store read a topic of the user.
func (s *store) reads(topic string) bool {
	return slices.ContainsFunc(s.sub.Sources, func(src topology.Source) bool { return !src.Internal && src.Topic == topic })
}

// Described is what a store is.
type Described struct {
	Name        string             `json:"name"`
	Kind        topology.StoreKind `json:"kind"`
	SubTopology int32              `json:"subTopology"`
	Tasks       int32              `json:"tasks"` // 0 before the worker has looked at the topics
	KeyCodec    string             `json:"keyCodec"`
	SubKeyCodec string             `json:"subKeyCodec,omitempty"`
	ValueCodec  string             `json:"valueCodec"`
	TTL         topology.TTL       `json:"ttl,omitempty"`
}

// describe lists the stores.
func (c catalog) describe(tasks map[int32]int32) []Described {
	list := make([]Described, 0, len(c))
	for _, name := range c.names() {
		s := c[name]
		list = append(list, Described{
			Name: name, Kind: s.Kind, SubTopology: s.sub.ID, Tasks: tasks[s.sub.ID],
			KeyCodec: s.KeyCodec, SubKeyCodec: s.SubKeyCodec, ValueCodec: s.ValueCodec, TTL: s.TTL,
		})
	}
	return list
}

// key encodes what stands for a key.
func (s *store) key(text string, raw bool) ([]byte, error) {
	return encode(text, raw, s.EncodeKey)
}

func (s *store) subKey(text string, raw bool) ([]byte, error) {
	if !s.HasSubKey() {
		return nil, invalid("store %s has no sub-keys", s.Name)
	}
	return encode(text, raw, s.EncodeSubKey)
}

func encode(text string, raw bool, byCodec func(string) ([]byte, error)) ([]byte, error) {
	if raw {
		b, err := inspect.ParseBytes("0x" + text)
		if err != nil {
			return nil, invalid("with encoding=raw keys are hexadecimal: %v", err)
		}
		return b, nil
	}
	b, err := byCodec(text)
	if err != nil {
		return nil, invalid("%v", err)
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

func invalid(format string, args ...any) *api.Problem {
	return &api.Problem{Status: http.StatusBadRequest, Code: codeInvalid, Detail: fmt.Sprintf(format, args...)}
}
