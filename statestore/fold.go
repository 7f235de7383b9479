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
	// foldTables is how many tables are folded at once, and so open.
	foldTables = 64
)

// fold links tables into a directory, folded where it pays. Runs of tables are
// folded; those with range deletes end a run, and stay as they are.
func (f *flushes) fold(ctx context.Context, tables []flushedTable, dir string) ([]flushedTable, error) {
	var out []flushedTable
	var run []*foldInput
	end := func() (err error) {
		defer func() {
			for _, in := range run {
				err = firstError(err, in.reader.Close())
			}
			run = nil
		}()
		if len(run) > 1 {
			t, done, err := f.foldRun(ctx, run, dir)
			if err != nil {
				return err
			}
			if done {
				out = append(out, t)
				return nil
			}
		}
		for _, in := range run {
			if err := f.link(in.table, dir); err != nil {
				return err
			}
			out = append(out, in.table)
		}
		return nil
	}
	for _, t := range tables {
		in, err := f.openInput(ctx, t)
		if err != nil {
			return nil, firstError(err, end())
		}
		if !in.plain {
			if err := firstError(in.reader.Close(), firstError(end(), f.link(t, dir))); err != nil {
				return nil, err
			}
			out = append(out, t)
			continue
		}
		if run = append(run, in); len(run) == foldTables {
			if err := end(); err != nil {
				return nil, err
			}
		}
	}
	err := end()
	return out, err
}

func (f *flushes) link(t flushedTable, dir string) error {
	return f.fs.Link(f.fs.PathJoin(f.dir, t.name()), f.fs.PathJoin(dir, t.name()))
}

// foldInput is one of the tables that are folded, at one of its entries.
type foldInput struct {
	table  flushedTable
	reader *sstable.Reader
	plain  bool // it has neither range deletes nor range keys

	next  func() (bool, error)
	key   pebble.InternalKey
	value []byte
}

func (f *flushes) openInput(ctx context.Context, t flushedTable) (*foldInput, error) {
	file, err := f.fs.Open(f.fs.PathJoin(f.dir, t.name()), vfs.SequentialReadsOption)
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
	return &foldInput{table: t, reader: r, plain: !r.Attributes.Intersects(spans)}, nil
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

// foldRun writes one table of several. It has the number of the newest, which no
// other file of the checkpoint has; done is false if folding does not pay.
func (f *flushes) foldRun(ctx context.Context, run []*foldInput, dir string) (t flushedTable, done bool, err error) {
	h := make(foldHeap, 0, len(run))
	for _, in := range run {
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
	path := f.fs.PathJoin(dir, t.name())
	file, err := f.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return t, false, err
	}
	w := sstable.NewRawWriter(objstorageprovider.NewFileWritable(file), tableOptions(0))
	pays, err := h.write(ctx, w)
	if err = firstError(err, w.Close()); err != nil || !pays {
		return t, false, firstError(err, f.fs.Remove(path))
	}
	m, err := w.Metadata()
	if err != nil {
		return t, false, err
	}
	t.size, t.smallest, t.largest = m.Size, m.SmallestPoint.Clone(), m.LargestPoint.Clone()
	t.oldest, t.newest, t.folded = run[0].table.oldest, run[0].table.newest, true
	for _, in := range run {
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
