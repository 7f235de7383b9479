// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLinesOfALogAreRead(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		line string
		want Entry
		id   string
	}{
		{`{"level":"info","ts":1700000000.25,"msg":"joining group","transactionalID":"a.1"}`, Entry{Message: "joining group"}, "a.1"},
		{`{"level":"info","ts":1700000000.25,"msg":"tasks assigned","generation":3,"tasks":["0_1","0_2"]}`, Entry{Message: "tasks assigned", Tasks: []string{"0_1", "0_2"}}, ""},
		{`{"level":"info","ts":1700000000.25,"msg":"asked to end","tasks":4}`, Entry{Message: "asked to end"}, ""},
		{`{"level":"info","ts":1700000000.25,"msg":"aborted","transactionalID":["a.1","a.2"]}`, Entry{Message: "aborted"}, ""},
		{`{"level":"info","ts":1700000000.25,"msg":"task running","task":"0_1","source":"follower","round":7,"duration":0.5}`, Entry{Message: "task running", Task: "0_1", Source: "follower", Round: 7, Took: 500 * time.Millisecond}, ""},
	} {
		c.want.At = time.Unix(1_700_000_000, 250_000_000)
		got, id, ok := parseEntry(c.line)
		if diff := cmp.Diff(c.want, got); diff != "" || id != c.id || !ok {
			t.Errorf("%s: read %v with id %q (-want +got):\n%s", c.line, ok, id, diff)
		}
	}
	if _, _, ok := parseEntry("panic: something"); ok {
		t.Error("a line that is not JSON was read as one")
	}
}
