// SPDX-License-Identifier: Apache-2.0

package streamtest_test

import (
	"errors"
	"maps"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
	"github.com/streamd/streamd/operators/streamtest"
	"github.com/streamd/streamd/operators/topology"
)

// Three releases of what a shop keeps of its customers.
type (
	accountV1 struct{ Cents int64 }
	accountV2 struct {
		Cents  int64
		Orders int
	}
	accountV3 struct {
		Euros  string
		Orders int
	}
)

var (
	accountCodecV1 = codec.JSON[accountV1]()
	accountCodecV2 = codec.Migrate(accountCodecV1, codec.JSON[accountV2](),
		func(a accountV1) accountV2 { return accountV2{Cents: a.Cents, Orders: -1} })
	accountCodecV3 = codec.Migrate(accountCodecV2, codec.JSON[accountV3](),
		func(a accountV2) accountV3 { return accountV3{Euros: euros(a.Cents), Orders: a.Orders} })
)

func euros(cents int64) string { return strconv.FormatFloat(float64(cents)/100, 'f', 2, 64) }

// accounts is a release of the shop: a table, and a Process step with both kinds of state.
func shop[A any](c codec.Codec[A], add func(a A, cents int64) A) *stream.Pipeline {
	p := stream.NewPipeline("shop")
	orders := stream.From(p, "orders", codec.String, codec.Int64)
	orders.Group().Aggregate("accounts", func() (a A) { return a }, add, c).Stream().To("accounts")
	orders.Process("journal", func(s *stream.Setup) stream.Handler[string, int64, A] {
		last := s.Value("last", c)
		all := s.Map("all", codec.Int64, c)
		return func(ctx *stream.Context[A], k string, cents int64) error {
			was, _, err := last.Get()
			if err != nil {
				return err
			}
			now := add(was, cents)
			ctx.Emit(now)
			return errors.Join(last.Put(now), all.Put(cents, now))
		}
	}, c).To("journal")
	return p
}

func shopV1() *stream.Pipeline {
	return shop(accountCodecV1, func(a accountV1, cents int64) accountV1 { return accountV1{Cents: a.Cents + cents} })
}

func shopV2() *stream.Pipeline {
	return shop(accountCodecV2, func(a accountV2, cents int64) accountV2 {
		return accountV2{Cents: a.Cents + cents, Orders: a.Orders + 1}
	})
}

func shopV3() *stream.Pipeline {
	return shop(accountCodecV3, func(a accountV3, cents int64) accountV3 {
		return accountV3{Euros: a.Euros + "+" + euros(cents), Orders: a.Orders + 1}
	})
}

func send(d *streamtest.Driver, key string, cents int64) {
	d.In("orders", codec.String, codec.Int64).Send(key, cents)
}

func TestStateOfFormerReleasesIsUpgradedAsItIsRead(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]func(*streamtest.Driver){
		"disk":      func(*streamtest.Driver) {},
		"crash":     (*streamtest.Driver).Crash,
		"changelog": (*streamtest.Driver).LoseDisk,
		"checkpoint": func(d *streamtest.Driver) {
			d.Checkpoint()
			d.RestoreCheckpoint()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := streamtest.New(t, shopV1())
			for _, key := range []string{"one", "two", "three"} {
				send(d, key, 100)
			}
			d.Run()
			between(d)
			d.Upgrade(shopV2())
			send(d, "two", 50)
			send(d, "three", 60)
			d.Run()
			between(d)
			d.Upgrade(shopV3())
			send(d, "three", 70)
			d.Run()
			between(d)
			want := map[string]accountV3{"one": {"1.00", -1}, "two": {"1.50", 0}, "three": {"1.60+0.70", 1}}
			for _, store := range []string{"accounts", "journal.last"} {
				got := maps.Collect(d.State(store, codec.String, accountCodecV3).All())
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", store, diff)
				}
			}
			all := maps.Collect(d.MapState("journal.all", codec.String, codec.Int64, accountCodecV3).All("three"))
			if diff := cmp.Diff(map[int64]accountV3{100: {"1.00", -1}, 60: {"1.60", 0}, 70: {"1.60+0.70", 1}}, all); diff != "" {
				t.Errorf("journal.all (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReleaseThatCannotReadTheStateIsRefused(t *testing.T) {
	t.Parallel()
	unrelated := shop(codec.JSON[accountV2](), func(a accountV2, _ int64) accountV2 { return a })
	for name, c := range map[string]struct {
		was, is func() *stream.Pipeline
		want    string
	}{
		"no migration": {shopV1, func() *stream.Pipeline { return unrelated },
			`step "accounts": its value codec was "json:accountV1" and is "json:accountV2"; upgrade the values by codec.Migrate`},
		"back": {shopV2, shopV1,
			`step "accounts": its value codec was "json:accountV1", then "json:accountV2" and is "json:accountV1"; a codec cannot go back`},
		"history lost": {shopV2, func() *stream.Pipeline {
			return shop(codec.Migrate(codec.JSON[accountV2](), codec.JSON[accountV3](), func(accountV2) accountV3 { return accountV3{} }),
				func(a accountV3, _ int64) accountV3 { return a })
		}, `was "json:accountV1", then "json:accountV2" and is "json:accountV2", then "json:accountV3"; upgrade`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := streamtest.New(t, c.was())
			send(d, "one", 1)
			d.Run()
			err := d.TryUpgrade(c.is())
			if !errors.Is(err, topology.ErrIncompatible) || strings.Count(err.Error(), "step \"") != 3 || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("found %v", err)
			}
			send(d, "one", 1)
			d.Run() // The former release goes on.
		})
	}
}

type noteV2 struct{ Text string }

// notes passes records through a repartition topic.
func notes[V any](c codec.Codec[V], text func(V) string) *stream.Pipeline {
	p := stream.NewPipeline("notes")
	stream.From(p, "notes", codec.String, codec.String).
		Map(func(s string) V {
			var v V
			switch v := any(&v).(type) {
			case *string:
				*v = s
			case *noteV2:
				v.Text = s
			}
			return v
		}).
		WithValue(c).
		KeyBy("by-text", text).
		Map(text).
		To("texts")
	return p
}

func TestRecordsInFlightAreUpgraded(t *testing.T) {
	t.Parallel()
	d := streamtest.New(t, notes(codec.String, func(s string) string { return s }))
	in := d.In("notes", codec.String, codec.String)
	in.Send("k", "written by the first release")
	d.Process(1)
	d.Commit()
	d.Upgrade(notes(codec.Migrate(codec.String, codec.JSON[noteV2](), func(s string) noteV2 { return noteV2{Text: s + ", upgraded"} }),
		func(n noteV2) string { return n.Text }))
	d.In("notes", codec.String, codec.String).Send("k", "written by the second")
	d.Run()
	got := map[string]bool{}
	for _, rec := range d.Out("texts", codec.String, codec.String).Read() {
		got[rec.Value] = true
	}
	want := map[string]bool{"written by the first release, upgraded": true, "written by the second": true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("texts (-want +got):\n%s", diff)
	}
}

func TestUpgradeMayAddSteps(t *testing.T) {
	t.Parallel()
	more := shopV1()
	stream.From(more, "visits", codec.String, codec.String).Group().Count("visits")
	d := streamtest.New(t, shopV1())
	send(d, "one", 1)
	d.Run()
	d.Upgrade(more)
	d.In("visits", codec.String, codec.String).Send("one", "today")
	send(d, "one", 2)
	d.Run()
	d.LoseDisk()
	if n, _ := d.State("visits", codec.String, codec.Int64).Get("one"); n != 1 {
		t.Errorf("%d visits", n)
	}
	if a, _ := d.State("accounts", codec.String, accountCodecV1).Get("one"); a.Cents != 3 {
		t.Errorf("account %+v", a)
	}
}
