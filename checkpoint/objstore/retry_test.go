// SPDX-License-Identifier: Apache-2.0

package objstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
)

// failing fails the first n calls of a kind.
func failing(kind fault.Kind, n int, after bool) fault.Hook {
	return func(op fault.Op) fault.Fault {
		if op.Kind != kind || n == 0 {
			return fault.Fault{}
		}
		n--
		if after {
			return fault.Fault{After: fault.Unavailable(op)}
		}
		return fault.Fault{Before: fault.Unavailable(op)}
	}
}

func TestTransientFailuresAreRepeatedAndOthersAreNot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, kind := range []fault.Kind{fault.Get, fault.Put, fault.Create, fault.Delete, fault.List, fault.Stat} {
			mem := objstore.NewMem()
			if err := mem.Put(t.Context(), "a", strings.NewReader("x")); err != nil {
				t.Fatal(err)
			}
			s := objstore.NewRetry(fault.New(mem, failing(kind, 3, false)), objstore.Policy{})
			if err := callAll(t.Context(), s); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
		permanent := errors.New("no permission")
		inner := fault.New(objstore.NewMem(), func(fault.Op) fault.Fault { return fault.Fault{Before: permanent} })
		err := objstore.NewRetry(inner, objstore.Policy{}).Put(t.Context(), "a", strings.NewReader(""))
		if !errors.Is(err, permanent) || inner.Calls() != 1 {
			t.Errorf("error is %v after %d calls", err, inner.Calls())
		}
	})
}

func callAll(ctx context.Context, s objstore.Store) error {
	_, readErr := objstore.ReadAll(ctx, s, "a", 10)
	_, statErr := s.Stat(ctx, "a")
	var listErr error
	for _, err := range s.List(ctx, "") {
		listErr = errors.Join(listErr, err)
	}
	return errors.Join(readErr, statErr, listErr,
		s.Put(ctx, "b", strings.NewReader("")), s.Create(ctx, "c", strings.NewReader("")), s.Delete(ctx, "c"))
}

func TestPausesGrowToTheCapAndAreJittered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var pauses []time.Duration
		policy := objstore.Policy{
			Attempts: 6, Base: 100 * time.Millisecond, Cap: time.Second,
			Rand:    func() float64 { return 0.5 },
			OnRetry: func(info objstore.RetryInfo) { pauses = append(pauses, info.Pause) },
		}
		inner := fault.New(objstore.NewMem(), failing(fault.Stat, 100, false))
		began := time.Now()
		_, err := objstore.NewRetry(inner, policy).Stat(t.Context(), "a")
		if !errors.Is(err, objstore.ErrTransient) || inner.Calls() != 6 {
			t.Errorf("error is %v after %d calls", err, inner.Calls())
		}
		want := []time.Duration{50, 100, 200, 400, 500}
		for i := range want {
			want[i] *= time.Millisecond
		}
		if diff := cmp.Diff(want, pauses); diff != "" {
			t.Errorf("pauses (-want +got):\n%s", diff)
		}
		if waited := time.Since(began); waited != 1250*time.Millisecond {
			t.Errorf("waited %s", waited)
		}
	})
}

func TestAStoreThatIsDownIsNotFloodedWithRepeats(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		down := true
		inner := fault.New(objstore.NewMem(), func(op fault.Op) fault.Fault {
			if down {
				return fault.Fault{Before: fault.Unavailable(op)}
			}
			return fault.Fault{}
		})
		s := objstore.NewRetry(inner, objstore.Policy{Attempts: 5, Budget: 10})
		for range 100 {
			_, _ = s.Stat(t.Context(), "a")
		}
		if calls := inner.Calls(); calls != 110 {
			t.Errorf("%d calls for 100 requests, the budget is 10 repeats", calls)
		}
		down = false
		for range 20 {
			if err := s.Put(t.Context(), "a", strings.NewReader("")); err != nil {
				t.Fatal(err)
			}
		}
		inner.SetHook(failing(fault.Stat, 2, false))
		if _, err := s.Stat(t.Context(), "a"); err != nil {
			t.Errorf("20 successes should have given back two repeats: %v", err)
		}
	})
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		inner := fault.New(objstore.NewMem(), failing(fault.Stat, 100, false))
		policy := objstore.Policy{Base: time.Minute, Cap: time.Minute, Rand: func() float64 { return 1 }}
		began := time.Now()
		_, err := objstore.NewRetry(inner, policy).Stat(ctx, "a")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
			t.Errorf("error is %v after %s", err, time.Since(began))
		}
	})
}

func TestAnOwnCreateIsRecognisedAfterALostReply(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, size := range []int{0, 1, 32 << 10, 100_000} {
			mem := objstore.NewMem()
			s := objstore.NewRetry(fault.New(mem, failing(fault.Create, 2, true)), objstore.Policy{})
			if err := s.Create(t.Context(), "a", strings.NewReader(strings.Repeat("x", size))); err != nil {
				t.Errorf("size %d: %v", size, err)
			}
		}
	})
}

func TestAnothersCreateIsNeverTakenForTheOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		own := strings.Repeat("x", 40_000)
		for name, theirs := range map[string]string{
			"different": strings.Repeat("y", 40_000), "shorter": own[1:], "longer": own + "x", "empty": "",
			"different at the end": own[1:] + "y", "a block longer": own + strings.Repeat("x", 32<<10),
		} {
			mem := objstore.NewMem()
			if err := mem.Put(t.Context(), "a", strings.NewReader(theirs)); err != nil {
				t.Fatal(err)
			}
			s := objstore.NewRetry(fault.New(mem, failing(fault.Create, 1, false)), objstore.Policy{})
			err := s.Create(t.Context(), "a", strings.NewReader(own))
			if !errors.Is(err, objstore.ErrExists) {
				t.Errorf("%s: error is %v, want ErrExists", name, err)
			}
		}
	})
}

func TestTheSameContentIsNoExcuseWhenTheAnswerIsClear(t *testing.T) {
	t.Parallel()
	s := objstore.NewRetry(objstore.NewMem(), objstore.Policy{})
	if err := s.Create(t.Context(), "a", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), "a", strings.NewReader("x")); !errors.Is(err, objstore.ErrExists) {
		t.Errorf("error is %v, want ErrExists", err)
	}
}

func TestABrokenListingGoesOnWithoutGapsOrRepetitions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := objstore.NewMem()
		var want []string
		for i := range 50 {
			want = append(want, fmt.Sprintf("%02d", i))
			if err := mem.Put(t.Context(), want[i], strings.NewReader("")); err != nil {
				t.Fatal(err)
			}
		}
		s := objstore.NewRetry(&breakingList{Store: mem, at: []int{0, 1, 20, 20, 49}}, objstore.Policy{})
		var got []string
		for info, err := range s.List(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, info.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %v", got)
		}
	})
}

// breakingList breaks its n-th listing after at[n] objects.
type breakingList struct {
	objstore.Store
	at []int
}

func (b *breakingList) List(ctx context.Context, prefix string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		left := -1
		if len(b.at) > 0 {
			left, b.at = b.at[0], b.at[1:]
		}
		for info, err := range b.Store.List(ctx, prefix) {
			if left == 0 {
				yield(objstore.Info{}, objstore.Transient(io.ErrUnexpectedEOF))
				return
			}
			left--
			if !yield(info, err) {
				return
			}
		}
	}
}

func TestReadBeginsAnewAfterABreak(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := objstore.NewMem()
		if err := mem.Put(t.Context(), "a", strings.NewReader("content")); err != nil {
			t.Fatal(err)
		}
		attempts := 0
		err := objstore.Read(t.Context(), objstore.NewRetry(mem, objstore.Policy{}), "a", func(r io.Reader) error {
			attempts++
			content, err := io.ReadAll(r)
			if err != nil || string(content) != "content" {
				t.Errorf("attempt %d read %q, %v", attempts, content, err)
			}
			if attempts < 3 {
				return objstore.Transient(io.ErrUnexpectedEOF)
			}
			return nil
		})
		if err != nil || attempts != 3 {
			t.Errorf("error is %v after %d attempts", err, attempts)
		}
	})
}

func TestADamagedContentIsReadThreeTimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mem := objstore.NewMem()
		if err := mem.Put(t.Context(), "a", strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		attempts := 0
		err := objstore.Read(t.Context(), objstore.NewRetry(mem, objstore.Policy{}), "a", func(io.Reader) error {
			attempts++
			return objstore.Transient(objstore.ErrDamaged)
		})
		if !errors.Is(err, objstore.ErrDamaged) || attempts != 3 {
			t.Errorf("error is %v after %d attempts", err, attempts)
		}
	})
}

func TestReadAllRefusesMoreThanItsLimit(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	if err := mem.Put(t.Context(), "a", strings.NewReader("12345")); err != nil {
		t.Fatal(err)
	}
	if _, err := objstore.ReadAll(t.Context(), mem, "a", 5); err != nil {
		t.Error(err)
	}
	if _, err := objstore.ReadAll(t.Context(), mem, "a", 4); !errors.Is(err, objstore.ErrTooLarge) {
		t.Errorf("error is %v, want ErrTooLarge", err)
	}
}

func TestStoresThatBreakAPromiseFailTheSelfTest(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]objstore.Store{
		"create overwrites": createOverwrites{objstore.NewMem()},
		"delete is a lie":   deleteLies{objstore.NewMem()},
		"list is stale":     listsNothing{objstore.NewMem()},
	} {
		if err := objstore.SelfTest(t.Context(), s); !errors.Is(err, objstore.ErrUnsafe) {
			t.Errorf("%s: error is %v, want ErrUnsafe", name, err)
		}
	}
	down := fault.New(objstore.NewMem(), func(op fault.Op) fault.Fault { return fault.Fault{Before: fault.Unavailable(op)} })
	if err := objstore.SelfTest(t.Context(), down); err == nil || errors.Is(err, objstore.ErrUnsafe) {
		t.Errorf("a store that is away is called unsafe: %v", err)
	}
}

type createOverwrites struct{ *objstore.Mem }

func (s createOverwrites) Create(ctx context.Context, name string, body objstore.Body) error {
	return s.Put(ctx, name, body)
}

type deleteLies struct{ *objstore.Mem }

func (deleteLies) Delete(context.Context, string) error { return nil }

type listsNothing struct{ *objstore.Mem }

func (listsNothing) List(context.Context, string) iter.Seq2[objstore.Info, error] {
	return func(func(objstore.Info, error) bool) {}
}
