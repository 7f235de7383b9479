// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The strategy: random lists of operations on five stores (numbers, texts with
// long keys, a map, windows, an index of due times) run against plain Go maps.
// The invariants:
//
//	reads see the epoch's changes, else the last confirmed value;
//	an abort leaves exactly the confirmed state;
//	an attempt that is undone leaves the state as it was, and the list of changes;
//	a cut holds exactly the state and position of its call;
//	a reopened directory holds the last confirmed state;
//	after a crash it holds the state of some epoch, whole, and replaying the
//	changelog from its position gives the last confirmed state.
//
// The caches are so small that entries are evicted all the time.

type contents = map[string]string // entry key → encoded value

type loggedEpoch struct {
	position Position
	records  [][]byte
	after    contents
}

type openCut struct {
	cut   *Cut
	base  *Cut
	state contents
	long  bool // no files are made
}

type machine struct {
	t   *rapid.T
	fs  *vfs.MemFS
	res *Resources
	db  *DB

	nums  *Value[uint64]
	texts *Value[string]
	subs  *Map[uint64]
	wins  *Window[uint64]
	due   *Window[struct{}]

	working, confirmed contents
	log                []loggedEpoch
	epoch              uint64
	cut                *openCut
	cuts               int
	stored             *vfs.MemFS // whole copies of what cuts hold
	pending            []*Cut     // ended, and not yet stored
	base               *Cut       // stored last
}

const (
	numsID StoreID = iota + 1
	textsID
	subsID
	winsID
	dueID
)

type actions = map[string]func(*rapid.T)

func TestStateIsAlwaysThatOfACommittedEpoch(t *testing.T) {
	t.Parallel()
	checkModel(t, func(m *machine) actions {
		return actions{
			"":            m.checkWhole,
			"update":      m.update,
			"put":         m.put,
			"put text":    m.putText,
			"put sub":     m.putSub,
			"update sub":  m.updateSub,
			"delete":      m.remove,
			"deleteRange": m.removeRange,
			"touch":       m.touch,
			"get":         m.get,
			"bulk":        m.bulk,
			"scan":        m.scan,
			"range":       m.rangeSubs,
			"attempt": m.attempt(
				m.update, m.put, m.putText, m.putSub, m.updateSub, m.remove, m.removeRange, m.touch, m.get, m.fill, m.scan, m.rangeSubs,
			),
		}
	})
}

func TestWindowsAreAlwaysThoseOfACommittedEpoch(t *testing.T) {
	t.Parallel()
	checkModel(t, func(m *machine) actions {
		return actions{
			"":            m.checkTimelines,
			"update win":  m.updateWin,
			"put win":     m.putWin,
			"get win":     m.getWin,
			"delete win":  m.removeWin,
			"drop":        m.dropWin,
			"drop before": m.dropWinsBefore,
			"schedule":    m.schedule,
			"fire":        m.fire,
			"range win":   m.rangeWins,
			"first":       func(*rapid.T) { m.checkFirst() },
			"attempt": m.attempt(
				m.updateWin, m.putWin, m.getWin, m.removeWin, m.dropWin, m.dropWinsBefore, m.schedule, m.fire, m.rangeWins, m.fill,
			),
		}
	})
}

// attempt does some of the steps in an attempt, which is then kept, undone, or
// ended by an abort.
func (m *machine) attempt(steps ...func(*rapid.T)) func(*rapid.T) {
	return func(t *rapid.T) {
		before, changed := maps.Clone(m.working), m.changed()
		m.db.Attempt(rapid.Bool().Draw(t, "reads"))
		for range rapid.IntRange(0, 6).Draw(t, "steps") {
			rapid.SampledFrom(steps).Draw(t, "step")(t)
		}
		switch rapid.IntRange(0, 3).Draw(t, "end") {
		case 0:
			m.ok(m.db.Keep())
		case 1:
			m.db.Abort()
			m.ok(m.db.Err())
			m.working = maps.Clone(m.confirmed)
		default:
			m.ok(m.db.Undo())
			m.working = before
			if diff := cmp.Diff(changed, m.changed()); diff != "" {
				t.Fatalf("changed keys after an undo (-before +after):\n%s", diff)
			}
		}
	}
}

// changed lists what would be in the delta, but for entries that only a range
// delete has changed.
func (m *machine) changed() []string {
	return slices.Concat(changedIn(&m.nums.table), changedIn(&m.texts.table), changedIn(&m.subs.table), changedIn(&m.wins.table), changedIn(&m.due.table))
}

func changedIn[V any](t *table[V]) (list []string) {
	for _, i := range t.dirty {
		if e := t.at(i); e.meta&stateFree == 0 && !(e.meta&stateAbsent != 0 && t.ranges.cover(t.keyOf(e))) {
			list = append(list, string(appendStoreID(nil, t.id))+string(t.keyOf(e)))
		}
	}
	for i, e := range t.entries {
		if e.meta&stateTried != 0 {
			list = append(list, fmt.Sprint("still tried: ", i))
		}
	}
	return list
}

// checkWhole tests what a table that is not partial promises, between all other
// actions.
func (m *machine) checkWhole(*rapid.T) {
	checkKnown(m.t, &m.nums.table, func([]byte) bool { return !m.nums.known.partial })
	checkKnown(m.t, &m.texts.table, func([]byte) bool { return !m.texts.known.partial })
	checkKnown(m.t, &m.subs.table, func([]byte) bool { return !m.subs.known.partial })
}

// checkModel runs the actions of some stores, and those that all stores share.
func checkModel(t *testing.T, stores func(*machine) actions) {
	rapid.Check(t, func(rt *rapid.T) {
		res, err := NewResources(minMemory)
		if err != nil {
			rt.Fatal(err)
		}
		res.shares.Decoded = int64(rapid.SampledFrom([]int{1, 4 << 10, 1 << 20}).Draw(rt, "cache bytes"))
		res.shares.Held = int64(rapid.SampledFrom([]int{1, 1 << 20}).Draw(rt, "held bytes"))
		m := &machine{t: rt, fs: vfs.NewCrashableMem(), stored: vfs.NewMem(), res: res, working: contents{}, confirmed: contents{}}
		m.open()
		defer func() {
			if err := m.db.Close(); err != nil {
				rt.Error(err)
			}
			if n := res.decoded.Load(); n != 0 {
				rt.Errorf("decoded caches account for %d bytes after close", n)
			}
			if err := res.Close(); err != nil {
				rt.Error(err)
			}
		}()
		all := actions{
			"":          func(*rapid.T) {},
			"fill":      m.fill,
			"commit":    m.commit,
			"abort":     m.abort,
			"cut":       m.beginCut,
			"end cut":   m.endCut,
			"store cut": m.storeCut,
			"reopen":    m.reopen,
			"crash":     m.crash,
			"apply":     m.apply,
			"check all": m.checkAll,
			"view":      m.view,
		}
		maps.Copy(all, stores(m))
		rt.Repeat(all)
	})
}

func (m *machine) open() {
	db, err := Open(Options{Dir: "state", FS: m.fs, Identity: testTask, Resources: m.res})
	if err != nil {
		m.t.Fatal(err)
	}
	m.db = db
	db.flushes.run = 2 // so that runs are as long as that
	m.nums = NewValue(db, numsID, numbers{})
	m.texts = NewValue(db, textsID, texts{})
	m.subs = NewMap(db, subsID, numbers{})
	// Small chunks, so that they come and go.
	m.nums.shift, m.texts.shift, m.subs.shift = 2, 2, 2
	m.wins = NewWindow(db, winsID, numbers{})
	m.due = NewWindow(db, dueID, nothing{})
	m.wins.shift, m.due.shift = 2, 2
}

func valueKey(id StoreID, key string) string { return string(appendStoreID(nil, id)) + key }

func subKey(key, sub string) string {
	return string(appendMapTail(appendStoreID(nil, subsID|mapLayout), []byte(key), []byte(sub)))
}

func encoded(v uint64) string {
	b, _ := numbers{}.Append(nil, v)
	return string(b)
}

func drawKey(t *rapid.T) string {
	n := rapid.IntRange(0, 30).Draw(t, "key")
	switch {
	case n == 0:
		return ""
	case n%3 == 0:
		return fmt.Sprintf("%08d", n)
	default:
		return fmt.Sprintf("k%d", n)
	}
}

// drawLongKey gives keys of several arena classes.
func drawLongKey(t *rapid.T) string {
	n := rapid.IntRange(0, 40).Draw(t, "long key")
	return strings.Repeat("x", n*n/2) + fmt.Sprint(n)
}

func drawSub(t *rapid.T) (key, sub string) {
	return fmt.Sprint("u", rapid.IntRange(0, 3).Draw(t, "user")), fmt.Sprintf("%02d", rapid.IntRange(0, 20).Draw(t, "sub"))
}

func (m *machine) ok(err error) {
	if err != nil {
		m.t.Helper()
		m.t.Fatalf("%v", err)
	}
}

func (m *machine) want(what, key string, got any, found bool) {
	want, wantFound := m.working[key]
	if fmt.Sprint(got) != want && found || found != wantFound {
		m.t.Fatalf("%s %q: found %q, %v; want %q, %v", what, key, got, found, want, wantFound)
	}
}

func (m *machine) update(t *rapid.T) {
	k := drawKey(t)
	p, found, err := m.nums.Update([]byte(k))
	m.ok(err)
	m.want("update", valueKey(numsID, k), encoded(*p), found)
	if !found && *p != 0 {
		t.Fatalf("update of a new key starts at %d", *p)
	}
	*p += 7
	m.working[valueKey(numsID, k)] = encoded(*p)
}

func (m *machine) put(t *rapid.T) {
	k, v := drawKey(t), rapid.Uint64().Draw(t, "value")
	m.ok(m.nums.Put([]byte(k), v))
	m.working[valueKey(numsID, k)] = encoded(v)
}

func (m *machine) putText(t *rapid.T) {
	k, v := drawLongKey(t), rapid.StringN(0, 20, 60).Draw(t, "text")
	m.ok(m.texts.Put([]byte(k), v))
	m.working[valueKey(textsID, k)] = v
}

func (m *machine) putSub(t *rapid.T) {
	k, s := drawSub(t)
	v := rapid.Uint64().Draw(t, "value")
	m.ok(m.subs.Put([]byte(k), []byte(s), v))
	m.working[subKey(k, s)] = encoded(v)
}

func (m *machine) updateSub(t *rapid.T) {
	k, s := drawSub(t)
	p, found, err := m.subs.Update([]byte(k), []byte(s))
	m.ok(err)
	m.want("update", subKey(k, s), encoded(*p), found)
	*p++
	m.working[subKey(k, s)] = encoded(*p)
}

func (m *machine) remove(t *rapid.T) {
	switch rapid.IntRange(0, 2).Draw(t, "store") {
	case 0:
		k := drawKey(t)
		m.ok(m.nums.Delete([]byte(k)))
		delete(m.working, valueKey(numsID, k))
	case 1:
		k := drawLongKey(t)
		m.ok(m.texts.Delete([]byte(k)))
		delete(m.working, valueKey(textsID, k))
	default:
		k, s := drawSub(t)
		m.ok(m.subs.Delete([]byte(k), []byte(s)))
		delete(m.working, subKey(k, s))
	}
}

func (m *machine) removeRange(t *rapid.T) {
	k, from := drawSub(t)
	_, to := drawSub(t)
	end := []byte(to)
	if rapid.IntRange(0, 4).Draw(t, "open end") == 0 {
		end = nil
	}
	m.ok(m.subs.DeleteRange([]byte(k), []byte(from), end))
	maps.DeleteFunc(m.working, func(key, _ string) bool {
		return strings.HasPrefix(key, subKey(k, "")) && key >= subKey(k, from) && (end == nil || key < subKey(k, to))
	})
}

func (m *machine) touch(t *rapid.T) {
	k := drawLongKey(t)
	p, found, err := m.texts.Ref([]byte(k))
	m.ok(err)
	if _, want := m.working[valueKey(textsID, k)]; found != want {
		t.Fatalf("ref of %q: found %v, want %v", k, found, want)
	}
	if !found {
		return
	}
	m.want("ref", valueKey(textsID, k), *p, true)
	*p += "!"
	v := *p
	m.ok(m.texts.Touch())
	m.working[valueKey(textsID, k)] = v
}

func (m *machine) get(t *rapid.T) {
	k := drawKey(t)
	v, found, err := m.nums.Get([]byte(k))
	m.ok(err)
	m.want("get", valueKey(numsID, k), encoded(v), found)
	k = drawLongKey(t)
	s, found, err := m.texts.Get([]byte(k))
	m.ok(err)
	m.want("get", valueKey(textsID, k), s, found)
	k, sub := drawSub(t)
	v, found, err = m.subs.Get([]byte(k), []byte(sub))
	m.ok(err)
	m.want("get", subKey(k, sub), encoded(v), found)
}

// fill reads many keys, to turn the caches over.
func (m *machine) fill(t *rapid.T) {
	from := rapid.IntRange(0, 1000).Draw(t, "from")
	for n := from; n < from+40; n++ {
		_, _, err := m.nums.Get(fmt.Appendf(nil, "fill%d", n))
		m.ok(err)
		_, _, err = m.texts.Get(fmt.Appendf(nil, "fill with a key that is long %d", n))
		m.ok(err)
		_, _, err = m.subs.Get([]byte("u1"), fmt.Appendf(nil, "fill%d", n))
		m.ok(err)
	}
	m.fillWins(from)
}

// bulk commits enough bytes for Pebble to flush and compact by itself.
func (m *machine) bulk(t *rapid.T) {
	v := strings.Repeat(string(rune('a'+rapid.IntRange(0, 25).Draw(t, "letter"))), 100<<10)
	for n := range 8 {
		k := fmt.Sprint("bulk", n)
		m.ok(m.texts.Put([]byte(k), v))
		m.working[valueKey(textsID, k)] = v
	}
	m.commitWith(t, 1<<20)
}

// prepare checks the delta against the model, by applying it.
func (m *machine) prepare(t *rapid.T, limit int) Delta {
	d, err := m.db.Prepare(limit)
	m.ok(err)
	h := replayed{}
	for k, v := range m.confirmed {
		h[k] = []byte(v)
	}
	for _, r := range d.Records {
		if len(r) > limit {
			t.Fatalf("a record has %d bytes, the limit is %d", len(r), limit)
		}
		m.ok(decodeDelta(r, h.replay))
	}
	got := contents{}
	for k, v := range h {
		if v != nil {
			got[k] = string(v)
		}
	}
	if diff := cmp.Diff(m.working, got); diff != "" {
		t.Fatalf("the delta does not give the epoch's state (-want +got):\n%s", diff)
	}
	if err := m.nums.Put([]byte("k1"), 1); err == nil {
		t.Fatal("a write between Prepare and its outcome was taken")
	}
	m.get(t)
	return d
}

func (m *machine) next() Position {
	m.epoch++
	return Position{Epoch: m.epoch, Offset: int64(m.epoch * 3), Detail: fmt.Appendf(nil, "detail %d", m.epoch)}
}

func (m *machine) commit(t *rapid.T) { m.commitWith(t, drawLimit(t)) }

func drawLimit(t *rapid.T) int {
	return rapid.SampledFrom([]int{2000, 1 << 20}).Draw(t, "record bytes")
}

func (m *machine) commitWith(t *rapid.T, limit int) {
	d := m.prepare(t, limit)
	pos := m.next()
	var records [][]byte
	for _, r := range d.Records {
		records = append(records, bytes.Clone(r))
	}
	m.ok(m.db.Confirm(pos))
	m.confirmed = maps.Clone(m.working)
	m.log = append(m.log, loggedEpoch{pos, records, m.confirmed})
}

func (m *machine) abort(t *rapid.T) {
	if rapid.Bool().Draw(t, "prepared") {
		m.prepare(t, drawLimit(t))
	}
	m.db.Abort()
	m.ok(m.db.Err())
	m.working = maps.Clone(m.confirmed)
}

func (m *machine) scan(t *rapid.T) {
	prefix := rapid.SampledFrom([]string{"", "k", "k1", "0", "none"}).Draw(t, "prefix")
	m.compareScan(prefix)
}

func (m *machine) compareScan(prefix string) {
	var got, want []string
	for k, v := range m.nums.Scan([]byte(prefix)) {
		got = append(got, string(k)+"="+encoded(v))
	}
	for _, k := range slices.Sorted(maps.Keys(m.working)) {
		if rest, ok := strings.CutPrefix(k, valueKey(numsID, "")); ok && strings.HasPrefix(rest, prefix) {
			want = append(want, rest+"="+m.working[k])
		}
	}
	m.ok(m.db.Err())
	if diff := cmp.Diff(want, got); diff != "" {
		m.t.Fatalf("scan of %q (-want +got):\n%s", prefix, diff)
	}
}

// rangeSubs deletes and reads while ranging.
func (m *machine) rangeSubs(t *rapid.T) {
	k, from := drawSub(t)
	_, to := drawSub(t)
	end := []byte(to)
	switch rapid.IntRange(0, 2).Draw(t, "bounds") {
	case 0:
		from, end = "", nil
	case 1:
		end = nil
	}
	mode := rapid.IntRange(0, 3).Draw(t, "mode")
	var got, want []string
	for _, key := range slices.Sorted(maps.Keys(m.working)) {
		if s, ok := strings.CutPrefix(key, subKey(k, "")); ok && s >= from && (end == nil || s < to) {
			want = append(want, s+"="+m.working[key])
		}
	}
	for s, v := range m.subs.Between([]byte(k), []byte(from), end) {
		got = append(got, string(s)+"="+encoded(v))
		switch mode {
		case 1:
			delete(m.working, subKey(k, string(s)))
			m.ok(m.subs.Delete([]byte(k), s))
		case 2:
			m.fill(t)
		case 3:
			for range m.subs.Range([]byte("u2")) {
			}
		}
	}
	m.ok(m.db.Err())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("range of %q, mode %d (-want +got):\n%s", k, mode, diff)
	}
}

func (m *machine) beginCut(t *rapid.T) {
	if m.cut != nil {
		return
	}
	m.commit(t)
	if rapid.Bool().Draw(t, "long") {
		// It lasts until it is ended, so deltas are sure to be held.
		m.res.shares.Held = math.MaxInt64
		m.cut = &openCut{cut: openCutByHand(m.db), long: true}
		return
	}
	m.cuts++
	c, err := m.db.Cut(context.Background(), fmt.Sprintf("cuts/%d", m.cuts), m.base)
	m.ok(err)
	m.cut = &openCut{cut: c, base: m.base, state: m.confirmed}
}

func (m *machine) endCut(*rapid.T) {
	if m.cut == nil {
		return
	}
	c := m.cut
	m.cut = nil
	if c.long {
		c.cut.cancel()
		return
	}
	m.ok(<-c.cut.Done())
	// What the store would have of it: what is in the directory, and what the
	// cut before has.
	dir := storedDir(c.cut)
	m.ok(m.stored.MkdirAll(dir, 0o755))
	for _, f := range c.cut.Files() {
		fsys, from := vfs.FS(m.fs), c.cut.Dir()
		if f.Stored {
			fsys, from = m.stored, storedDir(c.base)
		}
		m.ok(vfs.CopyAcrossFS(fsys, m.fs.PathJoin(from, f.Name), m.stored, m.fs.PathJoin(dir, f.Name)))
	}
	r, err := openReadOnly(m.stored, dir)
	m.ok(err)
	pos, _, err := r.Position()
	m.ok(err)
	if diff := cmp.Diff(c.cut.Position(), pos); diff != "" {
		m.t.Fatalf("position in the cut (-want +got):\n%s", diff)
	}
	m.compare("cut", c.state, entries(m.t, r))
	m.ok(r.Close())
	m.ok(m.fs.RemoveAll(c.cut.Dir()))
	m.pending = append(m.pending, c.cut)
}

func storedDir(c *Cut) string { return strings.Replace(c.Dir(), "cuts", "stored", 1) }

// storeCut makes one of the cuts the base of those to come. What is pending
// from before fails, or came later than it should: then it may be a base, too.
func (m *machine) storeCut(t *rapid.T) {
	if len(m.pending) == 0 {
		return
	}
	i := rapid.IntRange(0, len(m.pending)-1).Draw(t, "which")
	m.base, m.pending = m.pending[i], slices.Delete(m.pending, i, i+1)
}

func entries(t *rapid.T, r *Reader) contents {
	got := contents{}
	seq, done := r.Entries()
	for k, v := range seq {
		got[string(k)] = string(v)
	}
	if err := done(); err != nil {
		t.Fatal(err)
	}
	return got
}

func (m *machine) compare(what string, want, got contents) {
	if diff := cmp.Diff(want, got); diff != "" {
		m.t.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

func (m *machine) reopen(*rapid.T) {
	m.ok(m.db.Close())
	m.cut = nil // Close has cancelled or finished it
	m.working = maps.Clone(m.confirmed)
	m.open()
	pos, ok := m.db.Position()
	if ok != (m.epoch > 0) || pos.Epoch != m.epoch {
		m.t.Fatalf("after a reopen the epoch is %d, %v; want %d", pos.Epoch, ok, m.epoch)
	}
	m.checkAll(m.t)
}

func (m *machine) crash(t *rapid.T) {
	cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: rapid.SampledFrom([]int{0, 50, 100}).Draw(t, "unsynced")}
	cfg.RNG = rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	clone := m.fs.CrashClone(cfg)
	m.ok(m.db.Close()) // ends the goroutines; it cannot reach the clone
	m.fs, m.cut = clone, nil
	m.open()
	pos, ok := m.db.Position()
	at := contents{}
	n := 0
	if ok {
		if n = slices.IndexFunc(m.log, func(e loggedEpoch) bool { return e.position.Epoch == pos.Epoch }) + 1; n == 0 {
			t.Fatalf("after a crash the epoch is %d, which was never confirmed", pos.Epoch)
		}
		at = m.log[n-1].after
		if diff := cmp.Diff(m.log[n-1].position, pos); diff != "" {
			t.Fatalf("position after a crash (-want +got):\n%s", diff)
		}
	}
	m.working = at
	m.checkAll(t)
	for _, e := range m.log[n:] {
		m.ok(m.db.Apply(e.records, e.position))
	}
	m.working = maps.Clone(m.confirmed)
	m.checkAll(t)
}

// apply replays an epoch that another process wrote.
func (m *machine) apply(t *rapid.T) {
	if m.cut != nil {
		m.endCut(t)
	}
	m.db.Abort()
	m.working = maps.Clone(m.confirmed)
	w := deltaWriter{max: 1 << 20}
	if rapid.Bool().Draw(t, "range") {
		w.put(opDeleteRange, subsID|mapLayout, []byte(subKey("u1", "05")[storeIDLen:]), []byte(subKey("u1", "12")))
		maps.DeleteFunc(m.working, func(k, _ string) bool { return k >= subKey("u1", "05") && k < subKey("u1", "12") })
	}
	for range rapid.IntRange(0, 5).Draw(t, "ops") {
		k := drawKey(t)
		if rapid.Bool().Draw(t, "set") {
			v := encoded(rapid.Uint64().Draw(t, "value"))
			w.put(opSet, numsID, []byte(k), []byte(v))
			m.working[valueKey(numsID, k)] = v
		} else {
			w.put(opDelete, numsID, []byte(k), nil)
			delete(m.working, valueKey(numsID, k))
		}
	}
	m.drawWinOps(t, &w)
	w.seal()
	pos := m.next()
	m.ok(m.db.Apply(w.records, pos))
	m.confirmed = maps.Clone(m.working)
	m.log = append(m.log, loggedEpoch{pos, w.records, m.confirmed})
}

// checkAll reads everything through the stores.
func (m *machine) checkAll(*rapid.T) {
	got := contents{}
	for k, v := range m.nums.Scan(nil) {
		got[valueKey(numsID, string(k))] = encoded(v)
	}
	for k, v := range m.texts.Scan(nil) {
		got[valueKey(textsID, string(k))] = v
	}
	for n := range 4 {
		key := fmt.Sprint("u", n)
		for s, v := range m.subs.Range([]byte(key)) {
			got[subKey(key, string(s))] = encoded(v)
		}
	}
	m.allWins(got)
	m.ok(m.db.Err())
	m.compare("contents", m.working, got)
	m.checkFirst()
	for k, v := range m.working {
		if rest, ok := strings.CutPrefix(k, valueKey(numsID, "")); ok {
			n, found, err := m.nums.Get([]byte(rest))
			m.ok(err)
			if !found || encoded(n) != v {
				m.t.Fatalf("get %q: found %d, %v; want %x", rest, n, found, v)
			}
		}
	}
}
