// SPDX-License-Identifier: Apache-2.0

package topology

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json/v2"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// fingerprintFormat is the first line under the hash: a change of what follows changes it too.
const fingerprintFormat = "streamd topology fingerprint 1"

// Fingerprint is a hash over the stateful parts: stores with their kinds and codecs, the repartition
// topics with their codecs, and for each store the topics its keys come from. Stateless steps, outputs, labels and
// decode policies are not in it. Equal fingerprints are compatible; for unequal ones ask Compatible.
func (t *Topology) Fingerprint() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n", fingerprintFormat)
	for i := range t.SubTopologies {
		t.SubTopologies[i].fingerprint(h)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (s *SubTopology) fingerprint(h io.Writer) {
	for _, src := range s.Sources {
		if src.Internal {
			fmt.Fprintf(h, "repartition %q into %d key %q value %q%s\n", src.Topic, s.ID, src.KeyCodec, src.ValueCodec, after(src.FormerValueCodecs))
		}
	}
	for _, st := range s.Stores {
		fmt.Fprintf(h, "store %q id %d in %d kind %q key %q sub %q value %q%s from %q\n",
			st.Name, st.ID, s.ID, st.Kind, st.KeyCodec, st.SubKeyCodec, st.ValueCodec, after(st.FormerValueCodecs), s.keyPath(st.Node))
		if st.TTL != "" {
			fmt.Fprintf(h, "ttl %q\n", st.TTL)
		}
	}
}

// after describes former codecs, if there are any.
func after(former []string) string {
	if len(former) == 0 {
		return ""
	}
	return fmt.Sprintf(" after %q", former)
}

// keyPath returns the sorted topics from which records reach a node of the sub-topology.
func (s *SubTopology) keyPath(node int) []string {
	above := s.Above(node)
	var topics []string
	for _, src := range s.Sources {
		if above[src.Node] {
			kind := "topic "
			if src.Internal {
				kind = "repartition "
			}
			topics = append(topics, kind+src.Topic)
		}
	}
	slices.Sort(topics)
	return topics
}

// Above returns the node and those of the sub-topology from which records reach it.
func (s *SubTopology) Above(node int) map[int]bool {
	above := map[int]bool{node: true}
	for _, n := range slices.Backward(s.Nodes) { // Children come after their parents.
		if !above[n.ID] {
			continue
		}
		for _, p := range n.Parents {
			above[p] = true
		}
	}
	return above
}

// Decode reads what Format JSON wrote. The New functions of the result are nil.
func Decode(data []byte) (*Topology, error) {
	var t Topology
	if err := json.Unmarshal(data, &t); err != nil {
		return nil, fmt.Errorf("decode topology: %w", err)
	}
	if t.Version < 1 || t.Version > version {
		return nil, fmt.Errorf("decode topology: its version is %d, this release reads 1 to %d; use the release that wrote it or a later one", t.Version, version)
	}
	return &t, nil
}

// ErrIncompatible is in the error of Compatible.
var ErrIncompatible = errors.New("the pipeline cannot go on from the state of the one before it")

// Compatible says whether new can run on the state and the internal topics of old. Its error lists every store
// and repartition topic that no step owns any more (unless new drops it by name), that changed its kind or a
// codec, or that moved to another sub-topology. A value's codec may change by a migration: the new one's history
// begins with the old one's. Application names are not compared: a fork has its own.
func Compatible(old, new *Topology) error {
	var errs []error
	for i := range old.SubTopologies {
		sub := &old.SubTopologies[i]
		for _, src := range sub.Sources {
			if src.Internal && !new.Drops(src.Topic) {
				errs = append(errs, new.acceptsRepartition(src)...)
			}
		}
		for _, st := range sub.Stores {
			if !new.Drops(st.Name) {
				errs = append(errs, new.accepts(sub.ID, st)...)
			}
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%w:\n%w", ErrIncompatible, errors.Join(errs...))
}

// Drops says whether the pipeline no longer wants the store or repartition topic of a name: Dropped has it, or the step
// that the name begins with.
func (t *Topology) Drops(name string) bool {
	step, _, _ := strings.Cut(name, ".")
	return slices.Contains(t.Dropped, name) || slices.Contains(t.Dropped, step)
}

func (t *Topology) accepts(subTopology int32, was Store) []error {
	is, sub := t.Store(was.Name)
	if sub == nil {
		return []error{Finding(was.Name, fmt.Sprintf("the %s store of this name has no step in the new pipeline", was.Kind),
			fmt.Sprintf("keep the step's name, or give its state up with Drop(%q)", was.Name))}
	}
	var errs []error
	if sub.ID != subTopology {
		errs = append(errs, Finding(was.Name, fmt.Sprintf("it moved from sub-topology %d to %d", subTopology, sub.ID),
			"declare sources and repartitions in the order they had, new ones last"))
	}
	if is.Kind != was.Kind {
		errs = append(errs, Finding(was.Name, fmt.Sprintf("its store was of kind %q and is %q", was.Kind, is.Kind),
			"use a new name for the new step"))
	}
	if is.TTL != was.TTL {
		errs = append(errs, Finding(was.Name, fmt.Sprintf("it had %s and has %s", was.TTL.text(), is.TTL.text()),
			"use a new name for the state"))
	}
	errs = append(errs, sameCodec(was.Name, "key", was.KeyCodec, is.KeyCodec)...)
	errs = append(errs, sameCodec(was.Name, "sub-key", was.SubKeyCodec, is.SubKeyCodec)...)
	return append(errs, continues(was.Name, history(was.FormerValueCodecs, was.ValueCodec), history(is.FormerValueCodecs, is.ValueCodec))...)
}

// text names a TTL in a message.
func (t TTL) text() string {
	if t == "" {
		return "no TTL"
	}
	return "a TTL in " + strings.ReplaceAll(string(t), "-", " ")
}

func (t *Topology) acceptsRepartition(was Source) []error {
	for i := range t.SubTopologies {
		for _, is := range t.SubTopologies[i].Sources {
			if is.Internal && is.Topic == was.Topic {
				errs := sameCodec(was.Topic, "key", was.KeyCodec, is.KeyCodec)
				return append(errs, continues(was.Topic, history(was.FormerValueCodecs, was.ValueCodec), history(is.FormerValueCodecs, is.ValueCodec))...)
			}
		}
	}
	return []error{Finding(was.Topic, "the repartition topic of this name, which may hold records in flight, has no step in the new pipeline",
		fmt.Sprintf("keep the step's name, or give its records up with Drop(%q)", was.Topic))}
}

// Store finds a store by its name, and the sub-topology that has it: nil if none has.
func (t *Topology) Store(name string) (Store, *SubTopology) {
	for i := range t.SubTopologies {
		for _, st := range t.SubTopologies[i].Stores {
			if st.Name == name {
				return st, &t.SubTopologies[i]
			}
		}
	}
	return Store{}, nil
}

func sameCodec(name, part, was, is string) []error {
	if was == is {
		return nil
	}
	return []error{Finding(name, fmt.Sprintf("its %s codec was %q and is %q", part, was, is),
		"use the codec it was written with, or a new name for the step")}
}

// history lists the codecs of a value, from the oldest to the present one.
func history(former []string, now string) []string {
	return append(former[:len(former):len(former)], now)
}

// continues says whether values of one history can be read by a codec with another one.
func continues(name string, was, is []string) []error {
	if len(was) <= len(is) && slices.Equal(was, is[:len(was)]) {
		return nil
	}
	found := fmt.Sprintf("its value codec was %s and is %s", inOrder(was), inOrder(is))
	if len(was) > len(is) && slices.Equal(was[:len(is)], is) {
		return []error{Finding(name, found, "a codec cannot go back: use the release that wrote the values or a later one")}
	}
	return []error{Finding(name, found,
		"upgrade the values by codec.Migrate from the codec they were written with, use that one, or give the step a new name")}
}

func inOrder(ids []string) string {
	quoted := make([]string, len(ids))
	for i, id := range ids {
		quoted[i] = strconv.Quote(id)
	}
	return strings.Join(quoted, ", then ")
}
