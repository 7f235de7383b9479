// SPDX-License-Identifier: Apache-2.0

// Schemas writes the JSON schemas of the kinds that deploy/ uses into testdata/schemas: one file a kind, complete in
// itself, without descriptions, in which unknown fields are errors. They are made of the OpenAPI document of Kubernetes
// and of the custom resource definitions of KEDA and of the Prometheus operator, which are fetched as Go modules of the
// versions below.
//
//	cd test/k8s && go run ./schemas
//
// Run it after a change of these versions. It is run by one person at a time, and an error leaves the old files or some
// of the new ones.
package main
