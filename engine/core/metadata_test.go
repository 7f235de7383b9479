// SPDX-License-Identifier: Apache-2.0

package core_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/streamd/streamd/engine/core"
)

func TestMetadataSurvivesARoundTrip(t *testing.T) {
	t.Parallel()
	for _, m := range []core.Metadata{
		{TransactionalID: "-"},
		{Incarnation: 1, ChangelogOffset: -1, TransactionalID: "-"},
		{Incarnation: 3, Epoch: 17, ChangelogOffset: 4711, Round: 12, TransactionalID: "spend-3-worker-7f"},
		{Incarnation: 1, TransactionalID: "a", Watermark: math.MinInt64, Idle: true, Finished: "17"},
		{Incarnation: math.MaxInt, Epoch: math.MaxUint64, ChangelogOffset: math.MaxInt64, Round: math.MaxInt64, Entered: math.MaxInt64, TransactionalID: "ünusual%d\"id"},
	} {
		got, err := core.DecodeMetadata(m.Encode())
		if err != nil || got != m {
			t.Errorf("%+v came back as %+v, %v", m, got, err)
		}
	}
}

// The written form is in the group's offsets of every application that ever ran: it must stay readable.
func TestMetadataFormatDoesNotChange(t *testing.T) {
	t.Parallel()
	m := core.Metadata{Incarnation: 3, Epoch: 17, ChangelogOffset: 4711, Round: 12, Entered: 13, TransactionalID: "spend-3-a"}
	if got, want := m.Encode(), "streamd1 3 17 4711 12 13 spend-3-a 0"; got != want {
		t.Errorf("encoded as %q, want %q", got, want)
	}
}

func TestMetadataFitsTheBrokersLimit(t *testing.T) {
	t.Parallel()
	m := core.Metadata{
		Incarnation: math.MinInt, Epoch: math.MaxUint64, ChangelogOffset: math.MinInt64, Round: math.MinInt64, Entered: math.MinInt64,
		TransactionalID: strings.Repeat("x", 3000),
	}
	if n := len(m.Encode()); n > core.MaxMetadataBytes {
		t.Errorf("%d bytes with a transactional id of 3000", n)
	}
}

// An empty transactional id, or one with blanks, is refused too: writers put "-" where there is none.
func TestForeignMetadataIsRefused(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "streamd1", "streamd1 ", "streamd1 1 2 3", "streamd1 1 2 3 4", "streamd1 1 2 3 4 ", "streamd1 1 2 3 4 two words", "streamd2 1 2 3 4 id", "streamd1 01 2 3 4 id", "streamd1 +1 2 3 4 id",
		"streamd1 1 -2 3 4 id", "streamd1 1  2 3 4 id", "streamd1 1 2 3 4\nid", "streamd1 1 18446744073709551616 3 4 id", "streamd1 0x1 2 3 4 id",
		"STREAMD1 1 2 3 4 id", " streamd1 1 2 3 4 id", "streamd1 1 2 3 x id", strings.Repeat("a", 10000),
	} {
		m, err := core.DecodeMetadata(s)
		if !errors.Is(err, core.ErrMetadata) || m != (core.Metadata{}) {
			t.Errorf("%.40q: %+v, %v", s, m, err)
		}
	}
}

// Whatever stands in the offsets topic is refused, or is exactly what Encode writes.
func FuzzMetadataIsRefusedOrCanonical(f *testing.F) {
	for _, s := range []string{"", "streamd1 3 17 4711 12 spend-3-a", "streamd1 1 0 -1 0 -", "streamd1 1 0 -1 0 ", "streamd1 1 2 3 4", "streamd1 a b c d e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		m, err := core.DecodeMetadata(s)
		if err != nil {
			if !errors.Is(err, core.ErrMetadata) {
				t.Errorf("error %v is not ErrMetadata", err)
			}
			return
		}
		if m.Encode() != s {
			t.Errorf("%q was read as %+v, which is written as %q", s, m, m.Encode())
		}
	})
}
