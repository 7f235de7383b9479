// SPDX-License-Identifier: Apache-2.0

package query

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/streamd/streamd/engine/api"
	"github.com/streamd/streamd/engine/task"
	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// Position says which commit of a task an answer shows: all that it covers, and nothing else.
type Position struct {
	// Epoch is the ordinal of the task's last commit; 0: it has made none.
	Epoch uint64 `json:"epoch"`
	// ChangelogOffset is where that commit ends in the task's changelog; -1 if it is not there.
	ChangelogOffset int64 `json:"changelogOffset"`
	// Inputs say which records the state reflects: those below the offsets.
	Inputs []Input `json:"inputs"`
	// Watermark is how far event time had come; zero if it has none yet.
	Watermark time.Time `json:"watermark,omitzero"`
}

// Input is a place in an input partition.
type Input struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
}

// at is a position with what queries decide by.
type at struct {
	Position
	inputs  task.Position
	reached operators.Time
}

// positionOf decodes what a view says of its position.
func positionOf(v *statestore.View, name func(topic string, internal bool) string) (at, error) {
	stored, ok := v.Position()
	if !ok {
		return at{Position: Position{ChangelogOffset: -1, Inputs: []Input{}}, reached: operators.MinTime}, nil
	}
	point, err := task.DecodePoint(stored.Detail)
	if err != nil {
		return at{}, err
	}
	p := at{Position{Epoch: stored.Epoch, ChangelogOffset: stored.Offset, Inputs: []Input{}}, point.Position(name), point.Watermark()}
	for tp, next := range p.inputs {
		p.Inputs = append(p.Inputs, Input{tp.Topic, tp.Partition, next})
	}
	slices.SortFunc(p.Inputs, func(a, b Input) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	if w := time.UnixMilli(p.reached).UTC(); p.reached > operators.MinTime && w.Year() >= 0 && w.Year() <= 9999 {
		p.Watermark = w
	}
	return p, nil
}

// Minimum is what an answer must reflect at least. The zero Minimum is nothing.
type Minimum struct {
	incarnation int
	epochs      map[partition.TaskID]uint64
	records     []Input // the answer reflects the record at each of these offsets
}

// tokenFormat begins a token, before it is encoded.
const tokenFormat = "1"

// token writes a minimum of epochs as text that callers hand back as it is.
func token(incarnation int, epochs map[partition.TaskID]uint64) string {
	text := fmt.Appendf(nil, "%s:%d", tokenFormat, incarnation)
	for _, id := range slices.SortedFunc(maps.Keys(epochs), partition.TaskID.Compare) {
		text = fmt.Appendf(text, ":%s@%d", id, epochs[id])
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// Require adds to the minimum: the token of an answer, whose state or a later one is to be shown, or
// topic/partition@offset, the place of a record of the user's that is to be reflected.
func (m *Minimum) Require(text string) error {
	if place, offset, ok := strings.Cut(text, "@"); ok {
		topic, number, _ := strings.Cut(place, "/")
		p, err := strconv.ParseInt(number, 10, 32)
		n, err2 := strconv.ParseInt(offset, 10, 64)
		if topic == "" || err != nil || err2 != nil || p < 0 || n < 0 {
			return invalid("%.200q is not a place of a record: write topic/partition@offset, as in orders/3@1042", text)
		}
		m.records = append(m.records, Input{topic, int32(p), n})
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(text)
	parts := strings.Split(string(raw), ":")
	if err != nil || len(parts) < 2 || parts[0] != tokenFormat {
		return invalid("%.200q is neither the token of an answer nor topic/partition@offset", text)
	}
	incarnation, err := strconv.Atoi(parts[1])
	if err != nil || incarnation < 1 {
		return invalid("the position token %.200q is damaged", text)
	}
	if m.epochs != nil && m.incarnation != incarnation {
		return invalid("the position tokens are of several lives of the application: %d and %d", m.incarnation, incarnation)
	}
	if m.epochs == nil {
		m.epochs = map[partition.TaskID]uint64{}
	}
	m.incarnation = incarnation
	for _, part := range parts[2:] {
		name, epoch, _ := strings.Cut(part, "@")
		id, err := partition.ParseTaskID(name)
		n, err2 := strconv.ParseUint(epoch, 10, 64)
		if err != nil || err2 != nil {
			return invalid("the position token %.200q is damaged", text)
		}
		m.epochs[id] = max(m.epochs[id], n)
	}
	return nil
}

// texts are what Require would read.
func (m *Minimum) texts() []string {
	var list []string
	if m.epochs != nil {
		list = append(list, token(m.incarnation, m.epochs))
	}
	for _, r := range m.records {
		list = append(list, fmt.Sprintf("%s/%d@%d", r.Topic, r.Partition, r.Offset))
	}
	return list
}

// fits refuses a minimum that no answer from the store could be compared with.
func (m *Minimum) fits(s *store, incarnation int) error {
	if m.epochs != nil && m.incarnation != incarnation {
		return &api.Problem{Status: http.StatusConflict, Code: codeOtherLife, Detail: fmt.Sprintf("the position token is of life %d of the application, which is in life %d since a rollback or a reset: its positions cannot be compared with that; ask without it", m.incarnation, incarnation)}
	}
	for _, r := range m.records {
		if !s.reads(r.Topic) {
			return invalid("store %s is not fed by topic %s itself, so a place in that says nothing of it: use a topic that its sub-topology reads, or the token of an answer", s.Name, r.Topic)
		}
	}
	return nil
}

// reached says whether a task has come as far as the minimum wants of it. What is wanted of other tasks, and of other
// partitions, does not concern it.
func (m *Minimum) reached(id partition.TaskID, p at) bool {
	if p.Epoch < m.epochs[id] {
		return false
	}
	return !slices.ContainsFunc(m.records, func(r Input) bool {
		return r.Partition == id.Partition && p.inputs[partition.TopicPartition{Topic: r.Topic, Partition: r.Partition}] <= r.Offset
	})
}
