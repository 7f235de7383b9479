// SPDX-License-Identifier: Apache-2.0

package worker

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/streamd/streamd/engine/api"
)

var rewrite = flag.Bool("rewrite", false, "write the files that are made from others")

const metricsHead = `# Metrics

<!-- Made from engine/worker/metrics.go by its test: make rewrite. -->

Every worker serves its metrics in Prometheus' format at ` + "`/metrics`" + ` of ` + "`http.address`" + `. Counters begin at zero with the
process. A histogram has the series ` + "`_bucket`, `_sum` and `_count`" + `. Beside these there are the usual metrics of Go
programs, ` + "`go_…` and `process_…`" + `. [Alerts and a dashboard](../how-to/kubernetes.md#watch-it) come with the Helm chart.

| Metric | Type | Labels | Meaning |
|---|---|---|---|
`

// description matches how a Desc prints itself, which is the only way to read it.
var description = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: "([^"]*)", .*variableLabels: \{([^}]*)\}\}$`)

// metricsReference writes docs/reference/metrics.md of what a worker registers.
func metricsReference(t *testing.T) string {
	t.Helper()
	w := &Worker{now: time.Now}
	w.status = newStatus("app", w)
	w.status.mu.snap.Tasks = []api.Task{{Task: "0_0", State: "running", CheckpointedAt: time.Unix(1, 0), Lag: []api.Lag{{Topic: "in", Partition: "0"}}}}
	w.status.mu.snap.Following = []api.Follower{{Task: "0_1"}}
	m := newMetrics(w)
	m.aborts.WithLabelValues("", "")
	m.dropped.WithLabelValues("", "", "")
	m.retried.WithLabelValues("", "")
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for _, f := range families {
		kinds[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	descriptions := make(chan *prometheus.Desc)
	go func() {
		defer close(descriptions)
		m.registry.Describe(descriptions)
	}()
	var rows []string
	for d := range descriptions {
		parts := description.FindStringSubmatch(d.String())
		if parts == nil || !strings.HasPrefix(parts[1], "streamd_") {
			continue
		}
		labels := ""
		for label := range strings.SplitSeq(parts[3], ",") {
			if label != "" {
				labels += ", `" + label + "`"
			}
		}
		if kinds[parts[1]] == "" {
			t.Errorf("%s has no sample", parts[1])
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s |\n", parts[1], kinds[parts[1]], strings.TrimPrefix(labels, ", "), parts[2]))
	}
	slices.Sort(rows)
	return metricsHead + strings.Join(rows, "")
}

func TestReferenceOfMetricsIsUpToDate(t *testing.T) {
	t.Parallel()
	file := filepath.Join("..", "..", "docs", "reference", "metrics.md")
	want := metricsReference(t)
	if *rewrite {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("run make rewrite\n%s", diff)
	}
}
