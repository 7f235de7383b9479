// SPDX-License-Identifier: Apache-2.0

package streamtest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
)

func TestRightPipelinesAgreeThreeWays(t *testing.T) {
	t.Parallel()
	streamtest.ThreeWays(t, words(), func(d *streamtest.Driver) {
		lines := d.In("lines", codec.Bytes, codec.String)
		lines.Send(nil, "the quick brown fox")
		d.Run()
		lines.Send(nil, "jumps over the lazy dog")
		lines.Send(nil, "the end")
		d.Run()
		if got := streamtest.ReadTable(d.Out("updates", codec.String, codec.Int64))["the"]; got != 3 {
			t.Errorf(`"the" was counted %d times, want 3`, got)
		}
	}, streamtest.NewestOnly("newest"))
	streamtest.ThreeWays(t, accounts(), func(d *streamtest.Driver) {
		payments := d.In("payments", codec.String, codec.Int64)
		for i := range int64(12) {
			payments.Send(fmt.Sprint("account ", i%5), i)
		}
	}, streamtest.Partitions(1))
}

// TestMemoryBesideStateIsFoundOut has a handler that remembers in a variable what it should keep in a state: right
// only as long as nothing fails.
func TestMemoryBesideStateIsFoundOut(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("forgetful")
	stream.From(p, "in", codec.String, codec.Int64).
		Process("sum", func(*stream.Setup) stream.Handler[string, int64, int64] {
			sums := map[string]int64{}
			return func(ctx *stream.Context[int64], k string, v int64) error {
				sums[k] += v
				ctx.Emit(sums[k])
				return nil
			}
		}).
		To("out")
	got := failure(func(r *recorder) {
		streamtest.ThreeWays(r, p, func(d *streamtest.Driver) {
			in := d.In("in", codec.String, codec.Int64)
			in.Send("k", 1)
			in.Send("k", 2)
		})
	})
	for _, want := range []string{`"commit and crash after every record"`, "topic out", `key "k"`, "record 2 is"} {
		if !strings.Contains(got, want) {
			t.Errorf("message %q does not contain %q", got, want)
		}
	}
}

// TestDependenceOnPartitionsIsFoundOut has a result that depends on which records share a partition.
func TestDependenceOnPartitionsIsFoundOut(t *testing.T) {
	t.Parallel()
	p := stream.NewPipeline("local")
	stream.From(p, "in", codec.String, codec.String).
		Process("where", func(*stream.Setup) stream.Handler[string, string, int64] {
			return func(ctx *stream.Context[int64], _ string, _ string) error {
				_, _, offset := ctx.Metadata()
				ctx.Emit(offset)
				return nil
			}
		}).
		To("out")
	got := failure(func(r *recorder) {
		streamtest.ThreeWays(r, p, func(d *streamtest.Driver) {
			in := d.In("in", codec.String, codec.String)
			for i := range 6 {
				in.Send(fmt.Sprint("key ", i), "")
			}
		})
	})
	if !strings.Contains(got, "1 partitions") || !strings.Contains(got, "topic out") {
		t.Errorf("message is %q, want the run with another number of partitions to differ", got)
	}
}

type kept struct{ b []byte }

// TestBytesKeptAfterTheirRecordAreFoundOut has a codec that keeps what it must copy.
func TestBytesKeptAfterTheirRecordAreFoundOut(t *testing.T) {
	t.Parallel()
	careless := codec.New("careless",
		func(dst []byte, v kept) ([]byte, error) { return append(dst, v.b...), nil },
		func(src []byte) (kept, error) { return kept{src}, nil })
	p := stream.NewPipeline("careless")
	stream.From(p, "in", codec.String, careless).
		Group().
		Reduce("first", func(first, _ kept) kept { return first }).
		Stream(stream.EmitPerCommit()).
		To("out")
	d := streamtest.New(t, p)
	in := d.In("in", codec.String, careless)
	in.Send("k", kept{[]byte("one")})
	in.Send("k", kept{[]byte("two")})
	d.Run()
	got := d.Out("out", codec.String, codec.String).Read()
	if len(got) != 1 || got[0].Value == "one" {
		t.Errorf("got %v, want rubbish in place of the bytes that were kept", got)
	}
}
