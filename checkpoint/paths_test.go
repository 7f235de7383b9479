// SPDX-License-Identifier: Apache-2.0

package checkpoint

import (
	"strings"
	"testing"

	"github.com/streamd/streamd/checkpoint/objstore"
	"github.com/streamd/streamd/partition"
)

func TestEveryNameFollowsTheRulesOfTheStore(t *testing.T) {
	t.Parallel()
	l := life{strings.Repeat("a", maxIDBytes), 1 << 30}
	task := partition.TaskID{SubTopology: 1<<31 - 1, Partition: 1<<31 - 1}
	const last = 1<<63 - 1
	for _, name := range []string{
		l.application(), clockName(l.app), l.initialized(), l.started(last), l.complete(last), l.manifest(last, task),
		l.object(strings.Repeat("g", maxIDBytes), last, strings.Repeat("x", attemptChars), sha('a')),
		l.floor(last), l.savepoint(strings.Repeat("s", maxIDBytes)), l.condemned() + "id.json",
	} {
		if err := objstore.CheckName(name); err != nil {
			t.Error(err)
		}
	}
}

func TestRoundEntriesAreReadAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	l := life{"app", 3}
	task := partition.TaskID{SubTopology: 0, Partition: 12}
	for name, want := range map[string]roundEntry{
		l.started(7):               {7, entryStarted, partition.TaskID{}},
		l.complete(12_345_678_901): {12_345_678_901, entryComplete, partition.TaskID{}},
		l.manifest(7, task):        {7, entryManifest, task},
	} {
		if got, ok := l.parseRoundEntry(name); !ok || got != want {
			t.Errorf("%s is read as %+v, %v", name, got, ok)
		}
	}
	for _, name := range []string{
		"app/3/rounds/7/started", "app/3/rounds/0000000007/other", "app/3/rounds/0000000007/tasks/0_01.json", "app/3/rounds/0000000007/tasks/0_1",
		"app/3/rounds/0000000007/tasks/0_1.json/x", "app/3/rounds/0000000000/started", "app/3/rounds/-000000007/started", "app/4/rounds/0000000007/started",
		"app/3/rounds/0000000007", "app/3/rounds/00000000070/started", "app/3/rounds/", "",
	} {
		if e, ok := l.parseRoundEntry(name); ok {
			t.Errorf("%q is read as %+v", name, e)
		}
	}
}

func TestNamesThatClimbOrHideAreNoIDs(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", ".", "..", ".a", "a/b", `a\b`, "a b", "ü", "a\x00", strings.Repeat("a", maxIDBytes+1)} {
		if CheckID(s) == nil {
			t.Errorf("%q is accepted", s)
		}
	}
	for _, s := range []string{"a", "A-1_b.c", "0", strings.Repeat("a", maxIDBytes)} {
		if err := CheckID(s); err != nil {
			t.Error(err)
		}
	}
}
