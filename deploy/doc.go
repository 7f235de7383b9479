// SPDX-License-Identifier: Apache-2.0

// Package deploy holds the Helm chart of streamd applications and renders it without Helm.
//
// # What it is for
//
// An application's manifests are wanted in three forms: as a Helm release, as a kustomize base, and as plain YAML from the
// pipeline's own binary. All of them are this one chart. The command renders it by [Render], Helm by itself, and the
// kustomize base is what [Render] gave when it was last written.
//
// # Mental model
//
// [Defaults] are the chart's values.yaml. [Merge] lays a user's values over them, as Helm does. [Validate] holds the result
// against values.schema.json. [Render] fills in the templates, which use only the functions in functions.go: those few
// mean what they mean in Helm.
//
// # Invariants
//
//   - I1 Helm gives the same objects for the same values, but for the labels that name Helm. test/k8s holds this.
//   - I2 Rendering reads no clock, no file and no network: same values, same bytes.
//
// # Concurrency and failure
//
// All functions are pure and may be called from any goroutine. Errors name the value or the template.
package deploy
