// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json/jsontext"
	"encoding/json/v2"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/streamd/streamd/engine/inspect"
	"github.com/streamd/streamd/engine/worker"
	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// breakOptions are the flags of a replay that stops before records.
type breakOptions struct {
	at    []string
	steps int
}

func (o *breakOptions) addTo(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&o.at, "break", nil, "stop before `records` and print what each does: key=KEY, or TOPIC/PARTITION@OFFSET; may be repeated")
	f.IntVar(&o.steps, "step", 0, "with --break: print this `number` of records of the task after each match, without asking")
}

// debugger prints what records do before which a replay has stopped.
type debugger struct {
	cmd     *cobra.Command
	top     *topology.Topology
	codecs  *inspect.Codecs
	breaks  []breakpoint
	steps   int
	left    map[partition.TaskID]int // records of the task that are still to be printed
	answers <-chan string            // what the user types; nil: nobody is asked
	quit    func()                   // ends the replay
	ended   atomic.Bool              // quit was called
}

// breakpoint is what --break has named.
type breakpoint struct {
	keys   map[source][]byte // as each source's codec has it; nil: it is a place
	topic  string
	at     int32
	offset int64
}

// source is an input of a sub-topology.
type source struct {
	sub   int32
	index int
}

// newDebugger reads the flags. It is nil if there is no --break.
func newDebugger(cmd *cobra.Command, t *topology.Topology, o breakOptions) (*debugger, error) {
	if len(o.at) == 0 {
		if o.steps != 0 {
			return nil, failf(exitUsage, "--step goes with --break, which says where to stop first")
		}
		return nil, nil
	}
	if o.steps < 0 {
		return nil, failf(exitUsage, "--step %d: a number of records is at least 0", o.steps)
	}
	d := &debugger{cmd: cmd, top: t, codecs: inspect.NewCodecs(t), steps: o.steps, left: map[partition.TaskID]int{}, quit: func() {}}
	for _, text := range o.at {
		b, err := d.parse(text)
		if err != nil {
			return nil, err
		}
		d.breaks = append(d.breaks, b)
	}
	if in, ok := cmd.InOrStdin().(*os.File); ok && d.steps == 0 && term.IsTerminal(int(in.Fd())) {
		d.answers = typed(in)
	}
	return d, nil
}

// typed hands on what is typed. A read from a terminal cannot be ended, so this lives as long as the process.
func typed(in io.Reader) <-chan string {
	c := make(chan string)
	go func() {
		defer close(c)
		for s := bufio.NewScanner(in); s.Scan(); {
			c <- s.Text()
		}
	}()
	return c
}

// parse reads key=KEY or TOPIC/PARTITION@OFFSET.
func (d *debugger) parse(text string) (breakpoint, error) {
	if key, ok := strings.CutPrefix(text, "key="); ok {
		return d.parseKey(text, key)
	}
	var b breakpoint
	place, offset, ok := cutLast(text, "@")
	topic, part, both := cutLast(place, "/")
	n, err := strconv.ParseInt(part, 10, 32)
	at, offErr := strconv.ParseInt(offset, 10, 64)
	if !ok || !both || err != nil || offErr != nil || n < 0 || at < 0 {
		return b, failf(exitUsage, "--break %s is neither key=KEY nor TOPIC/PARTITION@OFFSET", text)
	}
	var topics []string
	for _, sub := range d.top.SubTopologies {
		for _, src := range sub.Sources {
			if src.Topic == topic {
				return breakpoint{topic: topic, at: int32(n), offset: at}, nil
			}
			topics = append(topics, src.Topic)
		}
	}
	return b, failf(exitUsage, "--break %s: the pipeline does not read topic %s%s", text, topic, didYouMean(topic, topics))
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+len(sep):], true
}

// parseKey encodes the key as each source has it. One whose keys are of another kind never matches.
func (d *debugger) parseKey(text, key string) (breakpoint, error) {
	b := breakpoint{keys: map[source][]byte{}}
	var refusal error
	for _, sub := range d.top.SubTopologies {
		for i, src := range sub.Sources {
			encoded, err := d.codecs.Encode(src.KeyCodec, key)
			if err != nil {
				refusal = err
				continue
			}
			b.keys[source{sub.ID, i}] = encoded
		}
	}
	if len(b.keys) == 0 {
		return b, fmt.Errorf("--break %s: no source has such keys: %w", text, refusal)
	}
	return b, nil
}

// match implements worker.Debug.
func (d *debugger) match(sub *topology.SubTopology, index int, r *operators.Record) bool {
	if d.ended.Load() {
		return false
	}
	for _, b := range d.breaks {
		if b.keys == nil {
			if b.offset == r.Offset && b.at == r.Partition && b.topic == sub.Sources[index].Topic {
				return true
			}
			continue
		}
		if key, ok := b.keys[source{sub.ID, index}]; ok && r.Key != nil && bytes.Equal(key, r.Key) {
			return true
		}
	}
	return false
}

// stepped implements worker.Debug.
func (d *debugger) stepped(s worker.Step) (again bool) {
	if d.ended.Load() {
		return false
	}
	if err := d.print(s); err != nil {
		say(d.cmd, "print a step: %v", err)
	}
	switch {
	case s.Err != nil:
		return false
	case d.answers != nil:
		return d.ask(d.cmd.Context())
	case d.left[s.Task] > 0:
		d.left[s.Task]--
	default:
		d.left[s.Task] = d.steps
	}
	return d.left[s.Task] > 0
}

// ask has the user say how to go on.
func (d *debugger) ask(ctx context.Context) (again bool) {
	for {
		fmt.Fprint(d.cmd.ErrOrStderr(), "Enter: next record of this task, c: next match, q: end > ")
		select {
		case answer, more := <-d.answers:
			switch {
			case !more:
				d.answers = nil
				return false
			case answer == "" || answer == "n":
				return true
			case answer == "c":
				return false
			case answer == "q":
				d.ended.Store(true)
				d.quit()
				return false
			}
		case <-ctx.Done():
			return false
		}
	}
}

// stepView is a step in the output.
type stepView struct {
	Task      partition.TaskID `json:"task"`
	Topic     string           `json:"topic"`
	Partition int32            `json:"partition"`
	Offset    int64            `json:"offset"`
	Time      string           `json:"time"`
	Key       jsontext.Value   `json:"key"`
	Value     jsontext.Value   `json:"value"`
	Headers   []headerView     `json:"headers,omitempty"`
	State     []changeView     `json:"state"`
	Left      int              `json:"stateLeftOut,omitzero"` // changes that are not shown
	Emitted   []emittedView    `json:"emitted"`
	Watermark string           `json:"watermark,omitempty"`
	Error     string           `json:"error,omitempty"`
}

type headerView struct {
	Key   string         `json:"key"`
	Value jsontext.Value `json:"value"`
}

// changeView is an entry; what it was or is is empty where there was or is none.
type changeView struct {
	Store  string         `json:"store"`
	Key    jsontext.Value `json:"key"`
	SubKey jsontext.Value `json:"subKey,omitzero"`
	Window string         `json:"window,omitempty"` // its start
	Before *valueView     `json:"before,omitempty"`
	After  *valueView     `json:"after,omitempty"`
}

type valueView struct {
	Time  string         `json:"time,omitempty"`
	Value jsontext.Value `json:"value"`
}

type emittedView struct {
	Topic string         `json:"topic"`
	Muted bool           `json:"muted,omitempty"`
	Time  string         `json:"time"`
	Key   jsontext.Value `json:"key"`
	Value jsontext.Value `json:"value"`
}

func (d *debugger) view(s worker.Step) stepView {
	src := s.Sub.Sources[s.Source]
	r := s.Record
	v := stepView{
		Task: s.Task, Topic: src.Topic, Partition: r.Partition, Offset: r.Offset, Time: eventTime(r.Time), Left: s.Left,
		Key: inspect.JSONOf(d.codecs.Value(src.KeyCodec, r.Key)), Value: inspect.JSONOf(d.valueOf(src, r.Value)),
		State: []changeView{}, Emitted: []emittedView{},
	}
	if s.Watermark != operators.MinTime {
		v.Watermark = eventTime(s.Watermark)
	}
	if s.Err != nil {
		v.Error, v.Watermark = s.Err.Error(), ""
	}
	for _, h := range r.Headers {
		v.Headers = append(v.Headers, headerView{h.Key, inspect.JSONOf(h.Value)})
	}
	for _, ch := range s.Changes {
		v.State = append(v.State, d.change(s.Task, ch))
	}
	for _, e := range s.Emitted {
		v.Emitted = append(v.Emitted, d.emitted(e))
	}
	return v
}

// valueOf shows the value of a record of a source.
func (d *debugger) valueOf(src topology.Source, value []byte) any {
	if src.Internal && value != nil {
		return d.codecs.Stored(append(src.FormerValueCodecs[:len(src.FormerValueCodecs):len(src.FormerValueCodecs)], src.ValueCodec), value)
	}
	return d.codecs.Value(src.ValueCodec, value)
}

// eventTime writes a time; the ends of time have names.
func eventTime(t operators.Time) string {
	switch t {
	case operators.MinTime:
		return "none"
	case operators.MaxTime:
		return "end"
	}
	return time.UnixMilli(t).UTC().Format(time.RFC3339Nano)
}

func (d *debugger) change(task partition.TaskID, ch statestore.Change) changeView {
	id, key, _, err := statestore.SplitKey(ch.Key)
	store := d.codecs.Store(uint16(id))
	if err != nil || store == nil {
		return changeView{Store: fmt.Sprint(id), Key: inspect.JSONOf(key)}
	}
	v := changeView{Store: store.Name}
	for _, side := range []struct {
		raw []byte
		at  **valueView
	}{{ch.Before, &v.Before}, {ch.After, &v.After}} {
		if side.raw == nil {
			continue
		}
		row, err := store.Row(task, ch.Key, side.raw)
		if err != nil {
			row.Key, row.Value = key, side.raw
		}
		v.Key = inspect.JSONOf(row.Key)
		if row.SubKey != nil {
			v.SubKey = inspect.JSONOf(row.SubKey)
		}
		*side.at = &valueView{Value: inspect.JSONOf(row.Value)}
		switch {
		case row.Timed && store.Kind.Windowed():
			v.Window = inspect.Text(row.Time)
		case row.Timed:
			(*side.at).Time = inspect.Text(row.Time)
		}
	}
	return v
}

// emitted shows a record by the codecs of whoever reads the topic in this pipeline, else as it looks.
func (d *debugger) emitted(e worker.Emitted) emittedView {
	v := emittedView{Topic: e.Topic, Muted: e.Muted, Time: eventTime(e.Time), Key: guessJSON(e.Key), Value: guessJSON(e.Value)}
	for _, sub := range d.top.SubTopologies {
		for _, src := range sub.Sources {
			if src.Topic == e.Topic && src.Internal == e.Internal {
				v.Key, v.Value = inspect.JSONOf(d.codecs.Value(src.KeyCodec, e.Key)), inspect.JSONOf(d.valueOf(src, e.Value))
			}
		}
	}
	return v
}

func guessJSON(b []byte) jsontext.Value {
	if b == nil {
		return inspect.JSONOf(nil)
	}
	if text := jsontext.Value(guess(b)); text.IsValid() {
		return text
	}
	return inspect.JSONOf(guess(b))
}

// print writes a step: as lines for people, or as one line of JSON.
func (d *debugger) print(s worker.Step) error {
	v, out := d.view(s), d.cmd.OutOrStdout()
	if outputFormat(d.cmd) == "json" {
		line, err := json.Marshal(v, json.Deterministic(true))
		if err == nil {
			err = writeLine(out, line)
		}
		return err
	}
	_, err := io.WriteString(out, v.text())
	return err
}

func (v stepView) text() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-10s"+format+"\n", append([]any{name}, args...)...)
	}
	fmt.Fprintf(&b, "task %s: %s/%d@%d, %s\n", v.Task, v.Topic, v.Partition, v.Offset, v.Time)
	line("key", "%s", plain(v.Key))
	line("value", "%s", plain(v.Value))
	for _, h := range v.Headers {
		line("header", "%s: %s", h.Key, plain(h.Value))
	}
	for _, ch := range v.State {
		line("state", "%s  %s", ch.Store, ch.place())
		line("  before", "%s", ch.Before.text())
		line("  after", "%s", ch.After.text())
	}
	if v.Left > 0 {
		line("state", "and %d entries more", v.Left)
	}
	for _, e := range v.Emitted {
		muted := ""
		if e.Muted {
			muted = "  (muted)"
		}
		line("emits", "%s  %s  %s%s", e.Topic, plain(e.Key), plain(e.Value), muted)
	}
	if v.Error != "" {
		line("fails", "%s", v.Error)
	}
	if v.Watermark != "" {
		line("watermark", "%s", v.Watermark)
	}
	return b.String() + "\n"
}

func (ch changeView) place() string {
	place := plain(ch.Key)
	if ch.SubKey != nil {
		place += "  sub-key " + plain(ch.SubKey)
	}
	if ch.Window != "" {
		place += "  window of " + ch.Window
	}
	return place
}

func (v *valueView) text() string {
	switch {
	case v == nil:
		return "-"
	case v.Time != "":
		return plain(v.Value) + "  at " + v.Time
	}
	return plain(v.Value)
}

// plain is a value for people: a text without its quotes, unless it could be taken for something else.
func plain(v jsontext.Value) string {
	text, err := jsontext.AppendUnquote(nil, v)
	if err != nil || len(text) == 0 || jsontext.Value(text).IsValid() || !inspect.IsText(text) {
		return string(v)
	}
	return string(text)
}
