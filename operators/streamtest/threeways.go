// SPDX-License-Identifier: Apache-2.0

package streamtest

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/stream"
)

// ThreeWays runs the script three times and demands the same outputs, key by key: straight; with a commit and a
// crash after every record that any task processes; and with another number of partitions. The script sends, runs
// and may check; each time it is given a new Driver, and whatever it leaves waiting is run in the end. Values and
// times are compared, in order; of records without a key only that they are there. See NewestOnly for what
// may differ on the way.
func ThreeWays(t TB, p *stream.Pipeline, script func(*Driver), opts ...Option) {
	t.Helper()
	o := newOptions(opts)
	other := o
	other.partitions = 1
	if o.partitions == 1 {
		other.partitions = defaultPartitions
	}
	ways := []struct {
		name    string
		options options
		faults  *faults
	}{
		{fmt.Sprintf("straight, %d partitions", o.partitions), o, nil},
		{"commit and crash after every record", o, &faults{}},
		{fmt.Sprintf("straight, %d partitions", other.partitions), other, nil},
	}
	var want outcome
	for i, way := range ways {
		t.Logf("streamtest: run %d of %d: %s", i+1, len(ways), way.name)
		d := newDriver(t, p, way.options)
		d.faults = way.faults
		script(d)
		d.Run()
		got := d.outcome(o)
		d.close() // rather than all three at the end of the test; closing again does nothing
		if i == 0 {
			want = got
			continue
		}
		if diff := want.compare(got); diff != "" {
			t.Fatalf("streamtest: run %q and run %q of pipeline %q differ:\n%s", ways[0].name, way.name, p.Name(), diff)
		}
	}
}

// faults is what happens after each record of a run that is to survive everything.
type faults struct{ records int }

// afterRecord loses the record, processes it again, commits it, and lets something happen.
func (f *faults) afterRecord(d *Driver) error {
	d.Crash()
	if err := d.oneRecord(); err != nil {
		return err
	}
	f.records++
	switch f.records % 4 {
	case 0:
		if _, err := d.commit(); err != nil {
			return err
		}
		d.LoseDisk()
	case 1:
		d.CommitAndCrash()
	case 2:
		// Flushes, so that the crashes after it find an older state rather than none.
		d.Checkpoint()
		d.Crash()
	case 3:
		if _, err := d.commit(); err != nil {
			return err
		}
		d.RestoreCheckpoint()
	}
	return nil
}

// oneRecord processes the next record that counts.
func (d *Driver) oneRecord() error {
	for {
		more, counts, err := d.step()
		if err != nil || !more || counts {
			return err
		}
	}
}

// outcome is what a run has left in its output topics.
type outcome map[string]map[string][]result // by topic, by key

// result is one record as far as runs must agree on it.
type result struct {
	value []byte
	time  operators.Time
}

// noKey stands for null among the keys; encoded keys have a prefix.
const noKey = "null"

func (d *Driver) outcome(o options) outcome {
	all := outcome{}
	for _, name := range d.outputs() {
		keys := map[string][]result{}
		t := d.topic(name, false)
		for _, p := range t.arrived {
			e := t.at(p)
			r := result{value: e.value, time: e.time}
			switch {
			case e.key == nil:
				keys[noKey] = append(keys[noKey], r)
			case o.newestOnly[""] || o.newestOnly[name]:
				keys["key "+string(e.key)] = []result{r}
			default:
				keys["key "+string(e.key)] = append(keys["key "+string(e.key)], r)
			}
		}
		for key, list := range keys {
			if key == noKey || o.anyOrder[name] {
				slices.SortFunc(list, func(a, b result) int {
					return cmp.Or(bytes.Compare(a.value, b.value), cmp.Compare(a.time, b.time))
				})
			}
		}
		all[name] = keys
	}
	return all
}

// compare tells the first few differences.
func (o outcome) compare(got outcome) string {
	var diffs []string
	for _, topic := range slices.Sorted(maps.Keys(o)) {
		keys := map[string]bool{}
		for k := range o[topic] {
			keys[k] = true
		}
		for k := range got[topic] {
			keys[k] = true
		}
		for _, k := range slices.Sorted(maps.Keys(keys)) {
			if d := difference(o[topic][k], got[topic][k]); d != "" {
				diffs = append(diffs, fmt.Sprintf("topic %s, %s: %s", topic, showKey(k), d))
			}
		}
	}
	const most = 10
	if len(diffs) > most {
		diffs = append(diffs[:most], fmt.Sprintf("and %d more keys", len(diffs)-most))
	}
	return strings.Join(diffs, "\n")
}

func difference(want, got []result) string {
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(got):
			return fmt.Sprintf("%d records in the first run, %d in the second; missing is %s", len(want), len(got), want[i])
		case i >= len(want):
			return fmt.Sprintf("%d records in the first run, %d in the second; too many is %s", len(want), len(got), got[i])
		case !bytes.Equal(want[i].value, got[i].value) || (want[i].value == nil) != (got[i].value == nil) || want[i].time != got[i].time:
			return fmt.Sprintf("record %d is %s in the first run, %s in the second", i+1, want[i], got[i])
		}
	}
	return ""
}

// String gives the value, and the time in Unix milliseconds.
func (r result) String() string { return fmt.Sprintf("%s (time %d)", show(r.value), r.time) }

func showKey(k string) string {
	if k == noKey {
		return "null key"
	}
	return "key " + show([]byte(strings.TrimPrefix(k, "key ")))
}

// showMost is how many bytes of a value a message has.
const showMost = 200

// show makes text of bytes that may be text.
func show(b []byte) string {
	if b == nil {
		return "null"
	}
	more := ""
	if len(b) > showMost {
		more = fmt.Sprintf("… (%d bytes)", len(b))
		b = b[:showMost]
	}
	if utf8.Valid(b) && strings.IndexFunc(string(b), unicode.IsControl) < 0 {
		return fmt.Sprintf("%q%s", b, more)
	}
	return fmt.Sprintf("%#x%s", b, more)
}
