// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/streamd/streamd/engine/inspect"
	"github.com/streamd/streamd/engine/query"
	"github.com/streamd/streamd/operators/codec"
	"github.com/streamd/streamd/test/fleet"
)

// TestAWrongAnswerIsSeen gives answers that are wrong by one thing each.
func TestAWrongAnswerIsSeen(t *testing.T) {
	t.Parallel()
	o := &options{StateBytes: 1000, ValueBytes: 100, Partitions: 1, Queries: 1}
	input := &feeder{opts: o}
	input.mu.offsets = [][]uint32{{3, 8, 20}}
	q := newQuerier(o, &fleet.Faults{}, input)
	good := func() *query.Answer { return answerOf(t, account{update{Count: 2}, filler(0, 2, 100)}, 20) }
	for _, c := range []struct {
		name   string
		answer *query.Answer
		least  uint64
		want   string // part of the error; empty: there is none
	}{
		{"right", good(), 2, ""},
		{"right, and no record yet", &query.Answer{Part: query.Part{Position: query.Position{Inputs: []query.Input{{Offset: 3}}}}}, 0, ""},
		{"a record too few", answerOf(t, account{update{Count: 2}, filler(0, 2, 100)}, 21), 0, "where it is 3"},
		{"a record too many", answerOf(t, account{update{Count: 2}, filler(0, 2, 100)}, 8), 0, "where it is 1"},
		{"too old", good(), 3, "count 3 was asked for"},
		{"another state", answerOf(t, account{update{Count: 2}, filler(0, 1, 100)}, 20), 0, "not what follows"},
		{"a state with a fault", answerOf(t, account{update{2, 1}, filler(0, 2, 100)}, 20), 0, "not what follows"},
		{"gone", &query.Answer{Part: query.Part{Position: query.Position{Inputs: []query.Input{{Offset: 20}}}}}, 0, "where it is 2"},
		{"no position", &query.Answer{}, 0, "expected one"},
	} {
		err := q.check(0, c.answer, c.least)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, expected %q", c.name, err, c.want)
		}
	}
}

// answerOf is an answer at an offset.
func answerOf(t *testing.T, a account, offset int64) *query.Answer {
	t.Helper()
	value, err := codec.Stored(accountCodec).Append(nil, a)
	if err != nil {
		t.Fatal(err)
	}
	return &query.Answer{
		Rows: []query.Row{{Row: inspect.Row{Value: value}}},
		Part: query.Part{Role: query.Owner, Position: query.Position{Inputs: []query.Input{{Offset: offset}}}},
	}
}

func TestQueriesAreSummedUpByWhenTheyEnded(t *testing.T) {
	t.Parallel()
	q := &querier{}
	for i := range 10 {
		q.mu.asked = append(q.mu.asked, asked{ended: at(i * 100), took: time.Duration(i)})
	}
	q.mu.asked[3].standby, q.mu.asked[4].failed = true, errors.New("busy")
	q.mu.skipped = []time.Time{at(100), at(350), at(900)}
	want := &answers{Asked: 4, Skipped: 1, Standbys: 1, Failed: 1, P50: 4, P99: 6, Max: 6, Failure: "busy"}
	if diff := cmp.Diff(want, q.during(span{at(250), at(650)})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
