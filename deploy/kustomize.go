// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"fmt"
	"strings"
)

const settingsFile = "streamd.yaml"

// Kustomize renders the chart as the files of a kustomize base. The settings are a file, of which kustomize makes a
// ConfigMap with a name of its own for each content: so a change of them rolls the pods.
func Kustomize(release Release, values map[string]any) ([]Manifest, error) {
	manifests, err := Render(release, values)
	if err != nil {
		return nil, err
	}
	var files []Manifest
	var b strings.Builder
	fmt.Fprintf(&b, "%sapiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n", generated)
	for _, m := range manifests {
		if m.File == "configmap.yaml" {
			continue
		}
		files = append(files, Manifest{m.File, generated + m.Text})
		fmt.Fprintf(&b, "  - %s\n", m.File)
	}
	for _, m := range manifests {
		if m.File != "configmap.yaml" {
			continue
		}
		object, err := m.Object()
		if err != nil {
			return nil, err
		}
		data, _ := object["data"].(map[string]any)
		text, _ := data[settingsFile].(string)
		files = append(files, Manifest{settingsFile, generated + text})
		metadata, _ := object["metadata"].(map[string]any)
		generator := map[string]any{
			"name":    metadata["name"],
			"files":   []string{settingsFile},
			"options": map[string]any{"labels": metadata["labels"]},
		}
		if release.Namespace != "" {
			generator["namespace"] = release.Namespace
		}
		text, err = YAML(map[string]any{"configMapGenerator": []any{generator}})
		if err != nil {
			return nil, err
		}
		b.WriteString(text)
	}
	return append(files, Manifest{"kustomization.yaml", b.String()}), nil
}

// generated begins every file of a base.
const generated = "# Made by: k8s manifests --kustomize\n"
