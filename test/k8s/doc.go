// SPDX-License-Identifier: Apache-2.0

// Package k8s tests what lies in deploy/ with the programs that it is for: Helm renders and lints the chart, kustomize
// builds the base, Kubernetes' own types and schemas decode every object, its admission code judges the pods, and
// Prometheus parses the alerts and the dashboard.
//
// # Mental model
//
// Each file in deploy/testdata is a case: values that are rendered twice, by Helm and by the command k8s manifests, and
// must give the same objects. All further tests look at the objects of all cases. It is a module of its own, since these
// programs are large, and it reads the product only through its command and its files.
//
// # Invariants
//
//   - I1 Nothing is fetched but Go modules; the schemas are checked in, and schemas/ says where they come from.
//   - I2 No cluster is needed.
//
// # Concurrency and failure
//
// Tests are independent of each other. The command must have been built: make k8s does it.
package k8s
