// SPDX-License-Identifier: Apache-2.0

package core_test

import (
	"errors"
	"testing"
)

// A simulation that finds nothing proves nothing until it has been seen to find something: each of these breaks
// one rule that a shell must keep, and the simulation must notice.
func TestSimulationNoticesEachBrokenRuleOfTheShell(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("some rules take thousands of histories to break visibly")
	}
	for name, m := range map[string]mutation{
		"state is applied before the commit is confirmed":             applyEarly,
		"offsets are committed with what the client knows":            newestGeneration,
		"transactions of dead workers are not fenced":                 skipFence,
		"a rewound task does not ask for its committed offset":        skipRestore,
		"offsets are fetched while a commit of them is pending":       unstableFetch,
		"a restore ends at the stable end of the changelog":           replayToStableEnd,
		"a restore reads uncommitted changelog records":               replayUncommitted,
		"an unknown end of a transaction is taken for a commit":       unknownIsConfirmed,
		"processing goes on in the same producer epoch after unknown": keepProducerEpoch,
		"dirty state survives a rewind":                               keepDirtyState,
		"anchors are committed outside the transaction":               plainAnchors,
		"events of an earlier membership reach the machine":           lateMembership,
		"an epoch is aborted while a record's fate is not known":      abortInFlight,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seed, err := search(20000, simOptions{
				mutation:   m,
				noTimeouts: m == skipFence,
				oldBroker:  m == keepProducerEpoch || m == abortInFlight,
			}, map[string]int{})
			var v violation
			if !errors.As(err, &v) {
				t.Fatal("20000 seeds have not noticed")
			}
			t.Logf("seed %d: %v", seed, v)
		})
	}
}

// The control of the canary for fencing: with it, nothing has to wait for a transaction timeout.
func TestFencingFreesTheTransactionsOfDeadWorkers(t *testing.T) {
	t.Parallel()
	if seed, err := search(500, simOptions{noTimeouts: true}, map[string]int{}); err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
}
