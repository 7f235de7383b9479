// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestTablesLineUp(t *testing.T) {
	t.Parallel()
	res := &result{
		Options: options{StateBytes: 1000, ValueBytes: 100, Queries: 10},
		Incidents: []incident{
			{Kind: "rolling", What: nothing, Took: 10 * time.Second, Stayed: []time.Duration{time.Millisecond}, Queries: &answers{Asked: 100}},
			{Kind: "broker-restart", What: "killed", Took: 100 * time.Second, Moves: 10, Fewest: unknown, Cold: []time.Duration{12 * time.Second},
				Queries: &answers{Asked: 500_000, Standbys: 1, Failed: 1000, P50: time.Millisecond, P99: time.Second, Max: 10 * time.Second}},
			{Kind: "rolling", What: "+1 worker", Took: time.Second, Moves: 4, Fewest: 4, Warm: []time.Duration{time.Second, 2 * time.Second}},
		},
		Takeovers: []takeover{{Kind: onDisk, Detection: 3 * time.Second}, {Kind: onStandby, Ready: 11 * time.Second}},
	}
	var incidents, takeovers, queries strings.Builder
	res.printIncidents(&incidents)
	res.printTakeovers(&takeovers)
	res.printQueries(&queries)
	for text, header := range map[string]int{incidents.String(): 3, takeovers.String(): 1, queries.String(): 2} {
		table := strings.Split(strings.TrimRight(text, "\n"), "\n")[header:]
		for _, line := range table {
			if len(line) != len(table[0]) {
				t.Errorf("lines of different lengths:\n%s", text)
				break
			}
		}
	}
}

func TestAResultIsJSON(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	res := &result{Took: time.Second, Takeovers: []takeover{{Kind: onDisk, Detection: time.Minute}}}
	if err := res.Print(&text, "json"); err != nil || !strings.Contains(text.String(), `"took":"1s"`) || !strings.Contains(text.String(), `"detection":"1m0s"`) {
		t.Errorf("got %s, %v", &text, err)
	}
}
