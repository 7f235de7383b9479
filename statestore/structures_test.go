// SPDX-License-Identifier: Apache-2.0

package statestore

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The structures below the stores, each against the obvious slow one.

func TestIndexFindsExactlyWhatWasInserted(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		// Few distinct hashes, so that groups overflow and wrap around.
		hashes := make([]uint32, 200)
		for i := range hashes {
			hashes[i] = uint32(rapid.IntRange(0, 9).Draw(t, "hash")) * 0x21000001
		}
		hashOf := func(i uint32) uint32 { return hashes[i] }
		var x hashIndex
		x.reset(32)
		in := map[uint32]bool{}
		for range rapid.IntRange(0, 400).Draw(t, "ops") {
			i := uint32(rapid.IntRange(0, len(hashes)-1).Draw(t, "entry"))
			if in[i] {
				x.remove(hashes[i], i, hashOf)
				delete(in, i)
			} else if !x.full() {
				x.insert(hashes[i], i)
				in[i] = true
			}
			if x.used != len(in) {
				t.Fatalf("the index counts %d entries, want %d", x.used, len(in))
			}
			for j := range hashes {
				if found := searchIndex(&x, hashes[j], uint32(j)); found != in[uint32(j)] {
					t.Fatalf("entry %d found: %v, want %v", j, found, in[uint32(j)])
				}
			}
		}
	})
}

// searchIndex looks as table.find does.
func searchIndex(x *hashIndex, hash, entry uint32) bool {
	for g := hash & x.mask; ; g = (g + 1) & x.mask {
		grp := &x.groups[g]
		for m := match(grp.tags, tagOf(hash)); m != 0; m &= m - 1 {
			if grp.refs[firstSlot(m)] == entry {
				return true
			}
		}
		if empties(grp.tags) != 0 {
			return false
		}
	}
}

func TestKeyOrderIsThatOfSortedKeys(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := func(i uint32) []byte { return fmt.Appendf(nil, "%d", i) }
		var o keyOrder
		var want []uint32
		for range rapid.IntRange(0, 1500).Draw(t, "ops") {
			i := uint32(rapid.IntRange(0, 2000).Draw(t, "entry"))
			if i%97 == 0 {
				start, end := key(i), key(uint32(rapid.IntRange(0, 2000).Draw(t, "end")))
				in := func(i uint32) bool {
					return string(key(i)) >= string(start) && string(key(i)) < string(end) && i%5 != 0
				}
				o.removeRange(key, start, end, func(i uint32) bool { return !in(i) })
				want = slices.DeleteFunc(want, in)
			}
			if i%89 == 0 {
				var list []uint32
				for n := range uint32(rapid.IntRange(0, 600).Draw(t, "list")) {
					if e := i + n*7%2003; !slices.Contains(want, e) {
						list, want = append(list, e), append(want, e)
					}
				}
				slices.SortFunc(list, func(a, b uint32) int { return bytes.Compare(key(a), key(b)) })
				o.add(key, list)
				continue
			}
			if p := slices.Index(want, i); p >= 0 {
				o.remove(key, i)
				want = slices.Delete(want, p, p+1)
			} else {
				o.insert(key, i)
				want = append(want, i)
			}
		}
		slices.SortFunc(want, func(a, b uint32) int { return bytes.Compare(key(a), key(b)) })
		if got := slices.Concat(o.blocks...); !slices.Equal(got, want) {
			t.Fatalf("order is %v, want %v", got, want)
		}
	})
}

func TestEntriesAreSortedByTheirKeys(t *testing.T) {
	t.Parallel()
	db := testOpen(t, vfs.NewMem())
	id := StoreID(0)
	rapid.Check(t, func(t *rapid.T) {
		id++
		s := NewValue(db, id, numbers{})
		prefix := strings.Repeat("p", rapid.SampledFrom([]int{0, 8, 30}).Draw(t, "prefix"))
		// Few letters, among them the one that padding consists of.
		part := rapid.OneOf(rapid.StringOfN(rapid.RuneFrom([]rune("\x00\x01a")), 0, 20, -1), rapid.Just("aaaaaaaaa"))
		var want []string
		for range rapid.IntRange(0, 300).Draw(t, "keys") {
			key := prefix + part.Draw(t, "a") + part.Draw(t, "b")
			if err := s.Put([]byte(key), 1); err != nil {
				t.Fatal(err)
			}
			want = append(want, key)
		}
		slices.Sort(want)
		want = slices.Compact(want)
		s.sortByKey(s.dirty)
		var got []string
		for _, i := range s.dirty {
			got = append(got, string(s.keyAt(i)))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("order (-want +got):\n%s", diff)
		}
		db.Abort()
	})
}

func TestKeyRangesCoverExactlyTheirUnion(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var r keyRanges
		var in [30]bool
		for range rapid.IntRange(0, 12).Draw(t, "ranges") {
			from, to := rapid.IntRange(0, 29).Draw(t, "from"), rapid.IntRange(0, 29).Draw(t, "to")
			r.add([]byte{byte(from)}, []byte{byte(to)})
			for n := from; n < to; n++ {
				in[n] = true
			}
			for n := range in {
				if got := r.cover([]byte{byte(n)}); got != in[n] {
					t.Fatalf("cover(%d) = %v, want %v, in %v", n, got, in[n], r)
				}
			}
			for i := 1; i < len(r); i++ {
				if bytes.Compare(r[i-1].end, r[i].start) >= 0 {
					t.Fatalf("ranges touch: %v", r)
				}
			}
		}
	})
}

func TestKeyArenaGivesBackWhatWasAdded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var a keyArena
		in := map[uint32]string{}
		for range rapid.IntRange(0, 200).Draw(t, "ops") {
			n := rapid.OneOf(rapid.IntRange(17, 300), rapid.IntRange(30_000, 70_000), rapid.Just(maxKeyLen)).Draw(t, "length")
			key := strings.Repeat(string(rune('a'+n%26)), n)
			ref := a.add([]byte(key))
			if _, taken := in[ref]; taken {
				t.Fatalf("slot %#x was given twice", ref)
			}
			in[ref] = key
			if rapid.Bool().Draw(t, "remove") {
				a.remove(ref)
				delete(in, ref)
			}
		}
		for ref, key := range in {
			if got := string(a.at(ref)[:len(key)]); got != key {
				t.Fatalf("slot %#x lost its key of %d bytes", ref, len(key))
			}
		}
	})
}

func TestKeyAfterIsTheEndOfThePrefix(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ prefix, want []byte }{
		{[]byte("a"), []byte("b")},
		{[]byte{1, 0xff}, []byte{2}},
		{[]byte{0xff, 0xff}, nil},
		{nil, nil},
	} {
		if got := keyAfter(nil, c.prefix); !bytes.Equal(got, c.want) {
			t.Errorf("keyAfter(%x) = %x, want %x", c.prefix, got, c.want)
		}
	}
}
