// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/checkpoint/objstore"
)

// Open makes a new empty store and returns a function that gives handles on it.
type Open func(t *testing.T) func() objstore.Store

// Run runs the suite.
func Run(t *testing.T, open Open) {
	tests := []struct {
		name string
		run  func(*testing.T, func() objstore.Store)
	}{
		{"WhatWasPutIsReadBack", putIsReadBack},
		{"PutReplaces", putReplaces},
		{"APartIsReadByItsOffset", rangesAreRead},
		{"APartThatIsNotThereIsErrRange", rangesAreChecked},
		{"CreateRefusesATakenName", createRefuses},
		{"OneOfManyConcurrentCreatorsWins", oneCreatorWins},
		{"AnAbsentObjectIsErrNotFound", absentIsNotFound},
		{"DeleteMayBeRepeated", deleteRepeats},
		{"ADeletedNameIsFreeAgain", deletedIsFree},
		{"ListIsInByteOrderAndByPrefix", listOrder},
		{"ListSeesEveryWriteAndDelete", listSees},
		{"ListMayBeLeftEarly", listEarly},
		{"ListCrossesPages", listPages},
		{"BadNamesAreRefused", badNames},
		{"StatTellsSizeAndTime", statTells},
		{"ACancelledContextFailsEveryCall", cancelled},
		{"ReadersSeeWholeObjectsWhileOthersReplaceThem", wholeReads},
		{"CreateAndDeleteBesideEachOtherSucceed", createBesideDelete},
		{"TheSelfTestPasses", selfTest},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, open(t))
		})
	}
}

func put(t *testing.T, s objstore.Store, name, content string) {
	t.Helper()
	if err := s.Put(t.Context(), name, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, s objstore.Store, name, want string) {
	t.Helper()
	got, err := objstore.ReadAll(t.Context(), s, name, int64(len(want))+1)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Fatalf("object %s holds %.80q, want %.80q", name, got, want)
	}
}

func expectError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func names(t *testing.T, s objstore.Store, prefix string) []string {
	t.Helper()
	list := []string{}
	for info, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, info.Name)
	}
	return list
}

func expectNames(t *testing.T, s objstore.Store, prefix string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), names(t, s, prefix)); diff != "" {
		t.Fatalf("listing of %q (-want +got):\n%s", prefix, diff)
	}
}

func putIsReadBack(t *testing.T, handle func() objstore.Store) {
	big := strings.Repeat("0123456789abcdef", 64<<10) // 1 MiB
	for name, content := range map[string]string{"empty": "", "small": "x", "deep/er/name": "y", "big": big, "Ünï ~+=&?%#code": "z"} {
		put(t, handle(), name, content)
		expect(t, handle(), name, content)
	}
}

func putReplaces(t *testing.T, handle func() objstore.Store) {
	s := handle()
	put(t, s, "a", "first, and longer")
	put(t, handle(), "a", "second")
	expect(t, s, "a", "second")
}

func readRange(ctx context.Context, s objstore.Store, name string, offset, length int64) (string, error) {
	body, err := s.GetRange(ctx, name, offset, length)
	if err != nil {
		return "", err
	}
	content, err := io.ReadAll(body)
	return string(content), errors.Join(err, body.Close())
}

func rangesAreRead(t *testing.T, handle func() objstore.Store) {
	s := handle()
	var b strings.Builder
	for i := range 40_000 { // more than two blocks of stores that keep contents in blocks
		fmt.Fprintf(&b, "%06d", i)
	}
	content := b.String()
	size := int64(len(content))
	put(t, s, "a/b", content)
	put(t, s, "empty", "")
	for _, offset := range []int64{0, 1, 5, 65_535, 65_536, 131_072, size - 1} {
		for _, length := range []int64{-1, 1, 2, 70_000, size, size + 1} {
			end := size
			if length >= 0 {
				end = min(size, offset+length)
			}
			got, err := readRange(t.Context(), s, "a/b", offset, length)
			if err != nil || got != content[offset:end] {
				t.Errorf("%d bytes from %d on give %d bytes beginning %.20q, %v; want %d beginning %.20q",
					length, offset, len(got), got, err, end-offset, content[offset:end])
			}
		}
	}
	if got, err := readRange(t.Context(), s, "empty", 0, -1); err != nil || got != "" {
		t.Errorf("all of an empty object is %q, %v", got, err)
	}
}

func rangesAreChecked(t *testing.T, handle func() objstore.Store) {
	s := handle()
	put(t, s, "a", "12345")
	for _, bad := range [][2]int64{{5, -1}, {5, 1}, {6, 1}, {1 << 40, -1}, {-1, 1}, {-1, -1}, {0, 0}, {2, 0}} {
		_, err := s.GetRange(t.Context(), "a", bad[0], bad[1])
		expectError(t, err, objstore.ErrRange)
	}
	_, err := s.GetRange(t.Context(), "none", 1, 1)
	expectError(t, err, objstore.ErrNotFound)
}

func createRefuses(t *testing.T, handle func() objstore.Store) {
	if err := handle().Create(t.Context(), "d/a", strings.NewReader("first")); err != nil {
		t.Fatal(err)
	}
	// A server may refuse and hang up before it has read the content; the driver then has no clear answer.
	expectError(t, createUntilClear(t.Context(), handle(), "d/a", "second"), objstore.ErrExists)
	expect(t, handle(), "d/a", "first")
	put(t, handle(), "d/b", "put")
	expectError(t, createUntilClear(t.Context(), handle(), "d/b", ""), objstore.ErrExists)
}

func oneCreatorWins(t *testing.T, handle func() objstore.Store) {
	const rounds, writers = 10, 8
	for round := range rounds {
		name := fmt.Sprintf("race/%d/fence", round)
		errs := make([]error, writers)
		var wg sync.WaitGroup
		for i := range writers {
			s := handle()
			wg.Go(func() { errs[i] = createUntilClear(t.Context(), s, name, fmt.Sprintf("writer %d", i)) })
		}
		wg.Wait()
		winner := -1
		for i, err := range errs {
			if err == nil {
				if winner >= 0 {
					t.Fatalf("writers %d and %d both won %s", winner, i, name)
				}
				winner = i
			} else {
				expectError(t, err, objstore.ErrExists)
			}
		}
		if winner < 0 {
			t.Fatalf("nobody won %s", name)
		}
		expect(t, handle(), name, fmt.Sprintf("writer %d", winner))
	}
}

// createUntilClear repeats a Create whose answer is "conflict, try again", which drivers may give.
func createUntilClear(ctx context.Context, s objstore.Store, name, content string) error {
	for {
		err := s.Create(ctx, name, strings.NewReader(content))
		if !errors.Is(err, objstore.ErrTransient) || ctx.Err() != nil {
			return err
		}
	}
}

func absentIsNotFound(t *testing.T, handle func() objstore.Store) {
	s := handle()
	put(t, s, "folder/a", "x")
	for _, name := range []string{"none", "folder", "folder/none", "no/folder/none"} {
		_, err := s.Get(t.Context(), name)
		expectError(t, err, objstore.ErrNotFound)
		_, err = s.Stat(t.Context(), name)
		expectError(t, err, objstore.ErrNotFound)
	}
	expectNames(t, s, "none/")
}

func deleteRepeats(t *testing.T, handle func() objstore.Store) {
	s := handle()
	put(t, s, "d/e/a", "x")
	for range 2 {
		if err := s.Delete(t.Context(), "d/e/a"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := handle().Stat(t.Context(), "d/e/a")
	expectError(t, err, objstore.ErrNotFound)
}

func deletedIsFree(t *testing.T, handle func() objstore.Store) {
	s := handle()
	for i := range 3 {
		if err := s.Create(t.Context(), "d/e/a", strings.NewReader(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		expect(t, s, "d/e/a", fmt.Sprint(i))
		if err := handle().Delete(t.Context(), "d/e/a"); err != nil {
			t.Fatal(err)
		}
	}
}

func listOrder(t *testing.T, handle func() objstore.Store) {
	s := handle()
	for _, name := range []string{"b", "a/c", "a.b", "a-b", "a/b/c", "a/b.c", "aa", "A"} {
		put(t, s, name, name)
	}
	expectNames(t, s, "", "A", "a-b", "a.b", "a/b.c", "a/b/c", "a/c", "aa", "b")
	expectNames(t, s, "a/", "a/b.c", "a/b/c", "a/c")
	expectNames(t, s, "a/b", "a/b.c", "a/b/c")
	expectNames(t, s, "a/b/", "a/b/c")
	expectNames(t, s, "a", "a-b", "a.b", "a/b.c", "a/b/c", "a/c", "aa")
	expectNames(t, s, "a/b/c", "a/b/c")
	expectNames(t, s, "c")
}

func listSees(t *testing.T, handle func() objstore.Store) {
	for i := range 20 {
		put(t, handle(), fmt.Sprintf("x/%02d", i), "")
		if got := len(names(t, handle(), "x/")); got != i+1 {
			t.Fatalf("%d objects listed after %d writes", got, i+1)
		}
	}
	for i := range 20 {
		if err := handle().Delete(t.Context(), fmt.Sprintf("x/%02d", i)); err != nil {
			t.Fatal(err)
		}
		if got := len(names(t, handle(), "x/")); got != 19-i {
			t.Fatalf("%d objects listed after %d of 20 deletes", got, i+1)
		}
	}
}

func listEarly(t *testing.T, handle func() objstore.Store) {
	s := handle()
	for _, name := range []string{"a", "b", "c"} {
		put(t, s, name, "")
	}
	for info, err := range s.List(t.Context(), "") {
		if err != nil || info.Name != "a" {
			t.Fatalf("first is %v, %v", info, err)
		}
		break
	}
}

func listPages(t *testing.T, handle func() objstore.Store) {
	const n = 1030 // a page of S3 has 1000
	var wg sync.WaitGroup
	for worker := range 8 {
		s := handle()
		wg.Go(func() {
			for i := worker; i < n; i += 8 {
				if err := s.Put(t.Context(), fmt.Sprintf("many/%04d", i), strings.NewReader("")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	got := names(t, handle(), "many/")
	if len(got) != n || got[0] != "many/0000" || got[n-1] != "many/1029" {
		t.Fatalf("%d names listed, want %d", len(got), n)
	}
}

func badNames(t *testing.T, handle func() objstore.Store) {
	s := handle()
	bad := []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", ".hidden", "a/.tmp/b", `a\b`, "a\x00b", "a\nb", "\xff",
		strings.Repeat("x", 256), strings.Repeat("xxxx/", 300) + "x",
	}
	for _, name := range bad {
		expectError(t, s.Put(t.Context(), name, strings.NewReader("x")), objstore.ErrName)
		expectError(t, s.Create(t.Context(), name, strings.NewReader("x")), objstore.ErrName)
		expectError(t, s.Delete(t.Context(), name), objstore.ErrName)
		_, err := s.Get(t.Context(), name)
		expectError(t, err, objstore.ErrName)
		_, err = s.GetRange(t.Context(), name, 1, 1)
		expectError(t, err, objstore.ErrName)
		_, err = s.Stat(t.Context(), name)
		expectError(t, err, objstore.ErrName)
	}
	for _, prefix := range []string{"/", "../", "a/../", "a//"} {
		for _, err := range s.List(t.Context(), prefix) {
			expectError(t, err, objstore.ErrName)
		}
	}
	expectNames(t, s, "")
}

func statTells(t *testing.T, handle func() objstore.Store) {
	s := handle()
	// Clocks of server and test are one here; times may be cut to seconds.
	before := time.Now().Add(-2 * time.Second)
	put(t, s, "a/b", "12345")
	info, err := s.Stat(t.Context(), "a/b")
	if err != nil {
		t.Fatal(err)
	}
	if info.Name != "a/b" || info.Size != 5 || info.Modified.Before(before) || info.Modified.After(time.Now().Add(2*time.Second)) {
		t.Fatalf("stat tells %+v", info)
	}
	for listed, err := range s.List(t.Context(), "a/") {
		if err != nil || listed.Name != info.Name || listed.Size != info.Size || !listed.Modified.Truncate(time.Second).Equal(info.Modified.Truncate(time.Second)) {
			t.Fatalf("list tells %+v, %v; stat %+v", listed, err, info)
		}
	}
}

func cancelled(t *testing.T, handle func() objstore.Store) {
	s := handle()
	put(t, s, "a", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	expectError(t, s.Put(ctx, "b", strings.NewReader("x")), context.Canceled)
	expectError(t, s.Create(ctx, "b", strings.NewReader("x")), context.Canceled)
	expectError(t, s.Delete(ctx, "a"), context.Canceled)
	_, err := s.Stat(ctx, "a")
	expectError(t, err, context.Canceled)
	_, err = s.Get(ctx, "a")
	expectError(t, err, context.Canceled)
	_, err = s.GetRange(ctx, "a", 0, 1)
	expectError(t, err, context.Canceled)
	var listErr error
	for _, err := range s.List(ctx, "") {
		listErr = err
	}
	expectError(t, listErr, context.Canceled)
	expectNames(t, s, "", "a")
}

func wholeReads(t *testing.T, handle func() objstore.Store) {
	const size, writes = 128 << 10, 20
	name := "mutable"
	put(t, handle(), name, strings.Repeat("a", size))
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(done)
		s := handle()
		for i := range writes {
			content := bytes.Repeat([]byte{byte('a' + i%26)}, size)
			if err := s.Put(t.Context(), name, bytes.NewReader(content)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 2 {
		s := handle()
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := readWhole(t.Context(), s, name, size); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func readWhole(ctx context.Context, s objstore.Store, name string, size int) error {
	return objstore.Read(ctx, s, name, func(r io.Reader) error {
		content, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if len(content) != size || bytes.Count(content, content[:1]) != size {
			return fmt.Errorf("a reader saw %d bytes, not all of one write", len(content))
		}
		return nil
	})
}

// createBesideDelete is about folder stores, where a Delete prunes the folder in which a Create is about
// to write.
func createBesideDelete(t *testing.T, handle func() objstore.Store) {
	var wg sync.WaitGroup
	for worker := range 4 {
		s := handle()
		wg.Go(func() {
			name := fmt.Sprintf("shared/folder/%d", worker)
			for range 25 {
				if err := createUntilClear(t.Context(), s, name, "x"); err != nil {
					t.Error(err)
					return
				}
				if err := s.Delete(t.Context(), name); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	expectNames(t, handle(), "")
}

func selfTest(t *testing.T, handle func() objstore.Store) {
	retry := objstore.NewRetry(handle(), objstore.Policy{Base: time.Microsecond})
	if err := objstore.SelfTest(t.Context(), retry); err != nil {
		t.Fatal(err)
	}
	expectNames(t, handle(), "")
}
