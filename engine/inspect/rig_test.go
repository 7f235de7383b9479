// SPDX-License-Identifier: Apache-2.0

package inspect_test

import (
	"bytes"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/streamd/streamd/checkpoint"
	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
	"github.com/streamd/streamd/engine/inspect"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
	"github.com/streamd/streamd/statestore"
)

// rig is an application of which only the state is there.
type rig struct {
	t      *testing.T
	bucket *fault.Store
	repo   *checkpoint.Repository
	app    checkpoint.Application
	res    *statestore.Resources
	dir    string
	stores []topology.Store
	dbs    map[partition.TaskID]*db
	cuts   int
}

// db is the state of one task.
type db struct {
	*statestore.DB
	values  map[string]*statestore.Value[[]byte]
	maps    map[string]*statestore.Map[[]byte]
	windows map[string]*statestore.Window[[]byte]
	epoch   uint64
}

// newRig makes an application with the stores.
func newRig(t *testing.T, stores ...topology.Store) *rig {
	t.Helper()
	res, err := statestore.NewResources(256 << 20)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, bucket: fault.New(objstore.NewMem(), nil), res: res, dir: t.TempDir(), dbs: map[partition.TaskID]*db{}}
	r.repo = checkpoint.NewRepository(r.bucket, "app")
	for i, st := range stores {
		st.ID = uint16(256 + i)
		r.stores = append(r.stores, st)
	}
	r.begin(1)
	t.Cleanup(func() {
		for _, d := range r.dbs {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := res.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// begin begins a life of the application.
func (r *rig) begin(life int) {
	r.t.Helper()
	var described bytes.Buffer
	if err := r.topology(nil).Describe(&described, topology.JSON); err != nil {
		r.t.Fatal(err)
	}
	var err error
	r.app, _, err = r.repo.CreateApplication(r.t.Context(), checkpoint.Application{App: "app", Incarnation: life, Topology: described.String()})
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) topology(views map[string]codec.View) *topology.Topology {
	return &topology.Topology{Version: 1, App: "app", Views: views, SubTopologies: []topology.SubTopology{{Stores: r.stores}}}
}

func task(n int32) partition.TaskID { return partition.TaskID{Partition: n} }

// commit changes the state of a task.
func (r *rig) commit(id partition.TaskID, change func(*db) error) {
	r.t.Helper()
	d, ok := r.dbs[id]
	if !ok {
		opened, err := statestore.Open(statestore.Options{
			Dir: filepath.Join(r.dir, id.String()), Identity: statestore.Identity{App: "app", Incarnation: 1, Task: id}, Resources: r.res,
		})
		if err != nil {
			r.t.Fatal(err)
		}
		d = &db{DB: opened, values: map[string]*statestore.Value[[]byte]{}, maps: map[string]*statestore.Map[[]byte]{}, windows: map[string]*statestore.Window[[]byte]{}}
		for _, st := range r.stores {
			switch at := statestore.StoreID(st.ID); {
			case st.Kind.Windowed():
				d.windows[st.Name] = statestore.NewWindow(opened, at, codec.Bytes)
			case st.Kind.Mapped():
				d.maps[st.Name] = statestore.NewMap(opened, at, codec.Bytes)
			default:
				d.values[st.Name] = statestore.NewValue(opened, at, codec.Bytes)
			}
		}
		r.dbs[id] = d
	}
	if err := change(d); err != nil {
		r.t.Fatal(err)
	}
	if _, err := d.Prepare(1 << 20); err != nil {
		r.t.Fatal(err)
	}
	d.epoch++
	if err := d.Confirm(statestore.Position{Epoch: d.epoch}); err != nil {
		r.t.Fatal(err)
	}
}

// publish makes a round of what all tasks have.
func (r *rig) publish(round int64) {
	r.t.Helper()
	if _, err := r.repo.StartRound(r.t.Context(), r.app.Incarnation, round, checkpoint.GoOn); err != nil {
		r.t.Fatal(err)
	}
	var tasks []partition.TaskID
	for id, d := range r.dbs {
		r.cuts++
		cut, err := d.Cut(r.t.Context(), filepath.Join(r.dir, "cut"+strconv.Itoa(r.cuts)), nil)
		if err != nil {
			r.t.Fatal(err)
		}
		if err := <-cut.Done(); err != nil {
			r.t.Fatal(err)
		}
		u := checkpoint.Upload{Dir: cut.Dir(), Manifest: checkpoint.Manifest{
			App: "app", Incarnation: r.app.Incarnation, Round: round, Task: id, Generation: "g", Fingerprint: "f",
			Position: checkpoint.Position{Epoch: d.epoch, ChangelogOffset: int64(d.epoch)}, Codecs: map[string][]string{}, Stores: map[string]uint16{},
		}}
		for _, f := range cut.Files() {
			u.Files = append(u.Files, f.Name)
		}
		for _, st := range r.stores {
			u.Manifest.Codecs[st.Name], u.Manifest.Stores[st.Name] = st.Codecs(), st.ID
		}
		if _, _, err := r.repo.Publish(r.t.Context(), u); err != nil {
			r.t.Fatal(err)
		}
		tasks = append(tasks, id)
	}
	if err := r.repo.CompleteRound(r.t.Context(), checkpoint.Completion{Incarnation: r.app.Incarnation, Round: round, Tasks: tasks, Generation: "g"}); err != nil {
		r.t.Fatal(err)
	}
}

// open opens a round. own is the topology of the binary, or nil.
func (r *rig) open(number int64, own *topology.Topology) *inspect.Checkpoint {
	r.t.Helper()
	for round, err := range r.repo.Rounds(r.t.Context(), r.app.Incarnation) {
		if err != nil {
			r.t.Fatal(err)
		}
		if round.Number != number {
			continue
		}
		c, err := inspect.Open(r.t.Context(), r.repo, r.app, round, own)
		if err != nil {
			r.t.Fatal(err)
		}
		return c
	}
	r.t.Fatalf("no round %d", number)
	return nil
}

func (r *rig) store(c *inspect.Checkpoint, name string) *inspect.Store {
	r.t.Helper()
	s, err := c.Store(name)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// lines walks stores and returns their rows as JSON.
func (r *rig) lines(c *inspect.Checkpoint, w inspect.Walk) []string {
	r.t.Helper()
	var got []string
	err := c.Walk(r.t.Context(), w, func(row inspect.Row) error {
		got = append(got, string(row.AppendJSON(nil, false)))
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return got
}

// encoded is a value as a codec writes it, behind the number of the codec.
func encoded[T any](t *testing.T, c codec.Codec[T], v T) []byte {
	t.Helper()
	b, err := c.Append(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// at is the time that leads a table's row.
func at(t *testing.T, second int64, rest ...byte) []byte {
	t.Helper()
	return append(encoded(t, codec.Int64, second*1000), rest...)
}
