// SPDX-License-Identifier: Apache-2.0

package crypt_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/checkpoint/objstore/crypt"
	"github.com/streamd/streamd/checkpoint/objstore/dir"
	"github.com/streamd/streamd/checkpoint/objstore/fault"
	"github.com/streamd/streamd/checkpoint/objstore/storetest"
)

// Sizes at which the number of segments changes: the first holds 65432 bytes, all others 65520.
var edges = []int{0, 1, 65_431, 65_432, 65_433, 65_432 + 65_519, 65_432 + 65_520, 65_432 + 65_521, 300_000}

// key is the text of a key that is different for each n.
func key(n byte) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{n}, 32)) }

func writeKeys(t *testing.T, path string, lines ...string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
}

func keys(t *testing.T, lines ...string) *crypt.Keys {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	writeKeys(t, path, lines...)
	k, err := crypt.LoadKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func oneKey(t *testing.T) *crypt.Keys {
	t.Helper()
	return keys(t, "current one", "one "+key(1))
}

// content is n bytes of which no two stretches are equal.
func content(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%07x ", i)
	}
	return b.Bytes()[:n]
}

func put(t *testing.T, s objstore.Store, name string, content []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, s objstore.Store, name string) ([]byte, error) {
	t.Helper()
	return objstore.ReadAll(t.Context(), s, name, 1<<30)
}

func TestAnEncryptedStoreKeepsTheContract(t *testing.T) {
	t.Parallel()
	t.Run("InMemory", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, func(t *testing.T) func() objstore.Store {
			inner, k := objstore.NewMem(), oneKey(t)
			return func() objstore.Store { return crypt.New(inner, k) }
		})
	})
	t.Run("InAFolder", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, func(t *testing.T) func() objstore.Store {
			folder, k := t.TempDir(), oneKey(t)
			return func() objstore.Store {
				inner, err := dir.New(folder)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = inner.Close() })
				return crypt.New(inner, k)
			}
		})
	})
	t.Run("WithFaults", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, func(t *testing.T) func() objstore.Store {
			damaged := map[string]int{}
			faulty := fault.New(objstore.NewMem(), func(op fault.Op) fault.Fault {
				switch {
				case op.N%6 == 0:
					return fault.Fault{After: fault.Unavailable(op)}
				case op.N%6 == 2 && damaged[op.Name] < 2: // a third damage would be an object's own
					damaged[op.Name]++
					return fault.Fault{Truncate: 1000, Flip: 40}
				case op.N%6 == 3:
					return fault.Fault{Before: fault.Unavailable(op)}
				}
				return fault.Fault{}
			})
			inner := crypt.New(faulty, oneKey(t))
			policy := objstore.Policy{Base: 1, Attempts: 50, Budget: 1 << 20}
			return func() objstore.Store { return wholly{objstore.NewRetry(inner, policy)} }
		})
	})
}

func TestRetriesGetThroughTroublesBelowTheEncryption(t *testing.T) {
	t.Parallel()
	storetest.RunTroubled(t, func(t *testing.T) (objstore.Store, func(storetest.Trouble, int)) {
		inner, inject := storetest.ThroughCalls(objstore.NewMem())
		return crypt.New(inner, oneKey(t)), inject
	})
}

// wholly reads every content at once, so that what is damaged on the way is read again, as by objstore.Read.
type wholly struct{ *objstore.Retry }

func (w wholly) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	return w.GetRange(ctx, name, 0, -1)
}

func (w wholly) GetRange(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	for {
		body, err := w.Retry.GetRange(ctx, name, offset, length)
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(body)
		if err = errors.Join(err, body.Close()); !errors.Is(err, objstore.ErrTransient) {
			return io.NopCloser(bytes.NewReader(content)), err
		}
	}
}

func TestSizesAreThoseOfThePlainContent(t *testing.T) {
	t.Parallel()
	inner := objstore.NewMem()
	s := crypt.New(inner, oneKey(t))
	for _, size := range edges {
		name := fmt.Sprintf("size/%06d", size)
		put(t, s, name, content(size))
		got, err := read(t, s, name)
		if err != nil || !bytes.Equal(got, content(size)) {
			t.Errorf("%d bytes are read back as %d, %v", size, len(got), err)
		}
		if info, err := s.Stat(t.Context(), name); err != nil || info.Size != int64(size) {
			t.Errorf("stat of %d bytes tells %d, %v", size, info.Size, err)
		}
		for _, offset := range []int{size - 1, size - 2, size - 65_520, size - 65_521} {
			if offset < 0 {
				continue
			}
			body, err := s.GetRange(t.Context(), name, int64(offset), -1)
			if err != nil {
				t.Errorf("size %d from %d on: %v", size, offset, err)
				continue
			}
			if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, content(size)[offset:]) {
				t.Errorf("size %d from %d on: %d bytes, %v", size, offset, len(got), err)
			}
		}
	}
	i := 0
	for info, err := range s.List(t.Context(), "size/") {
		if err != nil || info.Size != int64(edges[i]) {
			t.Errorf("listed %+v, %v; want size %d", info, err, edges[i])
		}
		i++
	}
}

func TestNothingOfTheContentIsVisibleInTheStore(t *testing.T) {
	t.Parallel()
	inner := objstore.NewMem()
	s := crypt.New(inner, oneKey(t))
	secret := bytes.Repeat([]byte("canary "), 20_000)
	put(t, s, "a", secret)
	put(t, s, "b", secret)
	var sealed [2][]byte
	for i, name := range []string{"a", "b"} {
		var err error
		if sealed[i], err = read(t, inner, name); err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(sealed[i], []byte("canary")) {
			t.Error("the content is visible")
		}
	}
	if bytes.Equal(sealed[0][100:200], sealed[1][100:200]) {
		t.Error("equal contents can be told from their objects")
	}
}

func TestEveryChangedByteIsFoundOut(t *testing.T) {
	t.Parallel()
	inner := objstore.NewMem()
	s := crypt.New(inner, oneKey(t))
	put(t, s, "a", content(66_000))
	sealed, err := read(t, inner, "a")
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(sealed); at++ {
		if at == 120 {
			at = 65_500 // over to the border of the segments
		}
		changed := bytes.Clone(sealed)
		changed[at] ^= 1
		put(t, inner, "a", changed)
		got, err := read(t, s, "a")
		if err == nil {
			t.Fatalf("a change of byte %d gives %d bytes and no error", at, len(got))
		}
		if at >= 48 && !errors.Is(err, objstore.ErrDamaged) {
			t.Fatalf("a change of byte %d: error is %v, want ErrDamaged", at, err)
		}
	}
}

func TestRearrangedObjectsAreFoundOut(t *testing.T) {
	t.Parallel()
	const segment = 64 << 10
	inner := objstore.NewMem()
	s := crypt.New(inner, oneKey(t))
	put(t, s, "a", content(4*segment))
	put(t, s, "b", content(4*segment))
	a, err := read(t, inner, "a")
	if err != nil {
		t.Fatal(err)
	}
	b, err := read(t, inner, "b")
	if err != nil {
		t.Fatal(err)
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for name, forged := range map[string][]byte{
		"cut in a segment":      a[:3*segment-5],
		"cut after a segment":   a[:3*segment],
		"cut after the header":  a[:88],
		"cut in the header":     a[:50],
		"cut to nothing":        {},
		"a byte more":           join(a, []byte{0}),
		"a segment more":        join(a, a[segment:2*segment]),
		"last segment repeated": join(a, a[4*segment:]),
		"segments swapped":      join(a[:segment], a[2*segment:3*segment], a[segment:2*segment], a[3*segment:]),
		"segment left out":      join(a[:segment], a[2*segment:]),
		"segment of another":    join(a[:segment], b[segment:2*segment], a[2*segment:]),
		"content of another":    join(a[:88], b[88:]),
		"object of another":     b,
	} {
		put(t, inner, "a", forged)
		if _, err := read(t, s, "a"); !errors.Is(err, objstore.ErrDamaged) {
			t.Errorf("%s: error is %v, want ErrDamaged", name, err)
		}
		body, err := s.GetRange(t.Context(), "a", 3*segment, -1)
		if err == nil {
			var got []byte
			if got, err = io.ReadAll(body); err == nil && !bytes.Equal(got, content(4 * segment)[3*segment:]) {
				t.Errorf("%s: a part gives other bytes without an error", name)
			}
		}
	}
}

func TestADamagedSegmentIsFetchedAgainAndNothingElse(t *testing.T) {
	t.Parallel()
	inner := fault.New(objstore.NewMem(), nil)
	s := crypt.New(inner, oneKey(t))
	put(t, s, "a", content(300_000))
	flips := []int64{200_000, 100_000, 65_000}
	inner.SetHook(func(op fault.Op) fault.Fault {
		if op.Kind != fault.Get || len(flips) == 0 {
			return fault.Fault{}
		}
		f := fault.Fault{Flip: flips[0]}
		flips = flips[1:]
		return f
	})
	var got []byte
	retry := objstore.NewRetry(s, objstore.Policy{Base: 1})
	err := objstore.ReadFrom(t.Context(), retry, "a", 0, func(r io.Reader) (err error) {
		got, err = io.ReadAll(r)
		return err
	})
	if err != nil || !bytes.Equal(got, content(300_000)) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

func TestRotationKeepsOldObjectsReadable(t *testing.T) {
	t.Parallel()
	inner := objstore.NewMem()
	path := filepath.Join(t.TempDir(), "keys")
	load := func(lines ...string) *crypt.Store {
		writeKeys(t, path, lines...)
		k, err := crypt.LoadKeys(path)
		if err != nil {
			t.Fatal(err)
		}
		return crypt.New(inner, k)
	}
	before := load("current old", "old "+key(1))
	put(t, before, "a", []byte("under the old key"))
	after := load("# rotated", "", "current new", "new "+key(2), "old "+key(1))
	put(t, after, "b", []byte("under the new key"))
	// A worker that was not restarted finds the new key in the file.
	for _, s := range []objstore.Store{before, after} {
		for _, name := range []string{"a", "b"} {
			if _, err := read(t, s, name); err != nil {
				t.Error(err)
			}
		}
	}
	retired := load("current new", "new "+key(2))
	_, err := read(t, retired, "a")
	if !errors.Is(err, crypt.ErrKey) || errors.Is(err, objstore.ErrTransient) || !strings.Contains(err.Error(), `"old"`) {
		t.Errorf("error is %v, want a permanent one that names the key", err)
	}
	if _, err := read(t, retired, "b"); err != nil {
		t.Error(err)
	}
	replaced := load("current old", "old "+key(3))
	if _, err := read(t, replaced, "a"); !errors.Is(err, objstore.ErrDamaged) {
		t.Errorf("another key of the same id: error is %v, want ErrDamaged", err)
	}
}

func TestAPlainObjectIsNotTakenForADamagedOne(t *testing.T) {
	t.Parallel()
	inner := objstore.NewMem()
	put(t, inner, "a", content(1000))
	put(t, inner, "b", []byte("{}"))
	for _, name := range []string{"a", "b"} {
		_, err := read(t, crypt.New(inner, oneKey(t)), name)
		if !errors.Is(err, crypt.ErrPlain) || errors.Is(err, objstore.ErrTransient) {
			t.Errorf("error is %v, want a permanent ErrPlain", err)
		}
	}
}

func TestAStoreWithoutKeysReadsPlainObjectsOnly(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(*testing.T) func() objstore.Store {
		inner := objstore.NewMem()
		return func() objstore.Store { return crypt.NewGuard(inner) }
	})
	storetest.RunTroubled(t, func(*testing.T) (objstore.Store, func(storetest.Trouble, int)) {
		inner, inject := storetest.ThroughCalls(objstore.NewMem())
		return crypt.NewGuard(inner), inject
	})
	inner := objstore.NewMem()
	put(t, crypt.New(inner, oneKey(t)), "sealed", content(1000))
	put(t, inner, "almost", []byte("streamd-crypt-"))
	guard := crypt.NewGuard(inner)
	got, err := read(t, guard, "sealed")
	if !errors.Is(err, crypt.ErrKey) || errors.Is(err, objstore.ErrTransient) || len(got) > 0 {
		t.Errorf("an encrypted object gives %d bytes, %v; want a permanent ErrKey", len(got), err)
	}
	if got, err := read(t, guard, "almost"); err != nil || string(got) != "streamd-crypt-" {
		t.Errorf("a short object gives %q, %v", got, err)
	}
}

func TestAnUploadMayBeReadInAnyOrderAndTwice(t *testing.T) {
	t.Parallel()
	for _, size := range edges {
		inner := &rereading{Mem: objstore.NewMem()}
		s := crypt.New(inner, oneKey(t))
		put(t, s, "a", content(size))
		if inner.differs {
			t.Errorf("size %d: two readings of one upload differ", size)
		}
		if got, err := read(t, s, "a"); err != nil || !bytes.Equal(got, content(size)) {
			t.Errorf("size %d: read back %d bytes, %v", size, len(got), err)
		}
	}
}

// rereading reads what is put in stretches of odd sizes, backwards and by several goroutines, before it
// stores it.
type rereading struct {
	*objstore.Mem
	differs bool
}

func (r *rereading) Put(ctx context.Context, name string, body objstore.Body) error {
	whole, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
	if err != nil {
		return err
	}
	const stretch = 7001
	pieces := make([][]byte, body.Size()/stretch+1)
	var wg sync.WaitGroup
	for worker := range 3 {
		wg.Go(func() {
			for i := len(pieces) - 1 - worker; i >= 0; i -= 3 {
				piece := make([]byte, stretch)
				n, _ := body.ReadAt(piece, int64(i)*stretch)
				pieces[i] = piece[:n]
			}
		})
	}
	wg.Wait()
	r.differs = r.differs || !bytes.Equal(bytes.Join(pieces, nil), whole)
	return r.Mem.Put(ctx, name, body)
}

func TestAContentThatEndsEarlyIsNotStored(t *testing.T) {
	t.Parallel()
	s := crypt.New(objstore.NewMem(), oneKey(t))
	if err := s.Put(t.Context(), "a", shortBody{strings.NewReader("12345")}); err == nil {
		t.Error("a content that ended early was accepted")
	}
	if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, objstore.ErrNotFound) {
		t.Errorf("an object is there: %v", err)
	}
}

// shortBody says that it is longer than it is.
type shortBody struct{ *strings.Reader }

func (b shortBody) Size() int64 { return b.Reader.Size() + 1 }
