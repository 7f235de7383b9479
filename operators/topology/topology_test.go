// SPDX-License-Identifier: Apache-2.0

package topology_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/topology"
	"github.com/streamd/streamd/partition"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files instead of comparing with them")

type order struct {
	Customer string
	Cents    int64
}

// spend is a pipeline with every shape that the formats draw. Steps that change it come as options.
func spend(change ...func(*stream.Pipeline, stream.Stream[string, order])) *stream.Pipeline {
	p := stream.NewPipeline("spend")
	orders := stream.From(p, "orders", codec.String, codec.JSON[order](), stream.OnDecodeError(stream.DeadLetter("orders-bad")))
	returns := stream.From(p, "returns", codec.String, codec.JSON[order]())
	for _, c := range change {
		c(p, orders)
	}
	large, small := orders.Merge(returns).Branch(func(o order) bool { return o.Cents > 1000 })
	large.To("large-orders")
	totals := small.KeyBy("by-customer", func(o order) string { return o.Customer }).
		Group().
		Aggregate("spend", func() int64 { return 0 }, func(sum int64, o order) int64 { return sum + o.Cents })
	totals.Stream(stream.EmitPerCommit()).To("spend-by-customer")
	totals.Stream().
		Process("alert", func(s *stream.Setup) stream.Handler[string, int64, string] {
			s.Value("last", codec.Int64)
			s.Map("history", codec.Int64, codec.Int64)
			return nil
		}).
		To("alerts")
	return p
}

func build(t *testing.T, p *stream.Pipeline) *topology.Topology {
	t.Helper()
	topo, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	return topo
}

func TestDescribeMatchesTheGoldenFiles(t *testing.T) {
	t.Parallel()
	topo := build(t, spend())
	for _, f := range []topology.Format{topology.Text, topology.JSON, topology.DOT, topology.Mermaid} {
		var got bytes.Buffer
		if err := topo.Describe(&got, f); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", "spend."+string(f))
		if *rewrite {
			if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s (-golden +got):\n%s", file, diff)
		}
	}
	if err := topo.Describe(&bytes.Buffer{}, "yaml"); err == nil {
		t.Error("an unknown format was written")
	}
}

func TestDecodedJSONIsTheTopology(t *testing.T) {
	t.Parallel()
	topo := build(t, spend())
	var b bytes.Buffer
	if err := topo.Describe(&b, topology.JSON); err != nil {
		t.Fatal(err)
	}
	got, err := topology.Decode(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(topo, got, cmpopts.IgnoreFields(topology.SubTopology{}, "New"), cmpopts.IgnoreFields(topology.Topology{}, "Openings", "Views"), cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("decoded (-want +got):\n%s", diff)
	}
	if topo.Fingerprint() != got.Fingerprint() {
		t.Fatal("the fingerprint changed on the way")
	}
	for _, bad := range []string{"{", "{}", `{"version":2}`} {
		if _, err := topology.Decode([]byte(bad)); err == nil {
			t.Fatalf("%s was decoded", bad)
		}
	}
}

// FuzzDecode holds that whatever decodes can be compared, hashed and described.
func FuzzDecode(f *testing.F) {
	topo, err := spend().Build()
	if err != nil {
		f.Fatal(err)
	}
	var b bytes.Buffer
	if err := topo.Describe(&b, topology.JSON); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := topology.Decode(data)
		if err != nil {
			return
		}
		_ = topology.Compatible(got, topo)
		_ = topology.Compatible(topo, got)
		_, _ = topology.Compare(got, topo), topology.Compare(topo, got)
		_ = got.Fingerprint()
		for _, format := range []topology.Format{topology.Text, topology.JSON, topology.DOT, topology.Mermaid} {
			if err := got.Describe(&bytes.Buffer{}, format); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestFingerprintIsThatOfTheLastRelease fails when the hash of an unchanged pipeline changes, which would make every
// running application look changed.
func TestFingerprintIsThatOfTheLastRelease(t *testing.T) {
	t.Parallel()
	const want = "3e1030b7676e32b0ce13f2b0274a898145a477c94b2412396c625f2b6820c7ab"
	if got := build(t, spend()).Fingerprint(); got != want {
		t.Fatalf("fingerprint %s, want %s", got, want)
	}
}

func TestStatelessStepsChangeNeitherFingerprintNorStores(t *testing.T) {
	t.Parallel()
	before := build(t, spend())
	after := build(t, spend(func(_ *stream.Pipeline, orders stream.Stream[string, order]) {
		orders.Filter(func(order) bool { return true }).Map(func(o order) order { return o }).To("copy")
	}))
	if before.Fingerprint() != after.Fingerprint() {
		t.Fatal("the fingerprint changed")
	}
	ids := func(topo *topology.Topology) map[string]string {
		found := make(map[string]string)
		for _, s := range topo.SubTopologies {
			for _, st := range s.Stores {
				found[st.Name] = fmt.Sprintf("%d/%#04x", s.ID, st.ID)
			}
		}
		return found
	}
	if diff := cmp.Diff(ids(before), ids(after)); diff != "" {
		t.Fatalf("store ids (-before +after):\n%s", diff)
	}
	if err := topology.Compatible(before, after); err != nil {
		t.Fatal(err)
	}
}

func TestAddedStoreIsCompatibleAndKeepsTheIDsOfOthers(t *testing.T) {
	t.Parallel()
	before := build(t, spend())
	after := build(t, spend(func(_ *stream.Pipeline, orders stream.Stream[string, order]) {
		orders.Group().Count("added")
	}))
	if before.Fingerprint() == after.Fingerprint() {
		t.Fatal("the fingerprint did not change")
	}
	if err := topology.Compatible(before, after); err != nil {
		t.Fatal(err)
	}
	if topology.StoreID("spend") != before.SubTopologies[1].Stores[2].ID {
		t.Fatalf("stores %+v", before.SubTopologies[1].Stores)
	}
}

// lastRelease is the pipeline that the next ones follow.
func lastRelease(p *stream.Pipeline) {
	stream.From(p, "a", codec.String, codec.String).
		KeyBy("by", func(s string) string { return s }).
		Group().Count("count")
	stream.From(p, "b", codec.String, codec.String).Group().Reduce("last", func(_, v string) string { return v })
}

func TestAComparisonSaysWhatBecomesOfEachPart(t *testing.T) {
	t.Parallel()
	before, after := stream.NewPipeline("test"), stream.NewPipeline("test")
	lastRelease(before)
	after.Drop("last")
	stream.From(after, "a", codec.String, codec.String).
		KeyBy("by", func(s string) string { return s }).
		Group().Count("count")
	b := stream.From(after, "b", codec.String, codec.String)
	b.Group().Count("more")
	b.KeyBy("further", func(s string) string { return s }).Group().Count("again")
	stream.From(after, "c", codec.String, codec.String)
	var got []string
	for _, c := range topology.Compare(build(t, before), build(t, after)) {
		got = append(got, fmt.Sprintf("%s %s: %s", c.Part, c.Name, c.Verdict))
	}
	want := []string{
		"sub-topology 0: kept", "sub-topology 1: kept", "sub-topology 2: kept", "sub-topology 3: new", "sub-topology 4: new",
		"source topic a: kept", "source topic b: kept", "source topic c: new",
		"repartition topic by: kept", "repartition topic further: new",
		"store again: new", "store count: kept", "store last: dropped", "store more: new",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// nextReleases are pipelines with what is found against them.
var nextReleases = map[string]struct {
	now  func(*stream.Pipeline)
	want []string
}{
	"steps gone": {
		now: func(p *stream.Pipeline) {
			stream.From(p, "a", codec.String, codec.String)
			stream.From(p, "c", codec.String, codec.String)
			stream.From(p, "b", codec.String, codec.String).Group().Reduce("last", func(_, v string) string { return v })
		},
		want: []string{
			`step "by": the repartition topic of this name, which may hold records in flight, has no step in the new pipeline; ` +
				`keep the step's name, or give its records up with Drop("by")`,
			`step "count": the table store of this name has no step in the new pipeline; ` +
				`keep the step's name, or give its state up with Drop("count")`,
		},
	},
	"steps dropped": {
		now: func(p *stream.Pipeline) {
			p.Drop("by")
			p.Drop("count")
			p.Drop("last")
			stream.From(p, "a", codec.String, codec.String)
		},
	},
	"codecs changed": {
		now: func(p *stream.Pipeline) {
			stream.From(p, "a", codec.String, codec.JSON[string]()).
				KeyBy("by", func(s string) int64 { return int64(len(s)) }).
				Group().Count("count")
			stream.From(p, "b", codec.String, codec.JSON[string]()).Group().Reduce("last", func(_, v string) string { return v })
		},
		want: []string{
			`step "by": its key codec was "string" and is "int64"; use the codec it was written with, or a new name for the step`,
			`step "by": its value codec was "string" and is "json:string"; upgrade the values by codec.Migrate from the codec they were written with, use that one, or give the step a new name`,
			`step "count": its key codec was "string" and is "int64"; use the codec it was written with, or a new name for the step`,
			`step "last": its value codec was "string" and is "json:string"; upgrade the values by codec.Migrate from the codec they were written with, use that one, or give the step a new name`,
		},
	},
	"sub-topology moved, kind changed": {
		now: func(p *stream.Pipeline) {
			stream.From(p, "b", codec.String, codec.String).
				Process("last", func(s *stream.Setup) stream.Handler[string, string, string] {
					s.Value("v", codec.String)
					return nil
				})
			stream.From(p, "a", codec.String, codec.String).
				KeyBy("by", func(s string) string { return s }).
				Group().Count("count")
		},
		want: []string{
			`step "count": it moved from sub-topology 1 to 2; declare sources and repartitions in the order they had, new ones last`,
			`step "last": the table store of this name has no step in the new pipeline; ` +
				`keep the step's name, or give its state up with Drop("last")`,
		},
	},
}

func TestIncompatibleTopologyIsRefusedInWords(t *testing.T) {
	t.Parallel()
	for name, c := range nextReleases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, after := stream.NewPipeline("test"), stream.NewPipeline("test")
			lastRelease(before)
			c.now(after)
			err := topology.Compatible(build(t, before), build(t, after))
			refused := slices.ContainsFunc(topology.Compare(build(t, before), build(t, after)), func(c topology.Change) bool { return c.Verdict == topology.Refused })
			if refused != (len(c.want) > 0) {
				t.Errorf("the comparison refuses: %v", refused)
			}
			if len(c.want) == 0 {
				if err != nil {
					t.Fatalf("refused: %s", err)
				}
				return
			}
			want := topology.ErrIncompatible.Error() + ":\n" + strings.Join(c.want, "\n")
			if err == nil || err.Error() != want {
				t.Fatalf("found\n%v\nwant\n%s", err, want)
			}
		})
	}
}

func TestLaterVersionsComeFirst(t *testing.T) {
	t.Parallel()
	var before []byte
	for _, at := range []operators.Time{operators.MaxTime, 1_000, 1, 0, -1, -1_000, operators.MinTime} {
		sub := topology.AppendVersionTime(nil, at)
		if got, err := topology.VersionTime(sub); err != nil || got != at {
			t.Errorf("time %d became %d, %v", at, got, err)
		}
		if bytes.Compare(before, sub) >= 0 {
			t.Errorf("time %d is % x, and the later one before it % x", at, sub, before)
		}
		before = sub
	}
	if _, err := topology.VersionTime(before[1:]); err == nil {
		t.Error("7 bytes are no time, but there is no error")
	}
}

func TestPartitionNamesSortsAndWeighs(t *testing.T) {
	t.Parallel()
	got := build(t, spend()).Partition(func(topic string, internal bool) string {
		if internal {
			return "spend-1-" + topic + "-repartition"
		}
		return topic
	})
	want := []partition.SubTopology{
		{ID: 0, Sources: []string{"orders", "returns"}, Weight: 1},
		{ID: 1, Sources: []string{"spend-1-by-customer-repartition"}, Stateful: true, Weight: 4},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("sub-topologies (-want +got):\n%s", diff)
	}
}

func TestUserTopicsAreSortedAndThereOnce(t *testing.T) {
	t.Parallel()
	topo := &topology.Topology{SubTopologies: []topology.SubTopology{
		{Sources: []topology.Source{{Topic: "b"}, {Topic: "a"}}, Outputs: []topology.Sink{{Topic: "y"}, {Topic: "again", Internal: true}}},
		{Sources: []topology.Source{{Topic: "again", Internal: true}, {Topic: "b"}}, Outputs: []topology.Sink{{Topic: "x"}, {Topic: "y"}}},
	}}
	if diff := cmp.Diff([]string{"a", "b"}, topo.UserSources()); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"x", "y"}, topo.UserOutputs()); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
}

// TestWhatComesThroughARepartitionTopicHasEventTimeAsState: a task that only passes records on must keep what it has heard
// of those upstream, though it has no store and its inputs need not be partitioned alike.
func TestWhatComesThroughARepartitionTopicHasEventTimeAsState(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("relay")
	stream.From(p, "in", codec.String, codec.String).Repartition("again").To("out")
	subs := build(t, p).SubTopologies
	for i, want := range []struct{ stateful, keyed bool }{{false, false}, {true, false}} {
		if got := subs[i].Stateful(); got != want.stateful {
			t.Errorf("sub-topology %d: stateful %v, want %v", i, got, want.stateful)
		}
		if got := subs[i].Keyed(); got != want.keyed {
			t.Errorf("sub-topology %d: keyed %v, want %v", i, got, want.keyed)
		}
	}
}

// TestStoreNamesWithOneIDAreRefused tries names until two collide, and checks the range of ids on the way.
func TestStoreNamesWithOneIDAreRefused(t *testing.T) {
	t.Parallel()
	names := make(map[uint16]string)
	for i := 0; ; i++ {
		name := fmt.Sprintf("s%d", i)
		id := topology.StoreID(name)
		if id < 0x0100 || id > 0x3eff {
			t.Fatalf("store %q has the id %#04x", name, id)
		}
		other, ok := names[id]
		if !ok {
			names[id] = name
			continue
		}
		p := stream.NewPipeline("test")
		g := stream.From(p, "in", codec.String, codec.String).Group()
		g.Count(name)
		g.Count(other)
		_, err := p.Build()
		if err == nil || !strings.Contains(err.Error(), "rename the newer of the two") {
			t.Fatalf("stores %q and %q share %#04x: %v", name, other, id, err)
		}
		return
	}
}
