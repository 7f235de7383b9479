// SPDX-License-Identifier: Apache-2.0

package streamtest

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

// TestACrashLeavesOlderState looks at what Crash makes a process start from: without that gap between disk and
// commit a crash would test nothing.
func TestACrashLeavesOlderState(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("gap")
	stream.From(p, "in", codec.String, codec.String).Group().Count("counts")
	d := New(t, p, Partitions(1))
	in := d.In("in", codec.String, codec.String)
	commit := func() {
		in.Send("k", "v")
		d.Run()
	}
	onDisk := func() uint64 {
		t.Helper()
		db, err := d.tasks[0].open(d.disk.CrashClone(vfs.CrashCloneCfg{}), d.tasks[0].dir())
		if err != nil {
			t.Fatal(err)
		}
		have, _ := db.Position()
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return have.Epoch
	}
	commit()
	if got := onDisk(); got != 0 {
		t.Errorf("a power cut leaves epoch %d, want nothing: no memtable was flushed", got)
	}
	d.Checkpoint()
	commit()
	if got, committed := onDisk(), d.tasks[0].committed.epoch; got != 1 || committed != 2 {
		t.Errorf("a power cut leaves epoch %d of %d, want that of the flush before", got, committed)
	}
	d.Crash()
	if got, _ := d.State("counts", codec.String, codec.Int64).Get("k"); got != 2 {
		t.Errorf("count after the crash is %d, want 2", got)
	}
}
