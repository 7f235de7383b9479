// SPDX-License-Identifier: Apache-2.0

package stream_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
	"github.com/streamd/streamd/operators/topology"
)

// rated prices orders like "tea NOK" by a global table of rates, without sending them anywhere.
func rated(opts ...stream.SourceOption) *stream.Pipeline {
	p := stream.NewPipeline("rated")
	rates := stream.GlobalTableFrom(p, "rates", codec.String, codec.Int64, opts...)
	currency := func(_ int64, order string) string { return order[len(order)-3:] }
	orders := stream.From(p, "orders", codec.Int64, codec.String)
	orders.JoinGlobal(rates, currency, func(o string, rate int64) string { return fmt.Sprint(o, " at ", rate) }).To("inner")
	orders.LeftJoinGlobal(rates, currency, func(o string, rate int64, found bool) string { return fmt.Sprint(o, " at ", rate, found) }).To("left")
	return p
}

func TestEveryTaskLooksUpAllRowsOfAGlobalTable(t *testing.T) {
	t.Parallel()
	streamtest.ThreeWays(t, rated(), func(d *streamtest.Driver) {
		rates, orders := d.In("rates", codec.String, codec.Int64), d.In("orders", codec.Int64, codec.String)
		orders.Send(1, "tea NOK") // The table is read to its end first.
		rates.Send("NOK", 10)
		rates.Send("EUR", 1)
		rates.Send("NOK", 11)
		for i := range int64(5) {
			orders.Send(2+i, "rum EUR")
		}
		d.Run()
		rates.Delete("EUR")
		orders.Send(1, "ale EUR")
		d.Run()
		want := []string{"1=tea NOK at 11"}
		for i := range 5 {
			want = append(want, fmt.Sprintf("%d=rum EUR at 1", 2+i))
		}
		wantRecords(t, d.Out("inner", codec.Int64, codec.String), want...)
		left := d.Out("left", codec.Int64, codec.String).Read()
		if got := left[len(left)-1].Value; got != "ale EUR at 0 false" {
			t.Errorf("the last record is %q", got)
		}
	})
}

func TestUndecodableRecordOfAGlobalTableFollowsItsPolicy(t *testing.T) {
	t.Parallel()
	send := func(d *streamtest.Driver) {
		d.SendRaw("rates", nil, []byte("12345678"))
		d.SendRaw("rates", []byte("NOK"), []byte("secret"))
		d.In("orders", codec.Int64, codec.String).Send(1, "tea NOK")
	}
	failing := streamtest.New(t, rated())
	send(failing)
	e, ok := errors.AsType[*operators.DecodeError](failing.TryRun())
	if !ok || e.Step != "global:rates" || e.Part != operators.PartKey || strings.Contains(e.Error(), "secret") {
		t.Errorf("the run failed with %v", e)
	}
	skipping := streamtest.New(t, rated(stream.OnDecodeError(stream.Skip)))
	send(skipping)
	skipping.Run()
	skipping.Crash() // and reads them again
	skipping.Run()
	if got := len(skipping.Skipped()); got != 2 {
		t.Errorf("%d records were skipped, want 2", got)
	}
}

func TestGlobalTablesAreDescribed(t *testing.T) {
	t.Parallel()
	topo, err := rated().Build()
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := topo.Describe(&got, topology.Text); err != nil {
		t.Fatal(err)
	}
	want := `pipeline rated

sub-topology 0 (stateless)
  read   topic orders [int64, string] on decode error: fail
  step   from:orders (from)
  step   join-global-1 (join-global) after from:orders
  look up topic rates
  step   to:inner (to) after join-global-1
  step   left-join-global-3 (left-join-global) after from:orders
  look up topic rates
  step   to:left (to) after left-join-global-3
  write  topic inner
  write  topic left

in every worker
  read   topic rates [string, int64] on decode error: fail
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("description (-want +got):\n%s", diff)
	}
}

func TestGlobalTablesSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	from := func(p *stream.Pipeline, topic string, opts ...stream.SourceOption) stream.GlobalTable[string, string] {
		return stream.GlobalTableFrom(p, topic, codec.String, codec.String, opts...)
	}
	for name, c := range map[string]struct {
		declare func(*stream.Pipeline)
		want    string
	}{
		"named": {
			func(p *stream.Pipeline) { from(p, "g", stream.As("x")) },
			`step "global:g": it has the option As("x"); leave it out: a global table has no store`,
		},
		"dead letters": {
			func(p *stream.Pipeline) { from(p, "g", stream.OnDecodeError(stream.DeadLetter("dlq"))) },
			`step "global:g": the policy "dead-letter:dlq" is not for global tables; use Fail or Skip, without conditions`,
		},
		"twice": {
			func(p *stream.Pipeline) { from(p, "g"); from(p, "g") },
			`step "global:g": the topic "g" is a global table twice; call GlobalTableFrom once and use the table that it returns in both places`,
		},
		"written": {
			func(p *stream.Pipeline) {
				from(p, "g")
				orders(p).To("g")
			},
			`step "to:g": the topic "g" is both read and written by this pipeline; use the stream itself, or Repartition, instead of a topic in between`,
		},
		"two pipelines": {
			func(p *stream.Pipeline) {
				orders(p).JoinGlobal(from(stream.NewPipeline("other"), "g"), func(k string, _ order) string { return k },
					func(o order, _ string) order { return o })
			},
			`step "join-global-1": it joins a table of pipeline "other"; join tables of one pipeline`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := stream.NewPipeline("test")
			c.declare(p)
			stream.From(p, "in", codec.String, codec.String)
			if _, err := p.Build(); err == nil || err.Error() != c.want {
				t.Fatalf("found\n%v\nwant\n%s", err, c.want)
			}
		})
	}
}
