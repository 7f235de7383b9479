// SPDX-License-Identifier: Apache-2.0

package k8s

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

func kustomize(t *testing.T, dir string) map[string]object {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatalf("build %s: %v", dir, err)
	}
	text, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return objects(t, text)
}

// unhashed gives generated ConfigMaps the names that they were generated for.
func unhashed(all map[string]object) map[string]object {
	found := map[string]object{}
	for _, o := range all {
		metadata, _ := o["metadata"].(map[string]any)
		delete(metadata, "namespace")
		switch o.text("kind") {
		case "ConfigMap":
			metadata["name"] = strings.SplitN(o.text("metadata", "name"), "-", 2)[0]
			data, _ := o["data"].(map[string]any)
			data["streamd.yaml"] = withoutComments(o.text("data", "streamd.yaml"))
		case "Deployment":
			for _, v := range volumesOf(o) {
				if volume, _ := v.(map[string]any); volume["name"] == "settings" {
					source, _ := volume["configMap"].(map[string]any)
					name, _ := source["name"].(string)
					source["name"] = strings.SplitN(name, "-", 2)[0]
				}
			}
		}
		found[o.id()] = o
	}
	return found
}

func volumesOf(o object) []any {
	var v any = map[string]any(o)
	for _, field := range []string{"spec", "template", "spec", "volumes"} {
		m, _ := v.(map[string]any)
		v = m[field]
	}
	volumes, _ := v.([]any)
	return volumes
}

func withoutComments(text string) string {
	var kept strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

func TestKustomizeBaseIsWhatTheCommandAndHelmMake(t *testing.T) {
	t.Parallel()
	want := unhashed(objects(t, byCommand(t, "--name", "pipeline", "--image", "pipeline:latest", "--brokers", "kafka:9092")))
	got := unhashed(kustomize(t, deployed("kustomize", "base")))
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("k8s manifests (-) and the base (+) differ:\n%s", diff)
	}
	values := filepath.Join(t.TempDir(), "values.yaml")
	if err := os.WriteFile(values, []byte("image: {repository: pipeline, tag: latest}\nsettings: {brokers: kafka:9092}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	helm := withoutHelm(unhashed(objects(t, manifestsOf(byHelm(t, "pipeline", values)))))
	if diff := gocmp.Diff(helm, withoutHelm(got)); diff != "" {
		t.Errorf("helm (-) and the base (+) differ:\n%s", diff)
	}
}

func TestKustomizeOverlayTakesItsPlace(t *testing.T) {
	t.Parallel()
	built := kustomize(t, deployed("kustomize", "overlays", "example"))
	for _, kind := range []string{"Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "NetworkPolicy", "HorizontalPodAutoscaler"} {
		if built[kind+" pipeline"] == nil {
			t.Errorf("there is no %s", kind)
		}
	}
	for _, o := range built {
		typed(t, named{"overlay: " + o.id(), o})
		if o.text("metadata", "namespace") != "flights" {
			t.Errorf("%s is in the namespace %q", o.id(), o.text("metadata", "namespace"))
		}
		if o.text("kind") == "ConfigMap" {
			name := o.text("metadata", "name")
			if !strings.Contains(o.text("data", "streamd.yaml"), "app.id: flights") || !strings.HasPrefix(name, "pipeline-") {
				t.Errorf("the settings of %s are not the overlay's", name)
			}
			for _, v := range volumesOf(built["Deployment pipeline"]) {
				volume, _ := v.(map[string]any)
				if source, is := volume["configMap"].(map[string]any); is && source["name"] != name {
					t.Errorf("the pods mount %v, the settings are in %s", source["name"], name)
				}
			}
		}
	}
}

func TestEveryKustomizeComponentFitsTheBase(t *testing.T) {
	t.Parallel()
	components, err := filepath.Glob(deployed("kustomize", "components", "*"))
	if err != nil || len(components) == 0 {
		t.Fatalf("no components: %v", err)
	}
	base, err := filepath.Abs(deployed("kustomize", "base"))
	if err != nil {
		t.Fatal(err)
	}
	plain := kustomize(t, base)
	for _, dir := range components {
		dir, err := filepath.Abs(dir)
		if err != nil {
			t.Fatal(err)
		}
		overlay := t.TempDir()
		relative := func(to string) string {
			r, err := filepath.Rel(overlay, to)
			if err != nil {
				t.Fatal(err)
			}
			return filepath.ToSlash(r)
		}
		text := "resources: [" + relative(base) + "]\ncomponents: [" + relative(dir) + "]\n"
		if err := os.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if built := kustomize(t, overlay); len(built) != len(plain)+1 {
			t.Errorf("%s adds %d objects", filepath.Base(dir), len(built)-len(plain))
		}
	}
}
