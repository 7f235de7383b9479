// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json/jsontext"
	"encoding/json/v2"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/streamd/streamd/deploy"
	"github.com/streamd/streamd/engine/config"
)

var rewrite = flag.Bool("rewrite", false, "write the files that are made from others")

// deployDir is where the chart and what is made of it lie.
var deployDir = filepath.Join("..", "..", "deploy")

// made compares a file with what it is made to be, or writes it.
func made(t *testing.T, want string, path ...string) {
	t.Helper()
	file := filepath.Join(append([]string{deployDir}, path...)...)
	if *rewrite {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: run make rewrite", err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("%s is not up to date: run make rewrite\n%s", file, diff)
	}
}

// settingsInSchema describes the settings that the chart takes.
func settingsInSchema() map[string]any {
	properties := map[string]any{}
	for _, s := range config.Settings() {
		if _, own := podSettings[s.Name]; own {
			continue
		}
		about := map[string]any{"description": s.Doc}
		switch s.Type {
		case "int":
			about["type"] = []any{"integer", "string"}
		case "bool":
			about["type"] = []any{"boolean", "string"}
		case "list":
			about["type"] = []any{"array", "string"}
			about["items"] = map[string]any{"type": "string"}
		default:
			about["type"] = "string"
			if words := strings.Split(s.Type, "|"); len(words) > 1 {
				about["enum"] = words
			}
		}
		properties[s.Name] = about
	}
	return properties
}

func TestSchemaOfTheChartKnowsEverySetting(t *testing.T) {
	t.Parallel()
	file := filepath.Join(deployDir, "helm", "streamd", "values.schema.json")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	section(section(schema, "properties"), "settings")["properties"] = settingsInSchema()
	want, err := json.Marshal(schema, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		t.Fatal(err)
	}
	made(t, string(want)+"\n", "helm", "streamd", "values.schema.json")
}

func TestEverySettingThatTheChartWritesExists(t *testing.T) {
	t.Parallel()
	helpers, err := os.ReadFile(filepath.Join(deployDir, "helm", "streamd", "templates", "_helpers.tpl"))
	if err != nil {
		t.Fatal(err)
	}
	known := []string{config.ConfigEnv}
	for _, s := range config.Settings() {
		known = append(known, s.Name, s.Env())
	}
	names := regexp.MustCompile(`(?m)\bSTREAMD_[A-Z_]+\b|^[a-z]+(\.[a-z-]+)*:`).FindAllString(settingsPart(string(helpers)), -1)
	if len(names) < 10 {
		t.Errorf("found only %q", names)
	}
	for _, name := range names {
		if !slices.Contains(known, strings.TrimSuffix(name, ":")) {
			t.Errorf("the chart sets %s, which is no setting", name)
		}
	}
	for name := range podSettings {
		if _, exists := config.Lookup(name); !exists {
			t.Errorf("%s is no setting", name)
		}
	}
}

// settingsPart cuts the templates of settings and environment out of the helpers.
func settingsPart(helpers string) string {
	var parts []string
	for part := range strings.SplitSeq(helpers, "{{- define ") {
		if strings.HasPrefix(part, `"streamd.settings"`) || strings.HasPrefix(part, `"streamd.env"`) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, "\n")
}

// The objects themselves are examined in test/k8s.
func TestChartRendersEveryExample(t *testing.T) {
	t.Parallel()
	cases, err := filepath.Glob(filepath.Join(deployDir, "testdata", "*.yaml"))
	if err != nil || len(cases) < 4 {
		t.Fatalf("%d cases: %v", len(cases), err)
	}
	for _, file := range append(cases, filepath.Join(deployDir, "examples", "values-production.yaml")) {
		execute(t.Context(), nil, nil, "k8s", "manifests", "--name", "app", "--namespace", "streaming", "--values", file).want(t, 0, "kind: Deployment\n")
	}
}

// baseArgs make the kustomize base; its image and its settings are for an overlay to replace.
var baseArgs = []string{"k8s", "manifests", "--name", "pipeline", "--image", "pipeline:latest", "--brokers", "kafka:9092"}

func TestKustomizeBaseIsUpToDate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	execute(t.Context(), nil, nil, append(baseArgs, "--kustomize", dir)...).want(t, 0, "kubectl kustomize")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		made(t, string(text), "kustomize", "base", e.Name())
	}
}

// component is an optional part of the chart, for kustomize.
type component struct {
	name, file string
	values     string
}

var components = []component{
	{"network-policy", "networkpolicy.yaml", "networkPolicy: {enabled: true}"},
	{"hpa", "horizontalpodautoscaler.yaml", "autoscaling: {kind: hpa}"},
	{"keda", "scaledobject.yaml", "autoscaling: {kind: keda}"},
	{"service-monitor", "servicemonitor.yaml", "monitoring: {serviceMonitor: {enabled: true}}"},
	{"alerts", "prometheusrule.yaml", "settings: {store.url: any}\nmonitoring: {alerts: {enabled: true}}"},
	{"dashboard", "dashboard.yaml", "monitoring: {dashboard: {enabled: true}}"},
}

// withoutReplicas leaves their number to an autoscaler.
const withoutReplicas = `patches:
  - target: {kind: Deployment, name: pipeline}
    patch: |
      - {op: remove, path: /spec/replicas}
`

func TestKustomizeComponentsAreUpToDate(t *testing.T) {
	t.Parallel()
	for _, c := range components {
		file := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(file, []byte(c.values), 0o600); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		execute(t.Context(), nil, nil, append(baseArgs, "--values", file, "--kustomize", dir)...).want(t, 0)
		text, err := os.ReadFile(filepath.Join(dir, c.file))
		if err != nil {
			t.Fatal(err)
		}
		made(t, string(text), "kustomize", "components", c.name, c.file)
		kustomization := "# Made by: make rewrite\napiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nresources:\n  - " + c.file + "\n"
		if strings.Contains(c.values, "autoscaling") {
			kustomization += withoutReplicas
		}
		made(t, kustomization, "kustomize", "components", c.name, "kustomization.yaml")
	}
}

func TestManifestsComeFromTheSettings(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "streamd.yaml")
	if err := os.WriteFile(file, []byte("state.dir: /var/state\ndrain.timeout: 2m\nmemory: 4GiB\nepoch.max-records: 2000000\nsasl: {mechanism: scram-sha-512, user: u, password-file: /etc/kafka/password}\nhttp.address: 127.0.0.1:9999"), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"k8s", "manifests", "--config", file, "--image", "localhost:5000/counter:1.2", "--image-pull-policy", "Never",
		"--replicas", "5", "--cpu", "2", "--state-size", "50Gi", "--secret", "kafka-user=/etc/kafka", "--secret-env", "store", "--worker-zone", "a"}
	r := execute(t.Context(), counter(), []string{"STREAMD_BROKERS=a:1,b:2"}, append(args, "-o", "values")...).want(t, 0, "there is no store.url")
	want := map[string]any{
		"image": map[string]any{"repository": "localhost:5000/counter", "tag": "1.2", "pullPolicy": "Never"},
		"settings": map[string]any{"brokers": "a:1,b:2", "memory": "4GiB", "epoch.max-records": "2000000",
			"sasl.mechanism": "scram-sha-512", "sasl.user": "u", "sasl.password-file": "/etc/kafka/password"},
		"worker": map[string]any{"zone": "a"}, "replicas": 5.0, "http": map[string]any{"port": 9999.0},
		"state":                         map[string]any{"path": "/var/state", "sizeLimit": "50Gi"},
		"resources":                     map[string]any{"requests": map[string]any{"cpu": "2", "memory": "5120Mi"}, "limits": map[string]any{"cpu": "2", "memory": "5120Mi"}},
		"secrets":                       []any{map[string]any{"name": "kafka-user", "path": "/etc/kafka"}},
		"envFrom":                       []any{map[string]any{"secretRef": map[string]any{"name": "store"}}},
		"terminationGracePeriodSeconds": 130.0,
	}
	got, err := deploy.ParseValues([]byte(r.out))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	// What the pod's file of settings says is what a worker understands.
	r = execute(t.Context(), counter(), []string{"STREAMD_BROKERS=a:1,b:2"}, args...).want(t, 0, "name: counter\n")
	pod := filepath.Join(t.TempDir(), "pod.yaml")
	if err := os.WriteFile(pod, []byte(settingsOf(t, r.out)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(config.Sources{Environ: []string{config.ConfigEnv + "=" + pod}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"http.address": ":9999", "state.dir": "/var/state", "drain.timeout": "2m0s", "memory": "4GiB",
		"insecure": "true", "brokers": "a:1,b:2", "epoch.max-records": "2000000"} {
		if got := cfg.Text(name); got != want {
			t.Errorf("%s is %q, expected %q", name, got, want)
		}
	}
}

// settingsOf finds the file of settings among manifests.
func settingsOf(t *testing.T, manifests string) string {
	t.Helper()
	for doc := range strings.SplitSeq(manifests, "\n---\n") {
		var object struct {
			Kind string
			Data map[string]string
		}
		if err := yaml.Unmarshal([]byte(doc), &object); err != nil {
			t.Fatal(err)
		}
		if object.Kind == "ConfigMap" {
			return object.Data["streamd.yaml"]
		}
	}
	t.Fatal("no ConfigMap")
	return ""
}

func TestManifestsThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, []byte("replica: 3\nsettings: {comit.interval: 1s, http.address: ':80'}\nimage: {pullPolicy: Sometimes}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		args  string
		code  int
		texts []string
	}{
		{"--image x:1", exitUsage, []string{"which brokers?", "--brokers"}},
		{"--brokers kafka:9092", exitUsage, []string{"image.repository is needed"}},
		{"--image x:1 --brokers kafka", exitInvalid, []string{"brokers", "host:port"}},
		{"--image x:1 --brokers k:1 --values " + values, exitInvalid, []string{"replica: there is no such value", "settings.comit.interval", "settings.http.address", "image.pullPolicy"}},
		{"--image x:1 --brokers k:1 --values none.yaml", exitNotFound, []string{"none.yaml"}},
		{"--image x:1 --brokers k:1 --memory-limit lots", exitInvalid, []string{"resources.limits.memory"}},
		{"--image x:1 --brokers k:1 --grace 5s", exitInvalid, []string{"terminationGracePeriodSeconds"}},
		{"--image x:1 --brokers k:1 --secret here", exitUsage, []string{"name=path"}},
		{"--image x:1 --brokers k:1 --store-url s3://b/p?region=r --store-encryption-keys-file /etc/keys/k", exitInvalid, []string{"nothing is mounted", "--secret NAME=/etc/keys"}},
		{"--image x:1 --brokers k:1 --store-url s3://b/p?region=r --store-encryption-keys-file keys", exitInvalid, []string{"absolute"}},
	} {
		execute(t.Context(), counter(), nil, append([]string{"k8s", "manifests"}, strings.Fields(tc.args)...)...).want(t, tc.code, tc.texts...)
	}
	execute(t.Context(), nil, nil, "k8s", "manifests", "--image", "x:1", "--brokers", "k:1").want(t, exitUsage, "--name")
}

func TestNamesOfObjectsAreMadeOfTheApplication(t *testing.T) {
	t.Parallel()
	for app, want := range map[string]string{"flights": "flights", "Flight_Delays": "flight-delays", "2nd": "app-2nd", "_": "",
		strings.Repeat("a", 51) + "-b": strings.Repeat("a", 51)} {
		if got := objectName("", app); got != want {
			t.Errorf("%q: %q, expected %q", app, got, want)
		}
	}
	for image, want := range map[string]map[string]any{
		"a":              {"repository": "a"},
		"h:5000/a":       {"repository": "h:5000/a"},
		"h:5000/a:1@x:y": {"repository": "h:5000/a", "tag": "1", "digest": "x:y"},
	} {
		if diff := cmp.Diff(want, parseImage(image)); diff != "" {
			t.Errorf("%s: %s", image, diff)
		}
	}
}
