// SPDX-License-Identifier: Apache-2.0

package fault_test

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
	"github.com/streamd/streamd/checkpoint/objstore/storetest"
)

func TestWithoutFaultsNothingChanges(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) func() objstore.Store {
		s := objstore.NewMem()
		return func() objstore.Store { return fault.New(s, nil) }
	})
}

func TestRetriesHideEveryThirdCallFailing(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) func() objstore.Store {
		faulty := fault.New(objstore.NewMem(), func(op fault.Op) fault.Fault {
			switch {
			case op.N%6 == 0:
				return fault.Fault{After: fault.Unavailable(op)}
			case op.N%3 == 0:
				return fault.Fault{Before: fault.Unavailable(op)}
			}
			return fault.Fault{}
		})
		policy := objstore.Policy{Base: time.Microsecond, Attempts: 50, Budget: 1 << 20}
		return func() objstore.Store { return objstore.NewRetry(faulty, policy) }
	})
}

func TestBeforeHasNoEffectAndAfterHasAll(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	lost := errors.New("lost")
	var next fault.Fault
	s := fault.New(mem, func(fault.Op) fault.Fault { return next })
	next = fault.Fault{Before: lost}
	if err := s.Create(t.Context(), "a", strings.NewReader("x")); !errors.Is(err, lost) {
		t.Fatal(err)
	}
	if _, err := mem.Stat(t.Context(), "a"); !errors.Is(err, objstore.ErrNotFound) {
		t.Error("a call that failed before had an effect")
	}
	next = fault.Fault{After: lost}
	if err := s.Create(t.Context(), "a", strings.NewReader("x")); !errors.Is(err, lost) {
		t.Fatal(err)
	}
	if _, err := mem.Stat(t.Context(), "a"); err != nil {
		t.Error("a call that failed after had no effect")
	}
	if _, err := s.Get(t.Context(), "a"); !errors.Is(err, lost) {
		t.Error("a lost reply gave a content")
	}
}

func TestReadsAreTruncatedAndFlippedInSilence(t *testing.T) {
	t.Parallel()
	mem := objstore.NewMem()
	if err := mem.Put(t.Context(), "a", strings.NewReader("abcdef")); err != nil {
		t.Fatal(err)
	}
	for want, f := range map[string]fault.Fault{
		"abcdef": {}, "abc": {Truncate: 3}, "abbdef": {Flip: 3}, "`b": {Flip: 1, Truncate: 2},
	} {
		s := fault.New(mem, func(fault.Op) fault.Fault { return f })
		body, err := s.Get(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		if err != nil || string(got) != want {
			t.Errorf("%+v gives %q, %v; want %q", f, got, err, want)
		}
	}
}

func TestDelaysPassInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := fault.New(objstore.NewMem(), func(fault.Op) fault.Fault { return fault.Fault{Delay: 30 * time.Second} })
		began := time.Now()
		if err := s.Put(t.Context(), "a", strings.NewReader("")); err != nil || time.Since(began) != 30*time.Second {
			t.Errorf("error is %v after %s", err, time.Since(began))
		}
	})
}
