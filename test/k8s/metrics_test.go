// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/promql/parser"
)

// metric is a line of the reference.
type metric struct{ labels []string }

// scraped are the labels that Prometheus adds, and those of histograms.
var scraped = []string{"namespace", "job", "pod", "le", "__name__"}

// knownMetrics reads the reference, which is made of what a worker registers, and what every Go program has.
func knownMetrics(t *testing.T) map[string]metric {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs", "reference", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]metric{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+) \\| ([^|]*) \\|").FindAllStringSubmatch(string(text), -1) {
		m := metric{strings.Split(strings.ReplaceAll(row[3], "`", ""), ", ")}
		suffixes := []string{""}
		if row[2] == "histogram" {
			suffixes = []string{"_bucket", "_sum", "_count"}
		}
		for _, suffix := range suffixes {
			known[row[1]+suffix] = m
		}
	}
	if len(known) < 20 {
		t.Fatalf("found only %d metrics", len(known))
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		known[f.GetName()] = metric{}
	}
	return known
}

// checkQuery parses an expression and finds its metrics and labels among the known.
func checkQuery(t *testing.T, where, query string, known map[string]metric) {
	t.Helper()
	expression, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		t.Errorf("%s: %s: %v", where, query, err)
		return
	}
	var labels []string // of all metrics in the expression
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		selector, is := node.(*parser.VectorSelector)
		if !is {
			return nil
		}
		m, exists := known[selector.Name]
		if !exists {
			t.Errorf("%s: no worker has the metric %s", where, selector.Name)
		}
		labels = append(labels, m.labels...)
		for _, matcher := range selector.LabelMatchers {
			if !slices.Contains(scraped, matcher.Name) && !slices.Contains(m.labels, matcher.Name) {
				t.Errorf("%s: %s has no label %s", where, selector.Name, matcher.Name)
			}
		}
		return nil
	})
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		if by, is := node.(*parser.AggregateExpr); is {
			for _, label := range by.Grouping {
				if !slices.Contains(scraped, label) && !slices.Contains(labels, label) {
					t.Errorf("%s: nothing has the label %s", where, label)
				}
			}
		}
		return nil
	})
}

// rule is one alert.
type rule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

// alerts gives the alerts of a release.
func alerts(t *testing.T, o object) []rule {
	t.Helper()
	var r struct {
		Spec struct{ Groups []struct{ Rules []rule } }
	}
	text, err := json.Marshal(o)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	var all []rule
	for _, g := range r.Spec.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

func TestAlertsUseMetricsThatExistAndHaveARunbook(t *testing.T) {
	t.Parallel()
	known := knownMetrics(t)
	runbooks, err := os.ReadFile(filepath.Join(root, "docs", "how-to", "runbooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, heading := range regexp.MustCompile(`(?m)^## (Streamd\w+)$`).FindAllStringSubmatch(string(runbooks), -1) {
		documented[heading[1]] = true
	}
	seen := map[string]bool{}
	for _, o := range everyObject(t) {
		if o.text("kind") != "PrometheusRule" {
			continue
		}
		for _, r := range alerts(t, o.object) {
			seen[r.Alert] = true
			checkQuery(t, o.name+" "+r.Alert, r.Expr, known)
			if _, err := model.ParseDuration(r.For); err != nil {
				t.Errorf("%s: for: %v", r.Alert, err)
			}
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s says too little", r.Alert)
			}
			if !documented[r.Alert] || !strings.HasSuffix(r.Annotations["runbook_url"], "/runbooks.md#"+strings.ToLower(r.Alert)) {
				t.Errorf("%s has no runbook: %s", r.Alert, r.Annotations["runbook_url"])
			}
		}
	}
	for name := range documented {
		if !seen[name] {
			t.Errorf("the runbook of %s has no alert", name)
		}
	}
}

func TestAlertsOfCheckpointsNeedAStore(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"secured": false, "production": true} {
		for _, o := range everyObject(t) {
			if o.text("kind") != "PrometheusRule" || !strings.HasPrefix(o.name, name) {
				continue
			}
			got := slices.ContainsFunc(alerts(t, o.object), func(r rule) bool { return r.Alert == "StreamdCheckpointOld" })
			if got != want {
				t.Errorf("%s: alerts of checkpoints are there: %t", name, got)
			}
		}
	}
}

func TestAutoscalersUseMetricsThatExist(t *testing.T) {
	t.Parallel()
	known := knownMetrics(t)
	seen := 0
	for _, o := range everyObject(t) {
		text, err := json.Marshal(o.object)
		if err != nil {
			t.Fatal(err)
		}
		switch o.text("kind") {
		case "HorizontalPodAutoscaler":
			seen++
			if !strings.Contains(string(text), `"name":"streamd_lag_records"`) {
				t.Errorf("%s does not use the lag", o.name)
			}
		case "ScaledObject":
			var scaled struct {
				Spec struct {
					Triggers []struct{ Metadata struct{ Query string } }
				}
			}
			if err := json.Unmarshal(text, &scaled); err != nil || len(scaled.Spec.Triggers) != 1 {
				t.Fatalf("%s: %d triggers: %v", o.name, len(scaled.Spec.Triggers), err)
			}
			seen++
			checkQuery(t, o.name, scaled.Spec.Triggers[0].Metadata.Query, known)
		}
	}
	if seen < 2 || known["streamd_lag_records"].labels == nil {
		t.Errorf("saw %d autoscalers", seen)
	}
}

func TestDashboardUsesMetricsThatExist(t *testing.T) {
	t.Parallel()
	known := knownMetrics(t)
	text, err := os.ReadFile(deployed("helm", "streamd", "dashboards", "streamd.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$namespace", "n", "$job", "j")
	used := map[string]bool{}
	ids := map[int]bool{}
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] {
			t.Errorf("two panels have the id %d", panel.ID)
		}
		ids[panel.ID] = true
		for _, target := range panel.Targets {
			checkQuery(t, panel.Title, variables.Replace(target.Expr), known)
			for name := range known {
				if strings.Contains(target.Expr, name+"{") {
					used[strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")] = true
				}
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		plain := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count")
		if strings.HasPrefix(name, "streamd_") && !used[plain] {
			t.Errorf("no panel shows %s", plain)
		}
	}
}
