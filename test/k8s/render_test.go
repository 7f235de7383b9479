// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/util/yaml"
)

const namespace = "streaming"

// root is the repository's.
var root = filepath.Join("..", "..")

func deployed(elements ...string) string {
	return filepath.Join(append([]string{root, "deploy"}, elements...)...)
}

// cases are the files of values by name.
func cases(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(deployed("testdata", "*.yaml"))
	if err != nil || len(files) < 4 {
		t.Fatalf("found %d cases: %v", len(files), err)
	}
	found := map[string]string{"production": deployed("examples", "values-production.yaml")}
	for _, file := range files {
		found[strings.TrimSuffix(filepath.Base(file), ".yaml")] = file
	}
	return found
}

// object is one decoded manifest.
type object map[string]any

func (o object) text(fields ...string) string {
	var v any = map[string]any(o)
	for _, field := range fields {
		m, _ := v.(map[string]any)
		v = m[field]
	}
	s, _ := v.(string)
	return s
}

func (o object) id() string { return o.text("kind") + " " + o.text("metadata", "name") }

// objects decodes a stream of documents into objects by kind and name.
func objects(t *testing.T, stream []byte) map[string]object {
	t.Helper()
	found := map[string]object{}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(stream), 4096)
	for {
		var o object
		if err := decoder.Decode(&o); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatalf("%v in:\n%s", err, stream)
		}
		if o == nil {
			continue
		}
		if found[o.id()] != nil {
			t.Errorf("%s is there twice", o.id())
		}
		found[o.id()] = o
	}
}

// byCommand runs k8s manifests of the generic binary.
func byCommand(t *testing.T, args ...string) []byte {
	t.Helper()
	binary, err := filepath.Abs(filepath.Join(root, "build", "streamd"))
	if err != nil {
		t.Fatal(err)
	}
	var out, talk bytes.Buffer
	run := exec.CommandContext(t.Context(), binary, append([]string{"k8s", "manifests", "--namespace", namespace}, args...)...)
	run.Stdout, run.Stderr = &out, &talk
	if err := run.Run(); err != nil {
		t.Fatalf("run k8s manifests %v: %v (make k8s builds the command)\n%s", args, err, talk.Bytes())
	}
	return out.Bytes()
}

// byHelm renders the chart as helm install does, to documents by the file that they come from.
func byHelm(t *testing.T, name, values string) map[string]string {
	t.Helper()
	chart, err := loader.Load(deployed("helm", "streamd"))
	if err != nil {
		t.Fatal(err)
	}
	chosen, err := common.ReadValuesFile(values)
	if err != nil {
		t.Fatal(err)
	}
	release := common.ReleaseOptions{Name: name, Namespace: namespace, Revision: 1, IsInstall: true}
	complete, err := util.ToRenderValues(chart, chosen, release, common.DefaultCapabilities)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Render(chart, complete)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// manifestsOf joins what helm template prints: no notes, no tests.
func manifestsOf(files map[string]string) []byte {
	var b bytes.Buffer
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if path.Ext(file) == ".yaml" && !strings.Contains(file, "/tests/") {
			b.WriteString("---\n" + files[file] + "\n")
		}
	}
	return b.Bytes()
}

// withoutHelm takes off what names Helm.
func withoutHelm(all map[string]object) map[string]object {
	for _, o := range all {
		metadata, _ := o["metadata"].(map[string]any)
		labels, _ := metadata["labels"].(map[string]any)
		delete(labels, "helm.sh/chart")
		delete(labels, "app.kubernetes.io/managed-by")
	}
	return all
}

func TestCommandAndHelmMakeTheSameObjects(t *testing.T) {
	t.Parallel()
	for name, values := range cases(t) {
		helm := withoutHelm(objects(t, manifestsOf(byHelm(t, name, values))))
		command := withoutHelm(objects(t, byCommand(t, "--name", name, "--values", values)))
		if diff := gocmp.Diff(helm, command); diff != "" || len(helm) == 0 {
			t.Errorf("%s: helm (-) and k8s manifests (+) differ:\n%s", name, diff)
		}
	}
}

func TestHelmFindsNothingToComplainOf(t *testing.T) {
	t.Parallel()
	all := map[string]common.Values{"defaults": {}}
	for name, file := range cases(t) {
		values, err := common.ReadValuesFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = values
	}
	for name, values := range all {
		for _, m := range lint.RunAll(deployed("helm", "streamd"), values, namespace).Messages {
			// An icon is for chart repositories.
			if m.Severity > 0 && !strings.Contains(m.Err.Error(), "icon is recommended") {
				t.Errorf("%s: %s", name, m)
			}
		}
	}
}

func TestHelmRefusesValuesThatDoNotExist(t *testing.T) {
	t.Parallel()
	chart, err := loader.Load(deployed("helm", "streamd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"replica: 3", "settings: {comit.interval: 1s}", "image: {pullPolicy: Sometimes}", "http: {port: 80}"} {
		values, err := common.ReadValues([]byte(bad))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := util.ToRenderValues(chart, values, common.ReleaseOptions{Name: "x"}, common.DefaultCapabilities); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestEveryValueIsUsedAndInTheSchema(t *testing.T) {
	t.Parallel()
	var templates strings.Builder
	files, err := filepath.Glob(deployed("helm", "streamd", "templates", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil {
			templates.Write(text)
		}
	}
	values, err := common.ReadValuesFile(deployed("helm", "streamd", "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var visit func(prefix string, m map[string]any)
	visit = func(prefix string, m map[string]any) {
		for name, v := range m {
			at := prefix + "." + name
			inner, isMap := v.(map[string]any)
			if !strings.Contains(templates.String(), at) {
				t.Errorf("no template uses %s", at)
			} else if isMap && !used(templates.String(), at) {
				visit(at, inner)
			}
		}
	}
	visit(".Values", values)
}

// used says whether templates use a map as a whole.
func used(templates, at string) bool {
	for _, part := range strings.Split(templates, at)[1:] {
		if !strings.HasPrefix(part, ".") {
			return true
		}
	}
	return false
}

// everyObject gives the objects of all cases, the pod of helm test among them, in a fixed order.
func everyObject(t *testing.T) []named {
	t.Helper()
	var all []named
	for name, values := range cases(t) {
		files := byHelm(t, name, values)
		for _, o := range objects(t, manifestsOf(files)) {
			all = append(all, named{name + ": " + o.id(), o})
		}
		for _, o := range objects(t, []byte(files["streamd/templates/tests/doctor.yaml"])) {
			all = append(all, named{name + ": " + o.id(), o})
		}
	}
	slices.SortFunc(all, func(a, b named) int { return cmp.Compare(a.name, b.name) })
	return all
}

// named is an object and where it comes from.
type named struct {
	name string
	object
}
