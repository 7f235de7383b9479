// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A key that changes often is in many of the tables that were flushed between
// two cuts. Folding makes one table of several, which has the newest entry of
// each key alone.

const (
	// foldSample is after how many entries a fold is given up if fewer than one
	// in foldWorth of them was superseded: then it would cost more than it saves.
	foldSample = 16 << 10
	foldWorth  = 8
	// foldTables is how many tables are folded at once.
	foldTables = 64
)

// fold puts tables into a directory, folded where it pays. Runs of tables are
// folded; those with range deletes end a run, and stay as they are.
func (f *flushes) fold(ctx context.Context, tables []flushedTable, dir string) ([]flushedTable, error) {
	r := foldRun{f: f, dir: dir}
	err := r.take(ctx, tables)
	if err == nil {
		err = r.end(ctx)
	}
	return r.out, firstError(err, r.close())
}

// foldRun is the run of tables that is being gathered, the oldest first. When it
// is long it becomes one table, which begins the next run: so a key has one
// entry however many tables it is in.
type foldRun struct {
	f      *flushes
	dir    string
	inputs []*foldInput
	out    []flushedTable
}

func (r *foldRun) take(ctx context.Context, tables []flushedTable) error {
	for _, t := range tables {
		in, err := openInput(ctx, r.f.fs, r.f.fs.PathJoin(r.f.dir, t.name()), t)
		if err != nil {
			return err
		}
		if !in.plain {
			if err := firstError(in.reader.Close(), firstError(r.end(ctx), r.link(t))); err != nil {
				return err
			}
			r.out = append(r.out, t)
			continue
		}
		if r.inputs = append(r.inputs, in); len(r.inputs) < r.f.run {
			continue
		}
		folded, done, err := r.fold(ctx)
		if err != nil {
			return err
		}
		if !done {
			if err := r.asTheyAre(); err != nil {
				return err
			}
			continue
		}
		if err := r.close(); err != nil {
			return err
		}
		if in, err = openInput(ctx, r.f.fs, r.path(folded), folded); err != nil {
			return err
		}
		r.inputs = append(r.inputs, in)
	}
	return nil
}

// end puts what has been gathered into the directory.
func (r *foldRun) end(ctx context.Context) error {
	if len(r.inputs) < 2 {
		return r.asTheyAre()
	}
	t, done, err := r.fold(ctx)
	if err != nil {
		return err
	}
	if !done {
		return r.asTheyAre()
	}
	r.out = append(r.out, t)
	return firstError(r.close(), r.install(t))
}

// asTheyAre puts the tables of the run into the directory without folding them.
func (r *foldRun) asTheyAre() error {
	for _, in := range r.inputs {
		r.out = append(r.out, in.table)
		put := r.link
		if in.table.folded {
			put = r.install
		}
		if err := put(in.table); err != nil {
			return err
		}
	}
	inputs := r.inputs
	r.inputs = nil
	return closeInputs(inputs)
}

// close closes the tables of the run, and removes those that were folded into
// another.
func (r *foldRun) close() error {
	inputs := r.inputs
	r.inputs = nil
	err := closeInputs(inputs)
	for _, in := range inputs {
		if in.table.folded {
			err = firstError(err, r.f.fs.Remove(in.path))
		}
	}
	return err
}

func closeInputs(inputs []*foldInput) (err error) {
	for _, in := range inputs {
		err = firstError(err, in.reader.Close())
	}
	return err
}

// path is where a folded table lies until the run ends. It has the newest of its
// tables' numbers, so no two have the same.
func (r *foldRun) path(t flushedTable) string {
	return r.f.fs.PathJoin(r.dir, t.name()+".fold")
}

// install gives a folded table its name.
func (r *foldRun) install(t flushedTable) error {
	return r.f.fs.Rename(r.path(t), r.f.fs.PathJoin(r.dir, t.name()))
}

func (r *foldRun) link(t flushedTable) error {
	return r.f.fs.Link(r.f.fs.PathJoin(r.f.dir, t.name()), r.f.fs.PathJoin(r.dir, t.name()))
}

// foldInput is one of the tables that are folded, at one of its entries.
type foldInput struct {
	table  flushedTable
	path   string
	reader *sstable.Reader
	plain  bool // it has neither range deletes nor range keys

	next  func() (bool, error)
	key   pebble.InternalKey
	value []byte
}

func openInput(ctx context.Context, fsys vfs.FS, path string, t flushedTable) (*foldInput, error) {
	file, err := fsys.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return nil, err
	}
	readable, err := sstable.NewSimpleReadable(file)
	if err != nil {
		return nil, firstError(err, file.Close())
	}
	r, err := sstable.NewReader(ctx, readable, sstable.ReaderOptions{})
	if err != nil {
		return nil, firstError(err, readable.Close())
	}
	const spans = sstable.AttributeRangeDels | sstable.AttributeRangeKeySets | sstable.AttributeRangeKeyUnsets | sstable.AttributeRangeKeyDels
	return &foldInput{table: t, path: path, reader: r, plain: !r.Attributes.Intersects(spans)}, nil
}

// begin stands the input at its first entry. The returned function ends the
// iteration.
func (in *foldInput) begin() (end func() error, err error) {
	it, err := in.reader.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	if err != nil {
		return nil, err
	}
	started := false
	in.next = func() (bool, error) {
		kv := it.Next
		if !started {
			started, kv = true, it.First
		}
		entry := kv()
		err := it.Error()
		if entry != nil {
			in.key = entry.K
			in.value, _, err = entry.Value(nil)
		}
		if err != nil {
			return false, fmt.Errorf("read flushed table %s: %w", in.table.name(), err)
		}
		return entry != nil, nil
	}
	return it.Close, nil
}

// foldHeap has the input with the lowest key on top, and of equal keys that with
// the newest entry.
type foldHeap []*foldInput

// Len implements heap.Interface.
func (h foldHeap) Len() int { return len(h) }

// Less implements heap.Interface.
func (h foldHeap) Less(i, j int) bool {
	c := bytes.Compare(h[i].key.UserKey, h[j].key.UserKey)
	return cmp.Or(c, cmp.Compare(h[j].key.Trailer, h[i].key.Trailer)) < 0
}

// Swap implements heap.Interface.
func (h foldHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *foldHeap) Push(x any) { *h = append(*h, x.(*foldInput)) }

// Pop implements heap.Interface.
func (h *foldHeap) Pop() any {
	last := len(*h) - 1
	in := (*h)[last]
	*h = (*h)[:last]
	return in
}

// fold writes one table of those of the run. It has the number of the newest,
// which no other file of the checkpoint has; done is false if folding does not
// pay.
func (r *foldRun) fold(ctx context.Context) (t flushedTable, done bool, err error) {
	h := make(foldHeap, 0, len(r.inputs))
	for _, in := range r.inputs {
		end, err := in.begin()
		if err != nil {
			return t, false, err
		}
		defer func() { _ = end() }() // its errors have come with the entries
		if ok, err := in.next(); err != nil {
			return t, false, err
		} else if ok {
			heap.Push(&h, in)
		}
		t.number = max(t.number, in.table.number)
	}
	file, err := r.f.fs.Create(r.path(t), vfs.WriteCategoryUnspecified)
	if err != nil {
		return t, false, err
	}
	w := sstable.NewRawWriter(objstorageprovider.NewFileWritable(file), tableOptions(0))
	pays, err := h.write(ctx, w)
	if err = firstError(err, w.Close()); err != nil || !pays {
		return t, false, firstError(err, r.f.fs.Remove(r.path(t)))
	}
	m, err := w.Metadata()
	if err != nil {
		return t, false, err
	}
	t.size, t.smallest, t.largest = m.Size, m.SmallestPoint.Clone(), m.LargestPoint.Clone()
	t.oldest, t.newest, t.folded = r.inputs[0].table.oldest, r.inputs[0].table.newest, true
	for _, in := range r.inputs {
		t.oldest, t.newest = min(t.oldest, in.table.oldest), max(t.newest, in.table.newest)
	}
	return t, true, nil
}

// write writes the newest entry of each key. pays is false if it has given up.
func (h *foldHeap) write(ctx context.Context, w sstable.RawWriter) (pays bool, err error) {
	var last []byte
	superseded := 0
	for n := 0; h.Len() > 0; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if n == foldSample && superseded*foldWorth < n {
			return false, nil
		}
		in := (*h)[0]
		if n > 0 && bytes.Equal(in.key.UserKey, last) {
			superseded++
		} else {
			if err := w.Add(in.key, in.value, false); err != nil {
				return false, err
			}
			last = append(last[:0], in.key.UserKey...)
		}
		ok, err := in.next()
		if err != nil {
			return false, err
		}
		if ok {
			heap.Fix(h, 0)
		} else {
			heap.Pop(h)
		}
	}
	return true, nil
}
