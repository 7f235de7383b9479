// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	kubernetes = "k8s.io/kubernetes@v1.37.2"
	keda       = "github.com/kedacore/keda/v2@v2.21.0"
	prometheus = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
)

// builtin are the kinds of Kubernetes itself, by their names in its OpenAPI document.
var builtin = []string{
	"io.k8s.api.apps.v1.Deployment",
	"io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
	"io.k8s.api.core.v1.ConfigMap",
	"io.k8s.api.core.v1.Pod",
	"io.k8s.api.core.v1.Service",
	"io.k8s.api.core.v1.ServiceAccount",
	"io.k8s.api.networking.v1.NetworkPolicy",
	"io.k8s.api.policy.v1.PodDisruptionBudget",
}

// custom are the files of custom resource definitions.
var custom = [][2]string{
	{keda, "config/crd/bases/keda.sh_scaledobjects.yaml"},
	{prometheus, "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"},
	{prometheus, "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"},
}

func main() {
	if err := run(filepath.Join("testdata", "schemas")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	text, err := fromModule(kubernetes, "api/openapi-spec/swagger.json")
	if err != nil {
		return err
	}
	var api struct{ Definitions map[string]map[string]any }
	if err := json.Unmarshal(text, &api); err != nil {
		return fmt.Errorf("read the OpenAPI document of %s: %w", kubernetes, err)
	}
	for _, name := range builtin {
		used := map[string]any{}
		if err := reach(name, api.Definitions, used); err != nil {
			return err
		}
		schema := map[string]any{"$ref": "#/definitions/" + name, "definitions": used}
		if err := write(to, name[strings.LastIndex(name, ".")+1:], schema); err != nil {
			return err
		}
	}
	for _, c := range custom {
		if err := definition(to, c[0], c[1]); err != nil {
			return err
		}
	}
	return nil
}

// fromModule fetches a module and reads one of its files.
func fromModule(module, file string) ([]byte, error) {
	download := exec.Command("go", "mod", "download", "-json", module)
	download.Dir = os.TempDir() // not in this module: its versions are not ours
	out, err := download.Output()
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w: %s", module, err, out)
	}
	var found struct{ Dir string }
	if err := json.Unmarshal(out, &found); err != nil {
		return nil, fmt.Errorf("fetch %s: %w", module, err)
	}
	return os.ReadFile(filepath.Join(found.Dir, filepath.FromSlash(file)))
}

// reach adds the named definition, and all that it refers to, to used.
func reach(name string, all map[string]map[string]any, used map[string]any) error {
	if used[name] != nil {
		return nil
	}
	d, ok := all[name]
	if !ok {
		return fmt.Errorf("there is no definition of %s", name)
	}
	switch {
	case d["format"] == "int-or-string":
		d = map[string]any{"type": []any{"integer", "string"}}
	case strings.HasSuffix(name, ".resource.Quantity"):
		d = map[string]any{"type": []any{"number", "string"}}
	}
	used[name] = strict(d)
	for _, ref := range refs(d) {
		if err := reach(strings.TrimPrefix(ref, "#/definitions/"), all, used); err != nil {
			return err
		}
	}
	return nil
}

func refs(v any) (found []string) {
	switch v := v.(type) {
	case map[string]any:
		if ref, is := v["$ref"].(string); is {
			found = append(found, ref)
		}
		for _, inner := range v {
			found = append(found, refs(inner)...)
		}
	case []any:
		for _, inner := range v {
			found = append(found, refs(inner)...)
		}
	}
	return found
}

// definition writes the schemas of a custom resource's stored version.
func definition(to, module, file string) error {
	text, err := fromModule(module, file)
	if err != nil {
		return err
	}
	var crd struct {
		Spec struct {
			Names    struct{ Kind string }
			Versions []struct {
				Storage bool
				Schema  struct{ OpenAPIV3Schema map[string]any }
			}
		}
	}
	if err := yaml.Unmarshal(text, &crd); err != nil {
		return fmt.Errorf("read %s of %s: %w", file, module, err)
	}
	for _, version := range crd.Spec.Versions {
		if !version.Storage {
			continue
		}
		schema := version.Schema.OpenAPIV3Schema
		if properties, is := schema["properties"].(map[string]any); is {
			properties["metadata"] = map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
		}
		return write(to, crd.Spec.Names.Kind, strict(schema))
	}
	return fmt.Errorf("%s of %s has no stored version", file, module)
}

// strict leaves out what only people and servers read, and makes unknown fields errors. What stands below "properties"
// are names, not words of the schema.
func strict(v any) any {
	m, is := v.(map[string]any)
	if !is {
		return v
	}
	open := m["x-kubernetes-preserve-unknown-fields"] == true
	out := map[string]any{}
	for key, inner := range m {
		switch {
		case key == "description" || key == "format" || key == "default" || key == "$schema" || strings.HasPrefix(key, "x-kubernetes-"):
		case key == "properties":
			named := map[string]any{}
			for name, p := range inner.(map[string]any) {
				named[name] = strict(p)
			}
			out[key] = named
			if m["additionalProperties"] == nil && !open {
				out["additionalProperties"] = false
			}
		case key == "anyOf" || key == "oneOf" || key == "allOf":
			out[key] = inner // these only say what is required besides
		default:
			out[key] = strict(inner)
		}
	}
	return out
}

func write(to, kind string, schema any) error {
	text, err := json.Marshal(schema)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(to, strings.ToLower(kind)+".json"), append(text, '\n'), 0o644)
}
