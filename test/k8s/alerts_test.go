// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
)

// weather is what two workers report over two hours: a sample a minute.
type weather struct{ fair, foul string }

// weathers are series for each alert with which it rests, and with which its expression holds at the end. % is the place of
// the labels that all series of the application have.
var weathers = map[string]weather{
	"StreamdNoWorkers":     {`streamd_loop_age_seconds{%pod="a"} 0x120`, `streamd_loop_age_seconds{job="other"} 0x120`},
	"StreamdLoopStalled":   {`streamd_loop_age_seconds{%pod="a"} 1x120`, `streamd_loop_age_seconds{%pod="a"} 0+60x120`},
	"StreamdTaskStuck":     {`streamd_tasks{%pod="a",state="stuck"} 0x120`, `streamd_tasks{%pod="a",state="stuck"} 1x120`},
	"StreamdNotCommitting": {busy, strings.ReplaceAll(busy, "0+60x120", "7x120")},
	"StreamdLagHigh":       {busy, strings.ReplaceAll(busy, "600x120", "6000000x120")},
	"StreamdLagGrowing":    {busy, strings.ReplaceAll(busy, "600x120", "600000+600x120")},
	"StreamdCommitSlow":    {commits, strings.ReplaceAll(commits, `le="1"} 0+10x120`, `le="1"} 0+9x120`)},
	"StreamdEpochFailures": {`streamd_epoch_failures_total{%pod="a",step="flush",outcome="aborted"} 0+1x120`, `streamd_epoch_failures_total{%pod="a",step="flush",outcome="aborted"} 0+12x120`},
	"StreamdFenced":        {`streamd_fences_total{%pod="a"} 0x110 1x10`, `streamd_fences_total{%pod="a"} 0+1x120`},
	"StreamdRebalancing":   {`streamd_rebalances_total{%pod="a"} 3x110 5x10`, `streamd_rebalances_total{%pod="a"} 0+1x120`},
	"StreamdRestoreSlow":   {`streamd_tasks{%pod="a",state="restoring"} 0x120`, `streamd_tasks{%pod="a",state="restoring"} 2x120`},
	"StreamdMoveSlow": {`streamd_moves{%pod="a",state="warming"} 0x120
		streamd_moves{%pod="a",state="moving"} 1x120`, `streamd_moves{%pod="a",state="warming"} 1x120`},
	"StreamdRecordsDropped": {`streamd_records_dropped_total{%pod="a",step="parse",phase="decode",outcome="skipped"} 9x120`,
		`streamd_records_dropped_total{%pod="a",step="parse",phase="decode",outcome="skipped"} 0+1x120`},
	"StreamdCheckpointOld": {checkpoints, strings.ReplaceAll(checkpoints, "30x120", "0+60x120")},
	"StreamdCheckpointMissing": {checkpoints, checkpoints + `
		streamd_records_in_total{%pod="b",task="0_1"} 0+10x120`},
	"StreamdCheckpointErrors":   {`streamd_checkpoint_errors_total{%pod="a"} 0x110 1x10`, `streamd_checkpoint_errors_total{%pod="a"} 0+1x120`},
	"StreamdCheckpointUnusable": {`streamd_checkpoint_fallbacks_total{%pod="a"} 0x120`, `streamd_checkpoint_fallbacks_total{%pod="a"} 0x110 1x10`},
}

const (
	busy = `
		streamd_commits_total{%pod="a"} 0+60x120
		streamd_commits_total{%pod="b"} 0+60x120
		streamd_lag_records{%pod="a",task="0_0",topic="in",partition="0"} 600x120
		streamd_lag_records{%pod="b",task="0_1",topic="in",partition="1"} 600x120`
	commits = `
		streamd_commit_seconds_bucket{%pod="a",le="1"} 0+10x120
		streamd_commit_seconds_bucket{%pod="a",le="16"} 0+10x120
		streamd_commit_seconds_bucket{%pod="a",le="+Inf"} 0+10x120`
	checkpoints = `
		streamd_records_in_total{%pod="a",task="0_0"} 0+10x120
		streamd_checkpoint_age_seconds{%pod="a",task="0_0"} 30x120`
)

func TestAlertsFireInFoulWeatherOnly(t *testing.T) {
	t.Parallel()
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	for _, o := range everyObject(t) {
		if o.id() != "PrometheusRule production" {
			continue
		}
		for _, r := range alerts(t, o.object) {
			w, known := weathers[r.Alert]
			if !known {
				t.Errorf("there is no weather for %s", r.Alert)
			}
			if n := holds(t, engine, r.Expr, w.fair); n != 0 {
				t.Errorf("%s fires in fair weather: %d times", r.Alert, n)
			}
			if n := holds(t, engine, r.Expr, w.foul); n == 0 {
				t.Errorf("%s does not fire in foul weather", r.Alert)
			}
		}
	}
}

// holds counts the results of an expression at the end of the series.
func holds(t *testing.T, engine *promql.Engine, expression, series string) int {
	t.Helper()
	load := "load 1m\n" + strings.ReplaceAll(strings.TrimSpace(series), "%", `namespace="streaming",job="production",`)
	storage := promqltest.LoadedStorage(t, indented(load))
	defer storage.Close()
	query, err := engine.NewInstantQuery(t.Context(), storage, nil, expression, time.Unix(0, 0).Add(2*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	defer query.Close()
	result := query.Exec(t.Context())
	vector, err := result.Vector()
	if err != nil {
		t.Fatalf("%s: %v", expression, err)
	}
	return len(vector)
}

// indented puts the lines below the first as promqltest wants them.
func indented(load string) string {
	lines := strings.Split(load, "\n")
	for i := 1; i < len(lines); i++ {
		lines[i] = "  " + strings.TrimSpace(lines[i])
	}
	return strings.Join(lines, "\n") + "\n"
}
