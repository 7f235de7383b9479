// SPDX-License-Identifier: Apache-2.0

package streamtest_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/operators/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// words counts words: a repartition topic, a table, two ways to emit it.
func words() *stream.Pipeline {
	p := stream.NewPipeline("words")
	counts := stream.From(p, "lines", codec.Bytes, codec.String).
		FlatMap(func(line string, yield func(string)) {
			for _, w := range strings.Fields(line) {
				yield(w)
			}
		}).
		KeyBy("by-word", func(w string) string { return w }).
		Group().
		Count("counts")
	counts.Stream().To("updates")
	counts.Stream(stream.EmitPerCommit()).To("newest")
	return p
}

var errNegative = errors.New("the amount is negative")

// accounts keeps a balance and a statement per account, in a Process step.
func accounts() *stream.Pipeline {
	p := stream.NewPipeline("accounts")
	stream.From(p, "payments", codec.String, codec.Int64, stream.OnDecodeError(stream.Skip)).
		Process("book", func(s *stream.Setup) stream.Handler[string, int64, int64] {
			balance := s.Value("balance", codec.Int64)
			statement := s.Map("statement", codec.Int64, codec.Int64)
			return func(ctx *stream.Context[int64], _ string, amount int64) error {
				switch {
				case amount < 0:
					return errNegative
				case amount == 13:
					panic("13")
				}
				b, _, err := balance.Get()
				if err != nil {
					return err
				}
				n := int64(0)
				for range statement.All() {
					n++
				}
				if err := statement.Put(n, amount); err != nil {
					return err
				}
				ctx.Emit(b + amount)
				return balance.Put(b + amount)
			}
		}).
		To("balances")
	return p
}

// recorder is a TB whose failures can be looked at.
type recorder struct {
	message  string
	cleanups []func()
}

func (r *recorder) Helper()             {}
func (r *recorder) Logf(string, ...any) {}
func (r *recorder) Cleanup(f func())    { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Fatalf(format string, args ...any) {
	r.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// failure returns the message with which f fails its test, "" if it does not.
func failure(f func(t *recorder)) string {
	r := &recorder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(r)
	}()
	<-done
	for _, cleanup := range r.cleanups {
		cleanup()
	}
	return r.message
}
