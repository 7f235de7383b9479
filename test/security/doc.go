// SPDX-License-Identifier: Apache-2.0

// Package security proves what streamd says of Kafka's security, on a real broker that speaks TLS, authenticates clients
// and allows nothing that no ACL allows. It has tests only.
//
// # Mental model
//
// Each test has a world: topics, an application and a user of its own on the broker of the package. The test's executable
// is also the program under test: started with an environment that says so it is a pipeline's own binary, with all
// commands, whose output is kept.
package security
