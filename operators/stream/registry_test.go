// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/codec/avro"
	"github.com/streamd/streamd/operators/codec/registry"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

type sale struct {
	Shop  string `avro:"shop"`
	Cents int64  `avro:"cents"`
}

func (s sale) shop() string { return s.Shop }

type total struct {
	Cents int64 `avro:"cents"`
}

// sales adds up a topic of one subject into a topic of another one.
func sales(r *registry.Registry) *stream.Pipeline {
	p := stream.NewPipeline("sales")
	stream.From(p, "sales", codec.String, registry.Value(r, "sales", avro.Of[sale]())).
		KeyBy("by-shop", sale.shop).
		Group().
		Aggregate("totals", func() total { return total{} }, func(t total, s sale) total { return total{Cents: t.Cents + s.Cents} }, avro.Of[total]()).
		Stream().
		To("totals", registry.Value(r, "totals", avro.Of[total]()))
	return p
}

func TestTopicsAreInTheRegistryAndStoresAreNot(t *testing.T) {
	t.Parallel()
	fake := srfake.New()
	t.Cleanup(fake.Close)
	r := registry.New(sr.URLs(fake.URL()))
	p := sales(r)
	topo, err := p.Build()
	if err != nil {
		t.Fatal(err)
	}
	if fake.SubjectExists("totals-value") {
		t.Fatal("building the pipeline registered a schema")
	}
	for _, sub := range topo.SubTopologies {
		for _, st := range sub.Stores {
			if st.ValueCodec != avro.Of[total]().ID() {
				t.Errorf("store %s has values of codec %s", st.Name, st.ValueCodec)
			}
		}
	}
	producer := registry.Value(r, "sales", avro.Of[sale]())
	if err := producer.(codec.Opener).OpenWriter(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := streamtest.New(t, p)
	in := d.In("sales", codec.String, producer)
	in.Send("1", sale{Shop: "Oslo", Cents: 5})
	in.Send("2", sale{Shop: "Oslo", Cents: 7})
	d.Run()
	var got []total
	for _, rec := range d.Out("totals", codec.String, registry.Value(r, "totals", avro.Of[total]())).Read() {
		got = append(got, rec.Value)
	}
	if !slices.Equal(got, []total{{5}, {12}}) {
		t.Fatalf("totals %v", got)
	}
	if !fake.SubjectExists("totals-value") {
		t.Fatal("the output's schema was not registered")
	}
}

func TestKeysOfARegistryNeedARepartition(t *testing.T) {
	t.Parallel()
	r := registry.New()
	p := stream.NewPipeline("test")
	in := stream.From(p, "in", registry.Key(r, "in", avro.Of[sale]()), codec.String)
	in.Group().Count("refused")
	in.Repartition("again").Group().Count("counted")
	_, err := p.Build()
	if err == nil || strings.Count(err.Error(), "\n") > 0 || !strings.Contains(err.Error(), `step "refused": the keys of from:in`) {
		t.Fatalf("built with %v", err)
	}
}

func TestCodecsThatCannotBeUsedAreBuildErrors(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("test")
	in := stream.From(p, "in", codec.String, avro.With[sale]("{"))
	in.KeyBy("by", func(s sale) map[string]int { return nil }, codec.JSON[map[string]int]())
	in.Map(func(s sale) labels { return labels{} }).KeyBy("labels", func(l labels) labels { return l }, avro.Of[labels]())
	_, err := p.Build()
	if err == nil {
		t.Fatal("it builds")
	}
	for _, want := range []string{
		`step "from:in": the codec of the value: parse an Avro schema`,
		`step "labels": the codec of the key, "avro:labels:`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s\ndoes not say %s", err, want)
		}
	}
}

type labels struct {
	All map[string]string `avro:"all"`
}
