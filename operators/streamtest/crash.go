// SPDX-License-Identifier: Apache-2.0

package streamtest

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/streamd/streamd/partition"
)

// Crash ends the process at once and starts another on the same disk, as after a power cut: what was not
// synced is gone, so the local state is older than the last commit, and the changelog fills the gap. What was not
// committed waits again.
func (d *Driver) Crash() {
	d.t.Helper()
	d.restart(d.disk.CrashClone(vfs.CrashCloneCfg{}))
}

// CommitAndCrash commits, and crashes before the process learns that the commit stands: the outputs are there, and
// the local state knows nothing of them.
func (d *Driver) CommitAndCrash() {
	d.t.Helper()
	if _, err := d.transact(); err != nil {
		d.fail("commit: %v", err)
	}
	d.Crash()
}

// LoseDisk crashes and starts on an empty disk: the state is rebuilt from the changelog alone.
func (d *Driver) LoseDisk() {
	d.t.Helper()
	d.restart(vfs.NewCrashableMem())
}

// restart ends the process and starts one on another disk.
func (d *Driver) restart(disk *vfs.MemFS) {
	d.t.Helper()
	if err := d.stop(); err != nil {
		d.fail("stop: %v", err)
	}
	d.disk = disk
	d.start()
}

// checkpoint is what an object store holds of one task.
type checkpoint struct{ files map[string][]byte }

// Checkpoint commits and then keeps a copy of the state of all tasks, as the engine uploads it to an object store. It
// replaces the one before.
func (d *Driver) Checkpoint() {
	d.t.Helper()
	d.Commit()
	d.kept = map[partition.TaskID]*checkpoint{}
	for _, r := range d.tasks {
		if r.db == nil {
			continue
		}
		c, err := r.checkpoint()
		if err != nil {
			d.fail("checkpoint task %v: %v", r.id, err)
		}
		d.kept[r.id] = c
	}
}

func (r *runner) checkpoint() (*checkpoint, error) {
	// A crash brings back what was removed, so every cut has a directory of its own.
	r.d.frozen++
	fs, dir := r.d.disk, fmt.Sprintf("/cuts/%d", r.d.frozen)
	cut, err := r.db.Cut(context.Background(), dir, nil)
	if err != nil {
		return nil, err
	}
	if err := <-cut.Done(); err != nil {
		return nil, err
	}
	c := &checkpoint{files: map[string][]byte{}}
	for _, f := range cut.Files() {
		if c.files[f.Name], err = readFile(fs, fs.PathJoin(dir, f.Name)); err != nil {
			return nil, err
		}
		if got := int64(len(c.files[f.Name])); got != f.Size {
			return nil, fmt.Errorf("file %s of the cut has %d bytes, listed are %d", f.Name, got, f.Size)
		}
	}
	return c, fs.RemoveAll(dir)
}

// RestoreCheckpoint crashes and starts on a disk that holds nothing but the last Checkpoint: the changelog after it
// fills the gap.
func (d *Driver) RestoreCheckpoint() {
	d.t.Helper()
	if d.kept == nil {
		d.fail("%v", errNoCheckpoint)
	}
	disk := vfs.NewCrashableMem()
	for _, r := range d.tasks {
		if c := d.kept[r.id]; c != nil {
			if err := c.write(disk, r.dir()); err != nil {
				d.fail("restore checkpoint of task %v: %v", r.id, err)
			}
		}
	}
	d.restart(disk)
}

func (c *checkpoint) write(fs vfs.FS, dir string) error {
	if err := fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, content := range c.files {
		if err := writeFile(fs, fs.PathJoin(dir, name), content); err != nil {
			return err
		}
	}
	return syncParents(fs, dir)
}

// syncParents makes the directory's entries, and it itself, survive a crash.
func syncParents(fs vfs.FS, dir string) error {
	for {
		f, err := fs.OpenDir(dir)
		if err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		up := fs.PathDir(dir)
		if up == dir {
			return nil
		}
		dir = up
	}
}

func readFile(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, err
	}
	return b, f.Close()
}

func writeFile(fs vfs.FS, name string, content []byte) error {
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	// A vfs.File may change what it is given to write, and a checkpoint is restored more than once.
	if _, err := f.Write(bytes.Clone(content)); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return f.Close()
}
