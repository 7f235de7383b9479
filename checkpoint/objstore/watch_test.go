// SPDX-License-Identifier: Apache-2.0

package objstore_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
)

func TestACallThatHangsIsGivenUpAndMadeAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, kind := range []fault.Kind{fault.Get, fault.Put, fault.Create, fault.Delete, fault.List, fault.Stat} {
			mem := objstore.NewMem()
			if err := mem.Put(t.Context(), "a", strings.NewReader("x")); err != nil {
				t.Fatal(err)
			}
			hangs := 2
			s := objstore.NewRetry(fault.New(mem, func(op fault.Op) fault.Fault {
				if op.Kind != kind || hangs == 0 {
					return fault.Fault{}
				}
				hangs--
				return fault.Fault{Delay: 1000 * time.Hour}
			}), objstore.Policy{Stall: time.Minute})
			began := time.Now()
			if err := callAll(t.Context(), s); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
			if took := time.Since(began); hangs > 0 || took < 2*time.Minute || took > 3*time.Minute {
				t.Errorf("%s: took %s, %d hangs are left", kind, took, hangs)
			}
		}
	})
}

func TestAStoreThatOnlyHangsIsTransientAndNotACancelledCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hanging := fault.New(objstore.NewMem(), func(fault.Op) fault.Fault { return fault.Fault{Delay: 1000 * time.Hour} })
		s := objstore.NewRetry(hanging, objstore.Policy{Attempts: 2})
		err := s.Put(t.Context(), "a", strings.NewReader("x"))
		if !errors.Is(err, objstore.ErrTransient) || errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Put(ctx, "a", strings.NewReader("x")); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, objstore.ErrTransient) {
			t.Errorf("a caller that gives up gets %v", err)
		}
	})
}

// dripping is a store whose contents and listings come, and go, slowly and for long; from the byte stuck on they
// hang, once.
type dripping struct {
	*objstore.Mem
	pause time.Duration
	stuck int
}

func (d *dripping) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	return d.GetRange(ctx, name, 0, -1)
}

func (d *dripping) GetRange(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	body, err := d.Mem.GetRange(ctx, name, offset, length)
	return &drops{ReadCloser: body, ctx: ctx, d: d}, err
}

func (d *dripping) Put(ctx context.Context, name string, body objstore.Body) error {
	for at := range body.Size() {
		if err := d.wait(ctx, d.pause); err != nil {
			return err
		}
		if _, err := body.ReadAt(make([]byte, 1), at); err != nil {
			return err
		}
	}
	return d.Mem.Put(ctx, name, body)
}

func (d *dripping) List(ctx context.Context, prefix string) iter.Seq2[objstore.Info, error] {
	return func(yield func(objstore.Info, error) bool) {
		for info, err := range d.Mem.List(ctx, prefix) {
			if err == nil {
				err = d.wait(ctx, d.pause)
			}
			if !yield(info, err) || err != nil {
				return
			}
		}
	}
}

func (d *dripping) wait(ctx context.Context, pause time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pause):
		return nil
	}
}

type drops struct {
	io.ReadCloser
	ctx  context.Context
	d    *dripping
	read int
}

func (b *drops) Read(p []byte) (int, error) {
	pause := b.d.pause
	if b.d.stuck > 0 && b.read == b.d.stuck {
		b.d.stuck, pause = 0, 1000*time.Hour
	}
	if err := b.d.wait(b.ctx, pause); err != nil {
		return 0, err
	}
	n, err := b.ReadCloser.Read(p[:min(1, len(p))])
	b.read += n
	return n, err
}

func TestWhatIsSlowButMovesIsNotGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		content := strings.Repeat("0123456789", 10)
		slow := &dripping{Mem: objstore.NewMem(), pause: 50 * time.Second}
		repeats := 0
		s := objstore.NewRetry(slow, objstore.Policy{OnRetry: func(objstore.RetryInfo) { repeats++ }})
		for _, name := range []string{"a", "b", "c"} {
			if err := s.Put(t.Context(), name, strings.NewReader(content)); err != nil {
				t.Fatal(err)
			}
		}
		for _, err := range s.List(t.Context(), "") {
			if err != nil {
				t.Error(err)
			}
			time.Sleep(time.Hour) // nor is a caller that takes its time
		}
		err := objstore.Read(t.Context(), s, "a", func(r io.Reader) error {
			time.Sleep(time.Hour)
			got, err := io.ReadAll(r)
			if string(got) != content {
				t.Errorf("read %q", got)
			}
			return err
		})
		if err != nil || repeats > 0 {
			t.Errorf("%v, %d repeats", err, repeats)
		}
	})
}

func TestAReadThatHangsGoesOnWhereItHung(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := &dripping{Mem: objstore.NewMem(), stuck: 5}
		if err := slow.Mem.Put(t.Context(), "a", strings.NewReader("0123456789")); err != nil {
			t.Fatal(err)
		}
		var got []byte
		err := objstore.ReadFrom(t.Context(), objstore.NewRetry(slow, objstore.Policy{}), "a", 0, func(r io.Reader) (err error) {
			got, err = io.ReadAll(r)
			return err
		})
		if err != nil || string(got) != "0123456789" || slow.stuck != 0 {
			t.Errorf("read %q, %v", got, err)
		}
	})
}
