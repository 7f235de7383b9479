// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The window stores of the model: one with values, and one without, as an index
// of what is due.

func winKey(id StoreID, t int64, key, sub string) string {
	return string(appendWindowTail(appendStoreID(nil, id|windowLayout), WindowKey{t, []byte(key), []byte(sub)}))
}

func winTail(id StoreID, t int64, end bool) string {
	prefix := appendStoreID(nil, id|windowLayout)
	if end {
		return string(appendTimeEnd(prefix, t))
	}
	return string(appendTime(prefix, t))
}

func drawTime(t *rapid.T) int64 {
	switch n := rapid.Int64Range(-1, 20).Draw(t, "time"); n {
	case 19:
		return math.MinInt64
	case 20:
		return math.MaxInt64
	default:
		return n / 3
	}
}

// drawWin gives keys that lie within the entry, and longer ones.
func drawWin(t *rapid.T) (at int64, key, sub string) {
	n := rapid.IntRange(0, 2).Draw(t, "win key")
	return drawTime(t), strings.Repeat("k", n*n*n*3), rapid.SampledFrom([]string{"", "a"}).Draw(t, "win sub")
}

func (m *machine) updateWin(t *rapid.T) {
	at, k, s := drawWin(t)
	p, found, err := m.wins.Update(at, []byte(k), []byte(s))
	m.ok(err)
	m.want("update", winKey(winsID, at, k, s), encoded(*p), found)
	*p += 3
	m.working[winKey(winsID, at, k, s)] = encoded(*p)
}

func (m *machine) putWin(t *rapid.T) {
	at, k, s := drawWin(t)
	v := rapid.Uint64().Draw(t, "value")
	m.ok(m.wins.Put(at, []byte(k), []byte(s), v))
	m.working[winKey(winsID, at, k, s)] = encoded(v)
}

func (m *machine) getWin(t *rapid.T) {
	at, k, s := drawWin(t)
	v, found, err := m.wins.Get(at, []byte(k), []byte(s))
	m.ok(err)
	m.want("get", winKey(winsID, at, k, s), encoded(v), found)
}

func (m *machine) removeWin(t *rapid.T) {
	at, k, s := drawWin(t)
	m.ok(m.wins.Delete(at, []byte(k), []byte(s)))
	delete(m.working, winKey(winsID, at, k, s))
}

func (m *machine) dropWin(t *rapid.T) {
	at := drawTime(t)
	m.ok(m.wins.Drop(at))
	m.deleteBetween(winTail(winsID, at, false), winTail(winsID, at, true))
}

func (m *machine) dropWinsBefore(t *rapid.T) {
	at := drawTime(t)
	m.ok(m.wins.DropBefore(at))
	m.deleteBetween(winTail(winsID, math.MinInt64, false), winTail(winsID, at, false))
}

func (m *machine) deleteBetween(start, end string) {
	maps.DeleteFunc(m.working, func(k, _ string) bool { return k >= start && k < end })
}

// schedule sets and cancels, without reading.
func (m *machine) schedule(t *rapid.T) {
	for range rapid.IntRange(1, 5).Draw(t, "timers") {
		at, k, _ := drawWin(t)
		if rapid.IntRange(0, 2).Draw(t, "cancel") == 0 {
			m.ok(m.due.Delete(at, []byte(k), nil))
			delete(m.working, winKey(dueID, at, k, ""))
		} else {
			m.ok(m.due.Put(at, []byte(k), nil, struct{}{}))
			m.working[winKey(dueID, at, k, "")] = ""
		}
	}
}

// fire takes out what is due, one by one or together, and schedules more.
func (m *machine) fire(t *rapid.T) {
	now := drawTime(t)
	together := rapid.Bool().Draw(t, "together")
	again := rapid.Bool().Draw(t, "again")
	var got []string
	want := m.between(winTail(dueID, math.MinInt64, false), winTail(dueID, now, false))
	for e := range m.due.Between(math.MinInt64, now) {
		got = append(got, winKey(dueID, e.Time, string(e.Key), string(e.Sub))+"=")
		if again {
			// Further on than all that is due.
			m.ok(m.due.Put(math.MaxInt64, e.Key, nil, struct{}{}))
			m.working[winKey(dueID, math.MaxInt64, string(e.Key), "")] = ""
		}
		if !together {
			m.ok(m.due.Delete(e.Time, e.Key, e.Sub))
		}
	}
	if together {
		m.ok(m.due.DropBefore(now))
	}
	m.ok(m.db.Err())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("due before %d (-want +got):\n%s", now, diff)
	}
	m.deleteBetween(winTail(dueID, math.MinInt64, false), winTail(dueID, now, false))
	m.checkFirst()
}

// between lists the model's entries in [start, end).
func (m *machine) between(start, end string) (list []string) {
	for _, k := range slices.Sorted(maps.Keys(m.working)) {
		if k >= start && k < end {
			list = append(list, k+"="+m.working[k])
		}
	}
	return list
}

// rangeWins changes the store while it is read.
func (m *machine) rangeWins(t *rapid.T) {
	from, key, _ := drawWin(t)
	mode := rapid.IntRange(0, 5).Draw(t, "mode")
	var got, want []string
	see := func(e WindowKey, v uint64) {
		got = append(got, winKey(winsID, e.Time, string(e.Key), string(e.Sub))+"="+encoded(v))
		switch mode {
		case 1:
			m.ok(m.wins.Delete(e.Time, e.Key, e.Sub))
			delete(m.working, winKey(winsID, e.Time, string(e.Key), string(e.Sub)))
		case 2:
			m.fill(t)
		case 3:
			for range m.wins.All(2) {
			}
			m.checkFirst()
		case 4: // behind, ahead is not looked at
			m.ok(m.wins.Put(e.Time, e.Key, nil, 5))
			m.working[winKey(winsID, e.Time, string(e.Key), "")] = encoded(5)
		}
	}
	switch rapid.IntRange(0, 2).Draw(t, "range") {
	case 0:
		want = m.between(winKey(winsID, from, key, ""), winKey(winsID, from, key, "zz"))
		for s, v := range m.wins.Range(from, []byte(key)) {
			see(WindowKey{from, []byte(key), s}, v)
		}
	case 1:
		want = m.between(winTail(winsID, from, false), winTail(winsID, from, true))
		for e, v := range m.wins.All(from) {
			see(e, v)
		}
	default:
		to := drawTime(t)
		want = m.between(winTail(winsID, from, false), winTail(winsID, to, false))
		for e, v := range m.wins.Between(from, to) {
			see(e, v)
			if mode == 5 {
				m.ok(m.wins.Drop(e.Time))
				end := winTail(winsID, e.Time, true)
				m.deleteBetween(winTail(winsID, e.Time, false), end)
				seen := len(got)
				want = slices.DeleteFunc(want, func(s string) bool { return s < end && !slices.Contains(got[:seen], s) })
			}
		}
	}
	m.ok(m.db.Err())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("range from %d, mode %d (-want +got):\n%s", from, mode, diff)
	}
}

// checkFirst compares the first times with the model's.
func (m *machine) checkFirst() {
	check := func(id StoreID, got int64, ok bool, err error) {
		m.t.Helper()
		m.ok(err)
		list := m.between(winTail(id, math.MinInt64, false), winTail(id, math.MaxInt64, true))
		if ok != (len(list) > 0) {
			m.t.Fatalf("first of store %d: found %v, the model has %d entries", id, ok, len(list))
		}
		if ok {
			if want := timeOf([]byte(list[0])[storeIDLen:]); got != want {
				m.t.Fatalf("first of store %d is %d, want %d", id, got, want)
			}
		}
	}
	got, ok, err := m.wins.First()
	check(winsID, got, ok, err)
	got, ok, err = m.due.First()
	check(dueID, got, ok, err)
}

// checkTimelines tests what timeline promises, between all other actions.
func (m *machine) checkTimelines(*rapid.T) {
	checkTimeline(m.t, m.working, &m.wins.table)
	checkTimeline(m.t, m.working, &m.due.table)
}

func checkTimeline[V any](t *rapid.T, working contents, w *table[V]) {
	for k := range working {
		if strings.HasPrefix(k, string(appendStoreID(nil, w.id))) && timeOf([]byte(k)[storeIDLen:]) < w.times.first {
			t.Fatalf("entry %x is before the first time, %d", k, w.times.first)
		}
	}
	checkKnown(t, w, func(tail []byte) bool { return timeOf(tail) > w.times.frontier })
}

// checkKnown tests that the cache has all that Pebble has under keys of which the
// table would not ask it.
func checkKnown[V any](t *rapid.T, w *table[V], unasked func(tail []byte) bool) {
	if !w.known.looked {
		return
	}
	it, err := w.db.iterate(w.id, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.close()
	for tail, _, ok := it.first(); ok; tail, _, ok = it.next() {
		if !unasked(tail) || w.deletedUntil(tail) != nil {
			continue
		}
		if _, e := w.find(w.hash(tail), tail); e == nil {
			t.Fatalf("Pebble has entry %x, and the cache, which should know all, has not", tail)
		}
	}
	if err := it.err(); err != nil {
		t.Fatal(err)
	}
}

// allWins reads the window stores.
func (m *machine) allWins(got contents) {
	for e, v := range m.wins.Between(math.MinInt64, math.MaxInt64) {
		got[winKey(winsID, e.Time, string(e.Key), string(e.Sub))] = encoded(v)
	}
	for e, v := range m.wins.All(math.MaxInt64) {
		got[winKey(winsID, e.Time, string(e.Key), string(e.Sub))] = encoded(v)
	}
	for e := range m.due.Between(math.MinInt64, math.MaxInt64) {
		got[winKey(dueID, e.Time, string(e.Key), string(e.Sub))] = ""
	}
	for e := range m.due.All(math.MaxInt64) {
		got[winKey(dueID, e.Time, string(e.Key), string(e.Sub))] = ""
	}
}

// drawWinOps writes changes of the window stores that another process made.
func (m *machine) drawWinOps(t *rapid.T, w *deltaWriter) {
	const id = winsID | windowLayout
	if rapid.Bool().Draw(t, "drop") {
		from, to := winTail(winsID, 1, false), winTail(winsID, rapid.Int64Range(1, 5).Draw(t, "to"), false)
		w.put(opDeleteRange, id, []byte(from)[storeIDLen:], []byte(to))
		m.deleteBetween(from, to)
	}
	for range rapid.IntRange(0, 4).Draw(t, "win ops") {
		at, k, s := drawWin(t)
		key := winKey(winsID, at, k, s)
		if rapid.Bool().Draw(t, "set") {
			v := encoded(rapid.Uint64().Draw(t, "value"))
			w.put(opSet, id, []byte(key)[storeIDLen:], []byte(v))
			m.working[key] = v
		} else {
			w.put(opDelete, id, []byte(key)[storeIDLen:], nil)
			delete(m.working, key)
		}
	}
}

// fillWins reads keys of the times in use, to turn the cache over.
func (m *machine) fillWins(from int) {
	for n := from; n < from+40; n++ {
		_, _, err := m.wins.Get(int64(n%6), fmt.Appendf(nil, "fill%d", n), nil)
		m.ok(err)
	}
}
