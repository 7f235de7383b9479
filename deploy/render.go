// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"text/template"

	"sigs.k8s.io/yaml"
)

//go:embed all:helm/streamd
var chart embed.FS

const (
	chartDir    = "helm/streamd"
	templateDir = chartDir + "/templates"
)

// Release says what is rendered.
type Release struct {
	Name      string // of all objects, unless fullnameOverride is set
	Namespace string // may be empty: whoever applies the objects decides
}

// Manifest is one rendered object.
type Manifest struct {
	File string // of the chart, without a folder: "deployment.yaml"
	Text string // YAML that ends with a line break
}

// Object decodes the manifest.
func (m Manifest) Object() (map[string]any, error) {
	var object map[string]any
	if err := yaml.UnmarshalStrict([]byte(m.Text), &object); err != nil {
		return nil, fmt.Errorf("decode %s: %w", m.File, err)
	}
	return object, nil
}

// ErrRequired marks a value that the chart needs and that nobody has given.
var ErrRequired = errors.New("a value is missing")

// Render fills in the chart's templates, in the order of their names. Values are complete: defaults and what is laid
// over them. What only Helm can use, the notes and the test, is left out.
func Render(release Release, values map[string]any) ([]Manifest, error) {
	about, err := readYAML(chartDir + "/Chart.yaml")
	if err != nil {
		return nil, err
	}
	root := template.New("").Option("missingkey=error")
	root.Funcs(functions(root))
	names, err := parse(root)
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		"Values":  values,
		"Release": map[string]any{"Name": release.Name, "Namespace": release.Namespace, "Service": "streamd"},
		"Chart":   map[string]any{"Name": about["name"], "Version": about["version"], "AppVersion": about["appVersion"]},
		"Files":   files{},
	}
	var manifests []Manifest
	for _, file := range names {
		var b bytes.Buffer
		if err := root.ExecuteTemplate(&b, file, data); err != nil {
			if missing, is := errors.AsType[*missingError](err); is {
				return nil, missing // the places in templates on the way to it help nobody
			}
			return nil, fmt.Errorf("render %s: %w", file, err)
		}
		if text := strings.TrimSpace(b.String()); text != "" {
			manifests = append(manifests, Manifest{File: file, Text: text + "\n"})
		}
	}
	return manifests, nil
}

// parse reads all templates into root and returns the names of those that make objects.
func parse(root *template.Template) ([]string, error) {
	entries, err := fs.ReadDir(chart, templateDir)
	if err != nil {
		return nil, fmt.Errorf("read the chart: %w", err)
	}
	var files []string
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() || name == "NOTES.txt" {
			continue
		}
		text, err := chart.ReadFile(path.Join(templateDir, name))
		if err != nil {
			return nil, fmt.Errorf("read the chart: %w", err)
		}
		if _, err := root.New(name).Parse(string(text)); err != nil {
			return nil, fmt.Errorf("parse %s: %w", name, err)
		}
		if path.Ext(name) == ".yaml" {
			files = append(files, name)
		}
	}
	return files, nil
}

// missingError says which value is missing.
type missingError struct{ message string }

func (e *missingError) Error() string        { return e.message }
func (e *missingError) Is(target error) bool { return target == ErrRequired }

// files is what templates know as .Files.
type files struct{}

// Get returns a file of the chart, and nothing if there is none, as Helm does.
func (files) Get(name string) string {
	b, err := chart.ReadFile(path.Join(chartDir, name))
	if err != nil {
		return ""
	}
	return string(b)
}

func readYAML(name string) (map[string]any, error) {
	b, err := chart.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the chart: %w", err)
	}
	var v map[string]any
	if err := yaml.UnmarshalStrict(b, &v); err != nil {
		return nil, fmt.Errorf("read the chart's %s: %w", path.Base(name), err)
	}
	return v, nil
}
