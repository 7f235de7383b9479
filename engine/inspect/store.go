// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"encoding/binary"
	"encoding/json/jsontext"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// Store is one store of a checkpoint: how its entries are laid out and read.
type Store struct {
	topology.Store        // with the codecs that the checkpoint was written with
	known          bool   // Kind is
	sub            int32  // of a trial: its sub-topology
	layout         layout //
	views          views
	key, subKey    decoder
	values         []decoder              // by the number of the codec
	kept           func(src []byte) error // of a trial: says whether the pipeline reads a stored value
}

// layout is what the values of a store are made of, beside what its kind says.
type layout int

const (
	single   layout = iota
	sessions        // of a key: topology.SessionStore
	ranked          // values of a key: topology.TopStore
	calls           // a record that waits for a call
)

// callOf begins the ids of the codecs of records that wait for a call.
const callOf = "call:"

// newStore makes a store of what is known of it. codecs are those of the manifest: of key, sub-key, and values.
func newStore(st topology.Store, known bool, codecs []string, v views) *Store {
	if len(codecs) >= 3 {
		last := len(codecs) - 1
		st.KeyCodec, st.SubKeyCodec, st.FormerValueCodecs, st.ValueCodec = codecs[0], codecs[1], codecs[2:last], codecs[last]
	}
	s := &Store{Store: st, known: known, views: v, key: v.decoder(st.KeyCodec), subKey: v.decoder(st.SubKeyCodec)}
	ids := st.ValueCodecs()
	switch {
	case st.Kind == topology.SessionStore:
		s.layout, ids = sessions, trimPrefix(ids, "sessions:")
	case st.Kind == topology.TopStore:
		s.layout, ids = ranked, trimPrefix(ids, "top:")
	case strings.HasPrefix(st.ValueCodec, callOf):
		s.layout, ids = calls, trimPrefix(ids, callOf)
	}
	if !known {
		ids = []string{codec.Bytes.ID()}
	}
	for _, id := range ids {
		s.values = append(s.values, v.decoder(id))
	}
	if v.trial != nil {
		s.kept = v.known[ids[len(ids)-1]].CheckStored
	}
	return s
}

func trimPrefix(ids []string, prefix string) []string {
	trimmed := make([]string, len(ids))
	for i, id := range ids {
		trimmed[i] = strings.TrimPrefix(id, prefix)
	}
	return trimmed
}

// KeyType is what the store's keys are.
func (s *Store) KeyType() Type { return s.key.kind }

// SubKeyType is what the store's sub-keys are; only where HasSubKey.
func (s *Store) SubKeyType() Type { return s.subKey.kind }

// ValueType is what the store's values are: JSON where several are kept together or codecs of several types wrote them.
func (s *Store) ValueType() Type {
	if s.layout != single {
		return JSON
	}
	for _, d := range s.values {
		if d.kind != s.values[0].kind {
			return JSON
		}
	}
	return s.values[0].kind
}

// HasSubKey says whether the store's entries have sub-keys.
func (s *Store) HasSubKey() bool { return s.SubKeyCodec != "" }

// Unread names what is not known about the store, for a note to the user; empty if everything is.
func (s *Store) Unread() string {
	if !s.known {
		return fmt.Sprintf("store %s: the topology that the application began with does not have it, so its values are shown as bytes: use the pipeline's own binary", s.Name)
	}
	var ids []string
	add := func(d decoder, id string) {
		if !d.known && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	add(s.key, s.KeyCodec)
	add(s.subKey, s.SubKeyCodec)
	for i, id := range s.ValueCodecs() {
		add(s.values[i], id)
	}
	if len(ids) == 0 {
		return ""
	}
	hint := ""
	if s.views.known == nil {
		hint = ": the pipeline's own may"
	}
	return fmt.Sprintf("store %s: what codec %s wrote is shown as bytes, since this binary does not know the codec%s", s.Name, strings.Join(ids, ", "), hint)
}

// Row is one entry of a store. It shares no memory with the store.
type Row struct {
	Store  string
	Task   partition.TaskID
	Key    any
	SubKey any
	// Time is that of the last use of a table's row or of a value with a TTL, of a version, or of a window's start. It
	// is meaningful if Timed.
	Time  time.Time
	Timed bool
	Value any
	// Refused says that a codec has not accepted what is said to be its own; that part is shown as bytes.
	Refused bool
}

// row decodes an entry. The error wraps checkpoint.ErrCorrupt.
func (s *Store) row(task partition.TaskID, entryKey, value []byte) (Row, error) {
	_, key, sub, err := statestore.SplitKey(entryKey)
	if err != nil {
		return Row{}, fmt.Errorf("store %s of task %s: %w: %w", s.Name, task, checkpoint.ErrCorrupt, err)
	}
	r := Row{Store: s.Name, Task: task}
	r.Key = r.decode(s.key, key)
	if s.HasSubKey() {
		r.SubKey = r.decode(s.subKey, sub)
	}
	if at, windowed := statestore.EntryTime(entryKey); windowed && s.layout != calls { // there it is a number
		r.setTime(at)
	}
	if err := s.setValue(&r, sub, value); err != nil {
		return Row{}, fmt.Errorf("store %s of task %s, key %s: %w: %w", s.Name, task, Text(r.Key), checkpoint.ErrCorrupt, err)
	}
	return r, nil
}

// setTime sets the time, unless it is one that no calendar has: the ends of time, that is none.
func (r *Row) setTime(milli int64) {
	if at := time.UnixMilli(milli).UTC(); at.Year() >= 0 && at.Year() <= 9999 {
		r.Time, r.Timed = at, true
	}
}

// decode turns bytes into a value; bytes that the codec refuses stay bytes.
func (r *Row) decode(d decoder, src []byte) any {
	v, err := d.decode(src)
	if err != nil {
		r.Refused = true
		return slices.Clone(src)
	}
	return v
}

func (s *Store) setValue(r *Row, sub, value []byte) error {
	if !s.known {
		r.Value = slices.Clone(value)
		return nil
	}
	at, timed, value, err := s.Split(value)
	if err != nil {
		return err
	}
	if s.Kind == topology.VersionStore {
		if at, err = topology.VersionTime(sub); err != nil {
			return err
		}
		timed = true
	}
	if timed && !r.Timed {
		r.setTime(at)
	}
	switch {
	case s.Kind.Versioned() && len(value) == 0:
		return nil // a deletion
	case s.layout == sessions:
		return s.setSessions(r, value)
	case s.layout == ranked:
		return s.setRanked(r, value)
	case s.layout == calls:
		return s.setCall(r, value)
	case s.Plain:
		r.Value = r.decode(s.values[0], value)
		return nil
	}
	r.Value, err = s.stored(r, value)
	return err
}

// stored decodes a value behind the number of its codec.
func (s *Store) stored(r *Row, src []byte) (any, error) {
	if s.kept != nil {
		return s.views.trial.decoder(s.kept).decode(src)
	}
	version, value, err := codec.SplitStored(src)
	if err != nil || version >= len(s.values) {
		return nil, errors.New("none of its codecs wrote the value")
	}
	return r.decode(s.values[version], value), nil
}

const timeBytes, sizeBytes = 8, 4

func milliOf(src []byte) int64 { return int64(binary.BigEndian.Uint64(src) ^ 1<<63) }

func timeOf(src []byte) time.Time { return time.UnixMilli(milliOf(src)).UTC() }

// cutSized cuts off a value that is behind 4 bytes of its length.
func cutSized(src []byte) (value, rest []byte, err error) {
	if len(src) < sizeBytes {
		return nil, nil, fmt.Errorf("%d bytes where the length of a value is expected", len(src))
	}
	n := binary.BigEndian.Uint32(src)
	if src = src[sizeBytes:]; uint64(n) > uint64(len(src)) {
		return nil, nil, fmt.Errorf("a value of %d bytes in %d", n, len(src))
	}
	return src[:n], src[n:], nil
}

// setSessions shows the open sessions of a key as a list. The layout is that of topology.SessionStore.
func (s *Store) setSessions(r *Row, src []byte) error {
	if len(src) < 1+timeBytes {
		return fmt.Errorf("sessions of %d bytes", len(src))
	}
	n, width := binary.Uvarint(src[1+timeBytes:])
	if width <= 0 {
		return errors.New("sessions without a number of them")
	}
	src = src[1+timeBytes+width:]
	list := []byte{'['}
	for i := range n {
		if len(src) < 2*timeBytes {
			return fmt.Errorf("%d sessions of %d", i, n)
		}
		if i > 0 {
			list = append(list, ',')
		}
		list = appendJSON(append(list, `{"start":`...), timeOf(src))
		list = appendJSON(append(list, `,"end":`...), timeOf(src[timeBytes:]))
		raw, rest, err := cutSized(src[2*timeBytes:])
		if err != nil {
			return err
		}
		v, err := s.stored(r, raw)
		if err != nil {
			return err
		}
		list, src = append(appendJSON(append(list, `,"value":`...), v), '}'), rest
	}
	r.Value = jsontext.Value(append(list, ']'))
	return nil
}

// setRanked shows the values of a key that rank highest as a list. The layout is that of topology.TopStore.
func (s *Store) setRanked(r *Row, src []byte) error {
	if len(src) < timeBytes {
		return fmt.Errorf("ranked values of %d bytes", len(src))
	}
	r.setTime(milliOf(src))
	src = src[timeBytes:]
	list := []byte{'['}
	for len(src) > 0 {
		raw, rest, err := cutSized(src)
		if err != nil {
			return err
		}
		if len(list) > 1 {
			list = append(list, ',')
		}
		list, src = appendJSON(list, r.decode(s.values[0], raw)), rest
	}
	r.Value = jsontext.Value(append(list, ']'))
	return nil
}

// setCall shows a record that waits for a call: its idempotency key, and its value. They are behind the record's time as
// a varint, what is added to it, and the length of the id as a uvarint; between them is a byte.
func (s *Store) setCall(r *Row, src []byte) error {
	at, width := binary.Varint(src)
	if width <= 0 {
		return errNoCall
	}
	src = src[width:]
	if _, width = binary.Varint(src); width <= 0 {
		return errNoCall
	}
	src = src[width:]
	size, width := binary.Uvarint(src)
	if width <= 0 || size >= uint64(len(src)-width) {
		return errNoCall
	}
	id := string(src[width : width+int(size)])
	v, err := s.stored(r, src[width+int(size)+1:])
	if err != nil {
		return err
	}
	r.setTime(at)
	text := quote([]byte(`{"id":`), id)
	r.Value = jsontext.Value(append(appendJSON(append(text, `,"value":`...), v), '}'))
	return nil
}

var errNoCall = errors.New("not a record that waits for a call")

// Timed says whether the store's rows have a time.
func (s *Store) Timed() bool { return s.Store.Timed() || s.layout == ranked }

// AppendJSON appends the row as a JSON object, without a line feed: task, partition, key, and where the store has
// them subKey and time, then the value. With a store's name, that comes first.
func (r Row) AppendJSON(dst []byte, withStore bool) []byte {
	dst = append(dst, '{')
	if withStore {
		dst = append(quote(append(dst, `"store":`...), r.Store), ',')
	}
	dst = quote(append(dst, `"task":`...), r.Task.String())
	dst = appendJSON(append(dst, `,"partition":`...), int64(r.Task.Partition))
	dst = appendJSON(append(dst, `,"key":`...), r.Key)
	if r.SubKey != nil {
		dst = appendJSON(append(dst, `,"subKey":`...), r.SubKey)
	}
	if r.Timed {
		dst = appendJSON(append(dst, `,"time":`...), r.Time)
	}
	return append(appendJSON(append(dst, `,"value":`...), r.Value), '}')
}
