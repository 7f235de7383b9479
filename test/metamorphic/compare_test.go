// SPDX-License-Identifier: Apache-2.0

package metamorphic

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// record is one result.
type record struct {
	key   string
	value int64
	null  bool
	time  int64 // Unix milliseconds
}

// String shows the value and the time.
func (r record) String() string {
	if r.null {
		return fmt.Sprintf("null at %d", r.time)
	}
	return fmt.Sprintf("%d at %d", r.value, r.time)
}

// outcome is what a run has left, by topic; the records of a key are in their order.
type outcome map[string][]record

// agree says how far two runs of a pipeline, or the topics of one, differ in what they must agree on; "": not at all.
func agree(outputs []output, want, got outcome) string {
	var diffs []string
	for _, o := range outputs {
		if d := got.itself(o); d != "" {
			diffs = append(diffs, fmt.Sprintf("topic %s: %s", o.topic, d))
		}
		if o.agree == covered || o.agree == empty {
			continue
		}
		if d := difference(o.agree.view(want[o.topic]), o.agree.view(got[o.topic])); d != "" {
			diffs = append(diffs, fmt.Sprintf("topic %s: %s", o.topic, d))
		}
	}
	return strings.Join(diffs, "\n")
}

// itself says what is wrong in a topic of one run.
func (got outcome) itself(o output) string {
	switch {
	case o.agree == empty && len(got[o.topic]) > 0:
		return fmt.Sprintf("%d records were late, and none is", len(got[o.topic]))
	case o.twin == "":
		return ""
	}
	// Results on close have a time of their own.
	twin, own := newest.view(got[o.twin]), newest.view(got[o.topic])
	if o.agree == covered {
		maps.DeleteFunc(own, func(key string, _ []record) bool { return twin[key] == nil })
	}
	if d := difference(twin, own); d != "" {
		return "its windows end with other results than those on close: " + d
	}
	return ""
}

// view is what runs agree on of a topic, by key.
func (a agreement) view(records []record) map[string][]record {
	keys := map[string][]record{}
	for _, r := range records {
		switch {
		case a != newest:
			keys[r.key] = append(keys[r.key], r)
		case r.null:
			delete(keys, r.key)
		default:
			r.time = 0 // of the rows of a table it depends on the way there
			keys[r.key] = []record{r}
		}
	}
	if a == multisets {
		for _, list := range keys {
			slices.SortFunc(list, func(a, b record) int { return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(a.value, b.value)) })
		}
	}
	return keys
}

// difference tells the first few keys that differ.
func difference(want, got map[string][]record) string {
	all := maps.Clone(want)
	maps.Copy(all, got)
	var diffs []string
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if !slices.Equal(want[key], got[key]) {
			diffs = append(diffs, fmt.Sprintf("key %s: expected %s, found %s", key, list(want[key]), list(got[key])))
		}
	}
	const most = 4
	if n := len(diffs); n > most {
		diffs = append(diffs[:most], fmt.Sprintf("and %d more keys", n-most))
	}
	return strings.Join(diffs, "; ")
}

func list(records []record) string {
	const most = 8
	if len(records) <= most {
		return fmt.Sprint(records)
	}
	return fmt.Sprintf("%v and %d more", records[:most], len(records)-most)
}
