// SPDX-License-Identifier: Apache-2.0

package objstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
)

const (
	selfTestRaces   = 3
	selfTestWriters = 8
)

// SelfTest proves on the store itself the promises that checkpoints rest on: create-if-absent holds
// one after the other and in a race, a read and a listing see what was written, an overwrite replaces.
// A promise that is broken is ErrUnsafe and says which; other errors mean the store could not be asked.
// It writes a few bytes below "selftest/" and removes them.
func SelfTest(ctx context.Context, s Store) error {
	prefix := "selftest/" + strings.ToLower(rand.Text()) + "/"
	if err := selfTestCreate(ctx, s, prefix+"create"); err != nil {
		return fmt.Errorf("self-test of the object store: %w", err)
	}
	for i := range selfTestRaces {
		if err := selfTestRace(ctx, s, fmt.Sprintf("%srace-%d", prefix, i)); err != nil {
			return fmt.Errorf("self-test of the object store: %w", err)
		}
	}
	if err := selfTestVisible(ctx, s, prefix); err != nil {
		return fmt.Errorf("self-test of the object store: %w", err)
	}
	return nil
}

func selfTestCreate(ctx context.Context, s Store, name string) error {
	if err := s.Create(ctx, name, strings.NewReader("first")); err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	err := s.Create(ctx, name, strings.NewReader("second"))
	if err == nil {
		return fmt.Errorf("%w: it let two writers create %s; it ignores the condition If-None-Match", ErrUnsafe, name)
	}
	if !errors.Is(err, ErrExists) {
		return fmt.Errorf("create %s a second time: %w", name, err)
	}
	return expectContent(ctx, s, name, "first")
}

func selfTestRace(ctx context.Context, s Store, name string) error {
	errs := make([]error, selfTestWriters)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = s.Create(ctx, name, strings.NewReader(fmt.Sprintf("writer %d", i))) })
	}
	wg.Wait()
	winners := 0
	for i, err := range errs {
		switch {
		case err == nil:
			winners++
			if err := expectContent(ctx, s, name, fmt.Sprintf("writer %d", i)); err != nil {
				return err
			}
		case !errors.Is(err, ErrExists):
			return fmt.Errorf("create %s in a race: %w", name, err)
		}
	}
	if winners != 1 {
		return fmt.Errorf("%w: of %d writers that raced to create %s %d were told that they won", ErrUnsafe, selfTestWriters, name, winners)
	}
	return s.Delete(ctx, name)
}

func selfTestVisible(ctx context.Context, s Store, prefix string) error {
	name := prefix + "create"
	if err := s.Put(ctx, name, strings.NewReader("third")); err != nil {
		return fmt.Errorf("overwrite %s: %w", name, err)
	}
	if err := expectContent(ctx, s, name, "third"); err != nil {
		return err
	}
	if err := expectListed(ctx, s, prefix, 1); err != nil {
		return err
	}
	if err := s.Delete(ctx, name); err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	if _, err := s.Stat(ctx, name); !errors.Is(err, ErrNotFound) {
		if err != nil {
			return fmt.Errorf("stat %s: %w", name, err)
		}
		return fmt.Errorf("%w: %s is still there after it was deleted", ErrUnsafe, name)
	}
	return expectListed(ctx, s, prefix, 0)
}

func expectContent(ctx context.Context, s Store, name, want string) error {
	got, err := ReadAll(ctx, s, name, 64)
	if err != nil {
		return fmt.Errorf("read %s back: %w", name, err)
	}
	if string(got) != want {
		return fmt.Errorf("%w: %s holds %q where %q was written last", ErrUnsafe, name, got, want)
	}
	return nil
}

func expectListed(ctx context.Context, s Store, prefix string, want int) error {
	got := 0
	for _, err := range s.List(ctx, prefix) {
		if err != nil {
			return fmt.Errorf("list %s: %w", prefix, err)
		}
		got++
	}
	if got != want {
		return fmt.Errorf("%w: a listing of %s shows %d objects, there are %d", ErrUnsafe, prefix, got, want)
	}
	return nil
}
