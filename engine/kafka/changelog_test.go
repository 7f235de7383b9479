// SPDX-License-Identifier: Apache-2.0

package kafka

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"
)

func entry(offset int64, kind EntryKind, generation int32, epoch uint64, value string) *kgo.Record {
	return &kgo.Record{Offset: offset, Key: EntryKey{kind, generation, epoch}.AppendTo(nil), Value: []byte(value)}
}

// read replays records up to the position record at offset to.
func read(to int64, records ...*kgo.Record) (commits []string, done bool, err error) {
	r := changelogReader{to: to, atLeastOnce: true, apply: func(c Commit) error {
		s := string(c.Position)
		for _, d := range c.Deltas {
			s += " " + string(d)
		}
		commits = append(commits, s)
		return nil
	}}
	err = r.take(records)
	return commits, r.done, err
}

func TestReplayEndsAtExactlyTheNamedRecord(t *testing.T) {
	t.Parallel()
	log := []*kgo.Record{
		entry(0, DeltaEntry, 1, 1, "a"), entry(1, DeltaEntry, 1, 1, "b"), entry(2, PositionEntry, 1, 1, "p1"),
		entry(5, PositionEntry, 1, 2, "p2"),
		entry(7, DeltaEntry, 1, 3, "c"), entry(8, PositionEntry, 1, 3, "p3"),
	}
	got, done, err := read(5, log...)
	if err != nil || !done {
		t.Fatalf("done %v, %v", done, err)
	}
	if diff := cmp.Diff([]string{"p1 a b", "p2"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestAMissingPositionRecordIsAGap(t *testing.T) {
	t.Parallel()
	if _, _, err := read(3, entry(2, PositionEntry, 1, 1, "p"), entry(4, PositionEntry, 1, 2, "q")); !errors.Is(err, ErrChangelogGap) {
		t.Errorf("got %v", err)
	}
}

func TestWithoutTransactionsAnOlderOwnerIsIgnored(t *testing.T) {
	t.Parallel()
	// The zombie of generation 1 writes on while generation 2 owns the task.
	got, done, err := read(6,
		entry(0, DeltaEntry, 1, 1, "old"), entry(1, DeltaEntry, 2, 1, "new"),
		entry(2, DeltaEntry, 1, 1, "old"), entry(3, PositionEntry, 1, 1, "zombie"),
		entry(4, PositionEntry, 2, 1, "owner"), entry(5, DeltaEntry, 2, 2, "next"), entry(6, PositionEntry, 2, 2, "owner2"))
	if err != nil || !done {
		t.Fatalf("done %v, %v", done, err)
	}
	if diff := cmp.Diff([]string{"owner new", "owner2 next"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestDeltasOfAnUnfinishedCommitAreIgnored(t *testing.T) {
	t.Parallel()
	got, _, err := read(3, entry(0, DeltaEntry, 1, 4, "torn"), entry(1, DeltaEntry, 2, 4, "a"), entry(3, PositionEntry, 2, 4, "p"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"p a"}, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzEntryKeyIsReadAsItWasWrittenOrRefused(f *testing.F) {
	f.Add(EntryKey{PositionEntry, 3, 9}.AppendTo(nil))
	f.Add([]byte("x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := DecodeEntryKey(b)
		if err == nil && string(k.AppendTo(nil)) != string(b) {
			t.Fatalf("%x was read as %+v", b, k)
		}
	})
}
