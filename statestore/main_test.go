// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/streamd/streamd/partition"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// numbers encodes uint64 values in 8 bytes, big-endian.
type numbers struct{}

func (numbers) Append(dst []byte, v uint64) ([]byte, error) {
	return binary.BigEndian.AppendUint64(dst, v), nil
}

func (numbers) Decode(src []byte) (uint64, error) {
	if len(src) != 8 {
		return 0, fmt.Errorf("want 8 bytes, found %d", len(src))
	}
	return binary.BigEndian.Uint64(src), nil
}

// texts encodes strings as they are: values with pointers.
type texts struct{}

func (texts) Append(dst []byte, v string) ([]byte, error) { return append(dst, v...), nil }

func (texts) Decode(src []byte) (string, error) { return string(src), nil }

// nothing encodes the values of an index: there are none.
type nothing struct{}

func (nothing) Append(dst []byte, _ struct{}) ([]byte, error) { return dst, nil }

func (nothing) Decode(src []byte) (v struct{}, err error) {
	if len(src) != 0 {
		err = fmt.Errorf("want no bytes, found %d", len(src))
	}
	return v, err
}

var testTask = Identity{App: "shop", Incarnation: 3, Task: partition.TaskID{SubTopology: 1, Partition: 7}}

func testResources(tb testing.TB) *Resources {
	tb.Helper()
	res, err := NewResources(minMemory)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := res.Close(); err != nil {
			tb.Error(err)
		}
		if n := res.decoded.Load(); n != 0 {
			tb.Errorf("decoded caches account for %d bytes after all were closed", n)
		}
		if n := res.held.Load(); n != 0 {
			tb.Errorf("held deltas account for %d bytes after all were closed", n)
		}
		if n := res.memtables.Load(); n != 0 {
			tb.Errorf("memtables account for %d bytes after all were closed", n)
		}
	})
	return res
}

func testOpen(tb testing.TB, fsys vfs.FS) *DB {
	tb.Helper()
	return testOpenWith(tb, Options{FS: fsys, Resources: testResources(tb)})
}

func testOpenWith(tb testing.TB, o Options) *DB {
	tb.Helper()
	if o.Dir == "" {
		o.Dir = "state/1_7"
	}
	if o.Identity == (Identity{}) {
		o.Identity = testTask
	}
	db, err := Open(o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := db.Close(); err != nil && db.Err() == nil {
			tb.Errorf("close: %v", err)
		}
	})
	return db
}

func testCommit(tb testing.TB, db *DB, epoch uint64) Delta {
	tb.Helper()
	d, err := db.Prepare(1 << 20)
	if err != nil {
		tb.Fatal(err)
	}
	if err := db.Confirm(Position{Epoch: epoch, Offset: int64(epoch) * 10}); err != nil {
		tb.Fatal(err)
	}
	return d
}

func mustPut[V any](tb testing.TB, s *Value[V], key string, v V) {
	tb.Helper()
	if err := s.Put([]byte(key), v); err != nil {
		tb.Fatal(err)
	}
}

// wantValue checks a value; absent means that none is wanted.
func wantValue[V comparable](tb testing.TB, s *Value[V], key string, want V) {
	tb.Helper()
	got, ok, err := s.Get([]byte(key))
	if err != nil || !ok || got != want {
		tb.Fatalf("value of %q: found %v, %v, %v; want %v", key, got, ok, err, want)
	}
}

func wantAbsent[V any](tb testing.TB, s *Value[V], key string) {
	tb.Helper()
	if got, ok, err := s.Get([]byte(key)); err != nil || ok {
		tb.Fatalf("value of %q: found %v, %v, %v; want none", key, got, ok, err)
	}
}

// replayed is what deltas make of entries; nil values are deleted.
type replayed map[string][]byte

func (r replayed) replay(op deltaOp) error {
	switch op.kind {
	case opSet:
		r[string(op.key)] = op.arg
	case opDelete:
		r[string(op.key)] = nil
	case opDeleteRange:
		for k := range r {
			if k >= string(op.key) && k < string(op.arg) {
				r[k] = nil
			}
		}
	}
	return nil
}
